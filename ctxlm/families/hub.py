"""A model's folder by its name: a path, or one of the hub's that is here.

A GGUF file, which holds all that a folder has, stands for one.

Nothing is downloaded: a name such as 'org/model' stands for the snapshot that
huggingface_hub keeps in its cache (https://huggingface.co/docs/huggingface_hub,
"Understand caching").
"""

import os
import re
from pathlib import Path

from ctxlm.errors import UserError

ID = re.compile(r'[\w.-]+(/[\w.-]+)?', re.ASCII)
FILES = ('.gguf', '.arpa', '.arpa.gz')  # that hold a whole model


def find(name):
  """Returns the pathlib.Path of the folder, or one of FILES, of a name.

  Raises:
    UserError: it is no folder, and no snapshot of that name is here.
  """
  if name == '':
    raise UserError('a folder of no name')
  path = Path(name)
  if path.is_dir() or (path.name.endswith(FILES) and path.is_file()):
    return path
  if path.exists():
    raise UserError(f'{path} is a file; name the folder that it lies in')
  if path.name.endswith(FILES):
    raise UserError(f'no file {path}')
  if not ID.fullmatch(str(name)) or '..' in str(name):
    raise UserError(f'no folder {path}')
  cached = downloaded(str(name))
  if cached is None:
    raise UserError(
      f'no folder {path}; if it is a model of the Hugging Face hub, get it '
      f'with: hf download {name}'
    )
  return cached


def downloaded(name):
  """Returns the folder of a hub's name, None where it is no name or not here.

  The newest snapshot that its branch main names, or of any.
  """
  if not ID.fullmatch(name) or '..' in name:
    return None
  folder = _cache() / f'models--{name.replace("/", "--")}'
  snapshots = folder / 'snapshots'
  try:
    main = snapshots / (folder / 'refs' / 'main').read_text().strip()
    if main.parent == snapshots and main.is_dir():
      return main
  except OSError:
    pass
  there = [p for p in snapshots.glob('*') if p.is_dir()]
  return max(there, key=lambda p: p.stat().st_mtime, default=None)


def _cache():
  # As huggingface_hub finds it.
  e = os.environ
  home = e.get('HF_HOME') or Path(
    e.get('XDG_CACHE_HOME') or Path.home() / '.cache', 'huggingface'
  )
  cache = e.get('HF_HUB_CACHE') or e.get('HUGGINGFACE_HUB_CACHE')
  return Path(cache or Path(home, 'hub')).expanduser()
