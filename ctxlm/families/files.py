"""The small files of a checkpoint folder."""

import json
import shutil
from pathlib import Path

from ctxlm.errors import UserError

KEPT = ('.json', '.txt', '.model', '.jinja', '.bpe')


def read_json(path):
  """Returns the object that a JSON file holds.

  Raises:
    UserError: no such file, or no object in it.
  """
  try:
    content = json.loads(Path(path).read_text(encoding='utf-8'))
  except OSError as e:
    raise UserError(f'no file {path}') from e
  except ValueError as e:
    raise UserError(f'{path} is not JSON: {e}') from e
  if not isinstance(content, dict):
    raise UserError(f'{path} holds no object')
  return content


def copy_small(source, target):
  """Copies settings and tokenizers, and no weights.

  So a folder goes back out with all that we know nothing of. Folders in it
  are those of sentence-transformers' modules.
  """
  for path in (*source.glob('*'), *source.glob('[0-9]_*/*')):
    name = path.relative_to(source)
    if path.suffix not in KEPT or path.name.endswith('.index.json'):
      continue
    (target / name).parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(path, target / name)
