"""Reading tokenizers that others trained."""

import json

import tokenizers
from tokenizers import (
  AddedToken,
  decoders,
  models,
  normalizers,
  pre_tokenizers,
  processors,
)

from ctxlm.data.tokenizers import spm
from ctxlm.data.tokenizers import training as tokenizer_training
from ctxlm.errors import UserError

NAMES = (
  'tokenizer.json',
  'vocab.txt',
  'vocab.json',
  'encoder.json',
  '*.model',
)
# Special tokens of files that don't tell which these are.
BERT = ('[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]')
GPT2 = ('<|endoftext|>',)
ROBERTA = ('<s>', '<pad>', '</s>', '<unk>', '<mask>')


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
      return _sentencepiece(path)
    if path.suffix == '.txt':
      return _bert(path)
    if path.name.endswith(('vocab.json', 'encoder.json')):
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


def _settings(path, name='tokenizer_config.json'):
  beside = path.with_name(name)
  return json.loads(beside.read_text()) if beside.is_file() else {}


def _add_special(tokenizer, names):
  vocab = tokenizer.get_vocab()
  tokenizer.add_special_tokens(
    [
      AddedToken(
        t,
        special=True,
        normalized=False,
        lstrip=t in ('[MASK]', '<mask>'),
      )
      for t in names
      if t in vocab
    ]
  )
  return tokenizer


def _frame(tokenizer, single, pair):
  """Makes the tokenizer frame texts, as '[CLS] $A [SEP]' says."""
  names = {w for w in pair.replace(':1', '').split() if not w.startswith('$')}
  ids = [(n, tokenizer.token_to_id(n)) for n in sorted(names)]
  if all(i is not None for _, i in ids):
    tokenizer.post_processor = processors.TemplateProcessing(
      single=single, pair=pair, special_tokens=ids
    )
  return tokenizer


def _bert(path):
  lines = path.read_text(encoding='utf-8').split('\n')
  entries = [line.rstrip('\r') for line in lines]
  if entries and not entries[-1]:
    entries.pop()
  if '[UNK]' not in entries:
    raise UserError('a vocab.txt needs the entry [UNK]')
  config = _settings(path)
  lowercase = config.get('do_lower_case')
  if lowercase is None:
    # A vocabulary of lower-cased text holds no capital letter.
    plain = (e for e in entries if not e.startswith('['))
    lowercase = all(e == e.lower() for e in plain)
  vocab = {e: i for i, e in enumerate(entries)}
  tokenizer = tokenizer_training.wordpiece(vocab, lowercase)
  tokenizer.normalizer = normalizers.BertNormalizer(
    lowercase=lowercase,
    strip_accents=config.get('strip_accents'),
    handle_chinese_chars=config.get('tokenize_chinese_chars', True),
  )
  return _frame(
    _add_special(tokenizer, BERT),
    '[CLS] $A [SEP]',
    '[CLS] $A [SEP] $B:1 [SEP]:1',
  )


def _gpt2(path):
  # vocab.json and merges.txt; OpenAI's names are encoder.json and vocab.bpe.
  merges = path.name.replace('vocab.json', 'merges.txt')
  merges = path.with_name(merges.replace('encoder.json', 'vocab.bpe'))
  if not merges.is_file():
    raise UserError(f'{merges.name} is missing beside it')
  tokenizer = tokenizers.Tokenizer(models.BPE.from_file(str(path), str(merges)))
  space = bool(_settings(path).get('add_prefix_space', False))
  tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=space)
  tokenizer.decoder = decoders.ByteLevel()
  vocab = tokenizer.get_vocab()
  if '<s>' in vocab and '</s>' in vocab:
    return _frame(
      _add_special(tokenizer, ROBERTA),
      '<s> $A </s>',
      '<s> $A </s> </s> $B </s>',
    )
  return _frame(_add_special(tokenizer, GPT2), '$A', '$A $B:1')


def _sentencepiece(path):
  tokenizer = spm.convert(path.read_bytes())
  settings = _settings(path, 'config.json') | _settings(path)
  kind = settings.get('model_type'), settings.get('tokenizer_class')
  if 't5' not in kind and 'T5Tokenizer' not in kind:
    frame = ['$A']
    if settings.get('add_bos_token'):
      frame.insert(0, '<s>')
    if settings.get('add_eos_token'):
      frame.append('</s>')
    if len(frame) == 1:
      return tokenizer
    pair = ' '.join(frame + [f.replace('$A', '$B') + ':1' for f in frame])
    return _frame(tokenizer, ' '.join(frame), pair)
  # T5's sentinels are not in its model file. Words end at any white space,
  # also at those that the file's own normaliser keeps.
  count = settings.get('extra_ids', 100)
  tokenizer.add_special_tokens(
    [
      AddedToken(t, special=True, normalized=False)
      for t in (
        *('<pad>', '</s>', '<unk>'),
        *(f'<extra_id_{i}>' for i in reversed(range(count))),
      )
    ]
  )
  space = dict(replacement='▁', prepend_scheme='always')
  tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
    [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace(**space)]
  )
  return _frame(tokenizer, '$A </s>', '$A </s> $B </s>')
