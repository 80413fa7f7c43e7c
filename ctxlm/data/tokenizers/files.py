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

from ctxlm import files
from ctxlm.data.tokenizers import bounds, gguf, spm
from ctxlm.data.tokenizers import settings as settings_lib
from ctxlm.data.tokenizers import training as tokenizer_training
from ctxlm.errors import UserError

NAMES = (
  'tokenizer.json',
  'vocab.txt',
  'vocab.json',
  'encoder.json',
  '*.model',
)


def read(path):
  """Returns (`tokenizers.Tokenizer`, {role: id}) of a file or folder.

  The roles are those of settings.ROLES; None where nothing beside the file
  tells them.

  Raises:
    UserError: nothing there that can be read.
  """
  if path.is_dir():
    path = files.inside(path, _in_folder(path).name)
  if not path.is_file():
    raise UserError(f'no tokenizer at {path}')
  if path.suffix == '.gguf':
    return _gguf(path)
  if path.stat().st_size > files.MOST_JSON:
    raise UserError(f'{path} is too large to be a tokenizer')
  try:
    with bounds.said(f'{path} is no tokenizer'):
      return _read(path, settings_lib.read(path.parent))
  except UserError as e:
    where = '' if str(path.parent) in str(e) else f'{path}: '
    raise UserError(f'{where}{e}') from e


def _read(path, settings):
  if path.suffix == '.model':
    return _sentencepiece(path, settings)
  if path.suffix == '.txt':
    return _bert(path, settings)
  if path.name.endswith(('vocab.json', 'encoder.json')):
    return _gpt2(path, settings)
  return _whole(files.read_json(path), settings)


def _gguf(path):
  backend, about = gguf.read(path)
  if backend is None:
    raise UserError(f'{path} has no tokenizer')
  return _complete(backend, settings_lib.Settings(about, {}))


def found(folder):
  """Returns the file that a folder's tokenizer is read from, or None."""
  paths = (p for name in NAMES for p in sorted(folder.glob(name)))
  return next(paths, None)


def _in_folder(folder):
  path = found(folder)
  if path is None:
    raise UserError(f'no tokenizer in {folder}: it has none of {NAMES}')
  return path


def _complete(tokenizer, settings):
  """Adds the entries that the settings name; returns what `read` does."""
  # The reference adds them in this order, each with the next id.
  known = {t.content for t in tokenizer.get_added_tokens_decoder().values()}
  tokenizer.add_tokens([t for t in settings.added if t.content not in known])
  known |= {t.content for t in settings.added}
  vocab = tokenizer.get_vocab()
  tokenizer.add_special_tokens(
    [
      t
      for t in settings.special()
      if t.content in vocab and t.content not in known
    ]
  )
  return tokenizer, settings.roles(tokenizer)


def _frame(tokenizer, single, pair):
  """Makes the tokenizer frame texts, as '[CLS] $A [SEP]' says."""
  names = {w for w in pair.replace(':1', '').split() if not w.startswith('$')}
  ids = [(n, tokenizer.token_to_id(n)) for n in sorted(names)]
  if all(i is not None for _, i in ids):
    tokenizer.post_processor = processors.TemplateProcessing(
      single=single, pair=pair, special_tokens=ids
    )


def _frame_by_flags(tokenizer, settings, roles):
  """Frames texts as `add_bos_token` and `add_eos_token` say."""
  frame = ['$A']
  for flag, role, at in (
    ('add_bos_token', 'bos', 0),
    ('add_eos_token', 'eos', 2),
  ):
    if settings.tokenizer.get(flag) and role in roles:
      frame.insert(at, tokenizer.id_to_token(roles[role]))
  second = [f.replace('$A', '$B') + ':1' for f in frame]
  _frame(tokenizer, ' '.join(frame), ' '.join(frame + second))


def _whole(content, settings):
  # tokenizer.json; a class of its own may have settings that go over it.
  bounds.check(content)
  # What would fill up or cut all texts has no use here.
  content |= {'truncation': None, 'padding': None}
  tokenizer = tokenizers.Tokenizer.from_str(json.dumps(content))
  if not settings.tokenizer and not settings.model:
    return tokenizer, None
  settings = settings.of({})
  if settings.kind == 'bert':
    _set_bert_text(tokenizer, settings.tokenizer)
  tokenizer, roles = _complete(tokenizer, settings)
  flags = {'add_bos_token', 'add_eos_token'} & set(settings.tokenizer)
  if flags and settings.kind in ('gpt2', 'llama', 'mistral'):
    _frame_by_flags(tokenizer, settings, roles)
  elif tokenizer.post_processor is None:
    _frame(tokenizer, '$A', '$A $B:1')
  return tokenizer, roles


