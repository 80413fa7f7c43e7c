"""Reading tokenizers that others trained."""

import tokenizers

from ctxlm.errors import UserError


def read(path):
  """Returns the `tokenizers.Tokenizer` of a file or folder."""
  if path.is_dir():
    for name in ('tokenizer.json',):
      if (path / name).is_file():
        return read(path / name)
    raise UserError(f'no tokenizer in {path}: it has no tokenizer.json')
  if not path.is_file():
    raise UserError(f'no tokenizer at {path}')
  try:
    return tokenizers.Tokenizer.from_file(str(path))
  except Exception as e:  # the library raises nothing narrower
    raise UserError(f'{path} is no tokenizer: {e}') from e
