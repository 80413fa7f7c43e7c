"""`ctxlm.load`: model, parameters and tokenizer of a folder."""

from pathlib import Path

from ctxlm import data as data_lib
from ctxlm import plugins
from ctxlm import run as run_lib
from ctxlm.data import tokenizer_files
from ctxlm.errors import UserError
from ctxlm.families import folder as folder_lib


def load(folder, **options):
  """See ctxlm.load."""
  folder = Path(folder)
  if 'tasks' in folder_lib.read_json(folder / 'config.json'):
    run = run_lib.load(folder)
    model = run.model.clone(**options) if options else run.model
    return model, run.params, run.tokenizer
  block, params = folder_lib.read(folder, **options)
  tokenizer = read_tokenizer(folder, block['vocab_size'])
  return plugins.build('models', block), params, tokenizer


def read_tokenizer(folder, vocab_size):
  """Returns a folder's tokenizer, None where it has no file of one.

  Raises:
    UserError: it has more tokens than the embedding has rows.
  """
  if not tokenizer_files.found(folder):
    return None
  tokenizer = data_lib.load_tokenizer(folder)
  if tokenizer.vocab_size > vocab_size:
    raise UserError(
      f'{folder}: the tokenizer has {tokenizer.vocab_size} tokens, more than '
      f'the {vocab_size} rows of the embedding'
    )
  return tokenizer
