"""Reading tokenizers that others trained."""

import json

import tokenizers
from tokenizers import AddedToken, decoders, models, pre_tokenizers

from ctxlm.data import spm, tokenizer_training
from ctxlm.errors import UserError

NAMES = ('tokenizer.json', 'vocab.txt', 'vocab.json', '*.model')
# Special tokens of files that don't tell which these are.
SPECIAL = (
  '[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]', '<|endoftext|>', '<s>',
  '</s>', '<pad>', '<unk>', '<mask>',
)  # fmt: skip


def read(path):
  """Returns the `tokenizers.Tokenizer` of a file or folder.

  Raises:
    UserError: nothing there that can be read.
  """
  if path.is_dir():
    path = _in_folder(path)
  if not path.is_file():
    raise UserError(f'no tokenizer at {path}')
  try:
    if path.suffix == '.model':
      return spm.convert(path.read_bytes())
    if path.suffix == '.txt':
      return _bert(path)
    if path.name.endswith('vocab.json'):
      return _gpt2(path)
    return tokenizers.Tokenizer.from_file(str(path))
  except UserError as e:
    raise UserError(f'{path}: {e}') from e
  except Exception as e:  # the library raises nothing narrower
    raise UserError(f'{path} is no tokenizer: {e}') from e


def found(folder):
  """Returns the file that a folder's tokenizer is read from, or None."""
  paths = (p for name in NAMES for p in sorted(folder.glob(name)))
  return next(paths, None)


def _in_folder(folder):
  path = found(folder)
  if path is None:
    raise UserError(f'no tokenizer in {folder}: it has none of {NAMES}')
  return path


def _add_special(tokenizer):
  vocab = tokenizer.get_vocab()
  tokenizer.add_special_tokens(
    [
      AddedToken(
        t,
        special=True,
        normalized=False,
        lstrip=t in ('[MASK]', '<mask>'),
      )
      for t in SPECIAL
      if t in vocab
    ]
  )
  return tokenizer


def _bert(path):
  lines = path.read_text(encoding='utf-8').split('\n')
  entries = [line.rstrip('\r') for line in lines]
  if entries and not entries[-1]:
    entries.pop()
  if '[UNK]' not in entries:
    raise UserError('a vocab.txt needs the entry [UNK]')
  config = path.with_name('tokenizer_config.json')
  lowercase = None
  if config.is_file():
    lowercase = json.loads(config.read_text()).get('do_lower_case')
  if lowercase is None:
    # A vocabulary of lower-cased text holds no capital letter.
    plain = (e for e in entries if not e.startswith('['))
    lowercase = all(e == e.lower() for e in plain)
  vocab = {e: i for i, e in enumerate(entries)}
  return _add_special(tokenizer_training.wordpiece(vocab, lowercase))


def _gpt2(path):
  merges = path.with_name(path.name.replace('vocab.json', 'merges.txt'))
  if not merges.is_file():
    raise UserError(f'{merges.name} is missing beside it')
  tokenizer = tokenizers.Tokenizer(models.BPE.from_file(str(path), str(merges)))
  tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
  tokenizer.decoder = decoders.ByteLevel()
  return _add_special(tokenizer)
