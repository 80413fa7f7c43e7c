"""The small files of a checkpoint folder."""

import shutil

from ctxlm import files

KEPT = ('.json', '.txt', '.model', '.jinja', '.bpe')
MOST = 2**28  # bytes of one


def copy_small(source, target):
  """Copies settings and tokenizers, and no weights.

  So a folder goes back out with all that we know nothing of. Folders in it
  are those of sentence-transformers' modules.

  Raises:
    UserError: one of them leads out of the folder.
  """
  for path in (*source.glob('*'), *source.glob('[0-9]_*/*')):
    name = path.relative_to(source)
    if path.suffix not in KEPT or path.name.endswith('.index.json'):
      continue
    files.inside(source, name)
    if not path.is_file() or path.stat().st_size > MOST:
      continue
    (target / name).parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(path, target / name)
