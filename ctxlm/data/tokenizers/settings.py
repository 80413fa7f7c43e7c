"""What a checkpoint's small files say of its tokenizer, as the reference reads.

tokenizer_config.json names the tokens that begin, end, pad and so on;
special_tokens_map.json, older, goes over it, and added_tokens.json beside it
holds entries that the vocabulary lacks. What these leave open is decided by
the ids of generation_config.json and config.json, then by the class.
"""

import dataclasses
from typing import Annotated

from tokenizers import AddedToken

from ctxlm import files, ranges
from ctxlm.errors import UserError

ROLES = ('pad', 'bos', 'eos', 'cls', 'sep', 'mask', 'unk')
# What they are called where no file says it, the first that there is.
NAMES = {
  'pad': ('[PAD]', '<pad>', '<|pad|>'),
  # RoBERTa's and BART's vocabularies hold GPT-2's <|endoftext|> too, unused.
  'bos': ('<s>', '<|begin_of_text|>', '<|endoftext|>', '[BOS]', '<bos>'),
  'eos': ('</s>', '<|end_of_text|>', '<|endoftext|>', '[EOS]', '<eos>'),
  'cls': ('[CLS]', '<s>', '<cls>'),
  'sep': ('[SEP]', '</s>', '<sep>'),
  'mask': ('[MASK]', '<mask>'),
  'unk': ('[UNK]', '<unk>', '<|endoftext|>'),
}
FRAMES = ('bos', 'eos', 'cls', 'sep')
_ROBERTA = {
  'bos': '<s>', 'pad': '<pad>', 'eos': '</s>', 'cls': '<s>', 'sep': '</s>',
  'unk': '<unk>', 'mask': '<mask>',
}  # fmt: skip
_LLAMA = {'unk': '<unk>', 'bos': '<s>', 'eos': '</s>'}
# The defaults of the reference's classes.
CLASSES = {
  'bert': {
    'pad': '[PAD]', 'unk': '[UNK]', 'cls': '[CLS]', 'sep': '[SEP]',
    'mask': '[MASK]',
  },
  'roberta': _ROBERTA,
  'bart': _ROBERTA,
  'gpt2': dict.fromkeys(('bos', 'eos', 'unk'), '<|endoftext|>'),
  't5': {'pad': '<pad>', 'eos': '</s>', 'unk': '<unk>'},
  'llama': _LLAMA,
  'mistral': _LLAMA,
}  # fmt: skip
TOKEN = {
  'content': str,
  **dict.fromkeys(('single_word', 'lstrip', 'rstrip'), bool),
  **dict.fromkeys(('normalized', 'special'), bool),
}
KINDS = {  # of what is read here or in files.py
  'tokenizer_class': str,
  'model_type': str,
  'added_tokens_decoder': dict[str, dict],
  'extra_ids': Annotated[int, ranges.Range('[0, 10000]')],
  **dict.fromkeys(('add_bos_token', 'add_eos_token'), bool),
  **dict.fromkeys(('add_prefix_space', 'do_lower_case'), bool),
  **dict.fromkeys(('strip_accents', 'tokenize_chinese_chars'), bool),
  **{f'{role}_token': str | dict for role in ROLES},
  **{f'{role}_token_id': int | tuple[int, ...] for role in ROLES},
}