def _set_bert_text(tokenizer, theirs):
  # What tokenizer_config.json says goes over the file's; it need say nothing.
  own = tokenizer.normalizer
  if isinstance(own, normalizers.BertNormalizer):
    tokenizer.normalizer = normalizers.BertNormalizer(
      clean_text=own.clean_text,
      lowercase=theirs.get('do_lower_case', own.lowercase),
      strip_accents=theirs.get('strip_accents', own.strip_accents),
      handle_chinese_chars=theirs.get(
        'tokenize_chinese_chars', own.handle_chinese_chars
      ),
    )


def _bert(path, settings):
  lines = path.read_text(encoding='utf-8').split('\n')
  entries = [line.rstrip('\r') for line in lines]
  if entries and not entries[-1]:
    entries.pop()
  settings = settings.of(settings_lib.CLASSES['bert'])
  unknown = settings.token('unk')
  if unknown not in entries:
    raise UserError(f'a vocab.txt needs the entry {unknown}')
  theirs = settings.tokenizer  # where a key may be missing
  lowercase = theirs.get('do_lower_case')
  if lowercase is None:
    # A vocabulary of lower-cased text holds no capital letter.
    plain = (e for e in entries if not e.startswith('['))
    lowercase = all(e == e.lower() for e in plain)
  vocab = {e: i for i, e in enumerate(entries)}
  tokenizer = tokenizer_training.wordpiece(vocab, lowercase, unknown)
  tokenizer.normalizer = normalizers.BertNormalizer(
    lowercase=lowercase,
    strip_accents=theirs.get('strip_accents'),
    handle_chinese_chars=theirs.get('tokenize_chinese_chars', True),
  )
  tokenizer, roles = _complete(tokenizer, settings)
  first, last = settings.token('cls'), settings.token('sep')
  _frame(tokenizer, f'{first} $A {last}', f'{first} $A {last} $B:1 {last}:1')
  return tokenizer, roles


def _gpt2(path, settings):
  # vocab.json and merges.txt; OpenAI's names are encoder.json and vocab.bpe.
  merges = path.name.replace('vocab.json', 'merges.txt')
  merges = path.with_name(merges.replace('encoder.json', 'vocab.bpe'))
  if not files.inside(merges.parent, merges.name).is_file():
    raise UserError(f'{merges.name} is missing beside it')
  if merges.stat().st_size > files.MOST_JSON:
    raise UserError(f'{merges.name} is too large')
  bounds.check_ids(files.read_json(path))
  tokenizer = tokenizers.Tokenizer(models.BPE.from_file(str(path), str(merges)))
  space = bool(settings.tokenizer.get('add_prefix_space', False))
  tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=space)
  tokenizer.decoder = decoders.ByteLevel()
  vocab = tokenizer.get_vocab()
  like = 'roberta' if '<s>' in vocab and '</s>' in vocab else 'gpt2'
  settings = settings.of(settings_lib.CLASSES[like])
  tokenizer, roles = _complete(tokenizer, settings)
  if (settings.kind or like) in ('roberta', 'bart'):
    first, last = settings.token('cls'), settings.token('sep')
    _frame(
      tokenizer, f'{first} $A {last}', f'{first} $A {last} {last} $B {last}'
    )
  else:
    _frame_by_flags(tokenizer, settings, roles)
  return tokenizer, roles


def _sentencepiece(path, settings):
  data = path.read_bytes()
  tokenizer = spm.convert(data)
  settings = settings.of(spm.names(data))
  if settings.kind != 't5':
    tokenizer, roles = _complete(tokenizer, settings)
    if settings.tokenizer or settings.model:
      _frame_by_flags(tokenizer, settings, roles)
    return tokenizer, roles
  # T5's sentinels are not in its model file. Words end at any white space,
  # also at those that the file's own normaliser keeps.
  tokenizer.add_special_tokens(settings.special())
  count = settings.tokenizer.get('extra_ids', 100)
  tokenizer.add_special_tokens(
    [
      AddedToken(f'<extra_id_{i}>', special=True, normalized=False)
      for i in reversed(range(count))
    ]
  )
  space = dict(replacement='▁', prepend_scheme='always')
  tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
    [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace(**space)]
  )
  tokenizer, roles = _complete(tokenizer, settings)
  last = settings.token('eos')
  _frame(tokenizer, f'$A {last}', f'$A {last} $B {last}')
  return tokenizer, roles