@dataclasses.dataclass(frozen=True)
class Settings:
  """The files' content.

  Attributes:
    tokenizer: tokenizer_config.json, special_tokens_map.json over it.
    model: config.json, generation_config.json over it.
    added: AddedTokens in the order of their ids.
    names: {role: entry} of the class.
  """

  tokenizer: dict
  model: dict
  added: tuple = ()
  names: dict = dataclasses.field(default_factory=dict)

  @property
  def kind(self):
    """Which of CLASSES the reference takes; '' is none of them."""
    name = self.tokenizer.get('tokenizer_class')
    if not name:
      name = self.model.get('model_type', '')
    name = (name or '').removesuffix('Fast').removesuffix('Tokenizer').lower()
    return name if name in CLASSES else ''

  def of(self, names):
    """Returns these with the entries that stand where no file says."""
    return dataclasses.replace(self, names=CLASSES.get(self.kind, names))

  def token(self, role):
    """Returns the entry of a role, or None."""
    value = self.tokenizer.get(f'{role}_token')
    if isinstance(value, dict):
      value = value.get('content')
    if value is None and f'{role}_token' not in self.tokenizer:
      value = self.names.get(role)
    return value

  def special(self):
    """Returns the AddedToken of every role that has an entry."""
    tokens = {}
    for role in ROLES:
      name, value = self.token(role), self.tokenizer.get(f'{role}_token')
      strips = name in ('[MASK]', '<mask>')
      if isinstance(value, dict):
        strips = value.get('lstrip', False)
      if name is not None:
        tokens[name] = AddedToken(
          name, special=True, normalized=False, lstrip=strips
        )
    return list(tokens.values())

  def roles(self, backend):
    """Returns {role: id} as the files have it.

    Args:
      backend: `tokenizers.Tokenizer`.
    """
    special = {
      i for i, t in backend.get_added_tokens_decoder().items() if t.special
    }
    ids = {}
    for role in ROLES:
      told = self.tokenizer.get(f'{role}_token')
      number = self.model.get(f'{role}_token_id')
      if isinstance(number, list):  # several that end a text
        number = number[0] if number else None
      if told is None and number in special:
        ids[role] = number
        continue
      name = self.token(role)
      number = None if name is None else backend.token_to_id(name)
      if number is not None:
        ids[role] = number
    known = by_names(backend)
    open_roles = ['mask', 'unk']
    if not any(role in ids for role in FRAMES):
      open_roles += ['pad', *FRAMES]
    return {role: known[role] for role in open_roles if role in known} | ids


def by_names(backend):
  """Returns {role: id} of a vocabulary by what its entries are called."""
  ids = {}
  for role, names in NAMES.items():
    numbers = (backend.token_to_id(name) for name in names)
    number = next((i for i in numbers if i is not None), None)
    if number is not None:
      ids[role] = number
  return ids


def read(folder):
  """Returns the Settings of a folder's files, those that are there."""
  tokenizer = _json(folder / 'tokenizer_config.json')
  model = _json(folder / 'config.json')
  model |= {
    key: value
    for key, value in _json(folder / 'generation_config.json').items()
    if key.endswith('_token_id') and value is not None
  }
  listed = tokenizer.get('added_tokens_decoder')
  if listed is not None:
    path = folder / 'tokenizer_config.json'
    added = {_number(i, path): _added(t, path) for i, t in listed.items()}
    return Settings(tokenizer, model, _in_order(added))
  # Files of before that list.
  tokenizer |= _json(folder / 'special_tokens_map.json')
  special = set()
  for key, value in tokenizer.items():
    if key.endswith('_token') or key == 'extra_special_tokens':
      values = value if isinstance(value, list) else [value]
      values = [v.get('content') if isinstance(v, dict) else v for v in values]
      special |= {v for v in values if isinstance(v, str)}
  added = {
    i: AddedToken(name, special=name in special, normalized=name not in special)
    for name, i in _json(folder / 'added_tokens.json', ranges.Whole).items()
  }
  return Settings(tokenizer, model, _in_order(added))


def _number(text, path):
  if not text.isascii() or not text.isdigit() or len(text) > 9:
    raise UserError(f'{path}: {text[:20]!r} of added_tokens_decoder is no id')
  return int(text)


def _added(token, path):
  ranges.check_json(TOKEN, token, f'{path}: added_tokens_decoder: ')
  if token.get('content') is None:
    raise UserError(f'{path}: a token of added_tokens_decoder has no content')
  flags = {n: token[n] for n in TOKEN if token.get(n) is not None}
  return AddedToken(flags.pop('content'), **flags)


def _in_order(added):
  return tuple(added[i] for i in sorted(added))


def _json(path, kind=None):
  if not path.is_file():
    return {}
  content = files.read_json(path)
  kinds = KINDS if kind is None else dict.fromkeys(content, kind)
  ranges.check_json(kinds, content, f'{path}: ')
  for role in ROLES:
    token = content.get(f'{role}_token')
    if isinstance(token, dict):
      ranges.check_json(TOKEN, token, f'{path}: {role}_token: ')
  return content
