"""GGUF files: what one says of itself, and its tokenizer.

One file holds a model of llama.cpp: keys with values, a tokenizer among them,
and tensors (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md). The
package `gguf` reads it; here its tokenizer becomes one of `tokenizers`.
"""

import functools
from typing import Annotated

import numpy as np
import tokenizers
from sentencepiece import sentencepiece_model_pb2
from tokenizers import AddedToken, Regex, decoders, models, pre_tokenizers

from ctxlm import ranges
from ctxlm.data.tokenizers import bounds, spm
from ctxlm.errors import UserError, reason

MOST_VALUES = 2**22  # of all keys: several of each token, and of each merge
KEY = 'tokenizer.ggml.'
ROLES = {
  'bos_token': 'bos_token_id',
  'eos_token': 'eos_token_id',
  'unk_token': 'unknown_token_id',
  'pad_token': 'padding_token_id',
}
Ids = Annotated[int, ranges.Range('[0, 4194303]')]
KINDS = {
  'model': str,
  'pre': str,
  'tokens': tuple[str, ...],
  'merges': tuple[str, ...],
  'token_type': tuple[int, ...],
  'scores': tuple[float, ...],
  **dict.fromkeys((*ROLES.values(), 'eot_token_id'), Ids),
  **dict.fromkeys(('add_bos_token', 'add_eos_token'), bool),
  **dict.fromkeys(('add_space_prefix', 'remove_extra_whitespaces'), bool),
}
NORMAL, BYTE = 1, 6  # of token_type; spm.CONTROL and USER_DEFINED between
# How text is cut before its pairs are merged, by llama.cpp's name for it
# (src/llama-vocab.cpp); None is GPT-2's own pattern, DIGITS that with each
# digit alone.
DIGITS = ''
LLAMA3 = (
  r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
  r'| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+'
)
_UPPER, _LOWER = r'\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}', r'\p{Ll}\p{Lm}\p{Lo}\p{M}'
TEKKEN = (
  rf'[^\r\n\p{{L}}\p{{N}}]?[{_UPPER}]*[{_LOWER}]+'
  rf'|[^\r\n\p{{L}}\p{{N}}]?[{_UPPER}]+[{_LOWER}]*'
  r'|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+'
)
CUTS = {
  'gpt-2': None,
  **dict.fromkeys(('smollm', 'starcoder', 'refact'), DIGITS),
  **dict.fromkeys(('llama-bpe', 'llama3', 'llama-v3'), LLAMA3),
  'tekken': TEKKEN,
}


def open_file(path):
  """Returns the gguf.GGUFReader of a file that anybody may have made.

  Args:
    path: pathlib.Path.

  Raises:
    UserError: it is none, or is damaged, or ends too early; no package gguf.
  """
  try:
    about = path.stat()
  except OSError as e:
    raise UserError(f'no file {path}') from e
  return _open(path, about.st_size, about.st_mtime_ns)


# It takes a second or so, and a model and its tokenizer are both read of it.
@functools.lru_cache(maxsize=1)
def _open(path, size, changed):
  del size, changed
  try:
    import gguf
  except ImportError as e:
    raise UserError(f"{path} needs gguf: pip install 'ctxlm[gguf]'") from e

  class Reader(gguf.GGUFReader):
    """Reads nothing beyond the file's end, and no more than can be borne."""

    left = 4 * MOST_VALUES

    def _get(self, offset, dtype, count=1, override_order=None):
      self.data = np.asarray(self.data)  # its slices are ten times as fast
      self.left -= 1
      end = int(offset) + int(count) * np.dtype(dtype).itemsize
      if end > len(self.data):
        raise ValueError('it ends too early')
      if self.left < 0:
        raise ValueError(f'it has more than {MOST_VALUES} values')
      return super()._get(offset, dtype, count, override_order)

  try:
    reader = Reader(path)
  except Exception as e:  # whatever a damaged file leads to
    raise UserError(f'{path} is damaged, or no GGUF file: {reason(e)}') from e
  if reader.byte_order != 'I':
    raise UserError(f'{path} is in the byte order of another machine')
  return reader


def dequantize(data, kind):
  """Returns float32 of rows of a tensor, see gguf.dequantize."""
  import gguf

  return gguf.dequantize(data, kind)


def values(reader, prefix, kinds, path):
  """Returns {key: value, or None} of what a file says.

  Args:
    reader: of open_file.
    prefix: what stands before the keys, such as KEY.
    kinds: {key: type}, see ranges.check_json.
    path: of the file.

  Raises:
    UserError: a value is of another kind.
  """
  said = {}
  for key in kinds:
    field = reader.fields.get(prefix + key)
    if field is not None:
      try:
        said[key] = field.contents()
      except ValueError as e:
        raise UserError(f'{path}: {prefix}{key} is no UTF-8') from e
  return ranges.check_json(kinds, said, f'{path}: {prefix}')


def read(path):
  """Returns the tokenizer of a file: (backend, tokenizer_config.json's keys).

  Both are None where it has none.

  Args:
    path: pathlib.Path.

  Raises:
    UserError: it is of a kind that isn't supported, or is damaged.
  """
  said = values(open_file(path), KEY, KINDS, path)
  if said['model'] in (None, 'no_vocab', 'none'):
    return None, None
  if said['model'] not in MODELS:
    raise UserError(
      f'{path}: a tokenizer of the kind {said["model"]!r} is not supported; '
      f'there are {", ".join(MODELS)}'
    )
  count = len(said['tokens'] or ())
  for key in ('token_type', 'scores'):
    if said[key] is not None and len(said[key]) != count:
      raise UserError(
        f'{path}: {KEY}{key} has {len(said[key])} entries for {count} tokens'
      )
  for key in ROLES.values():
    if said[key] is not None and said[key] >= count:
      raise UserError(
        f'{path}: {KEY}{key}={said[key]} is none of {count} tokens'
      )
  said['token_type'] = said['token_type'] or [NORMAL] * count
  with bounds.said(f'{path}: its tokenizer fails'):
    try:
      backend = MODELS[said['model']](said)
    except UserError as e:
      raise UserError(f'{path}: {e}') from e
  names = {
    role: said['tokens'][said[key]]
    for role, key in ROLES.items()
    if said[key] is not None
  }
  return backend, {'tokenizer_class': 'PreTrainedTokenizerFast'} | names


def chat_template(path):
  """Returns what joins the turns of a dialogue: a Jinja template, or None."""
  kinds = {'chat_template': str}
  said = values(open_file(path), 'tokenizer.', kinds, path)
  return said['chat_template']


def _byte_level(said):
  # Byte-level BPE (Radford et al. 2019).
  cut = said['pre']
  if cut not in CUTS:
    raise UserError(
      f'{KEY}pre={cut!r}, how it cuts texts, is not supported; there are '
      f'{", ".join(CUTS)}'
    )
  vocab = {token: i for i, token in enumerate(said['tokens'])}
  merges = [tuple(m.split(' ')) for m in said['merges'] or ()]
  if not all(len(m) == 2 for m in merges):
    raise UserError(f'{KEY}merges has one that is no pair')
  # As llama.cpp has it, Llama 3 takes a whole word that is a token for it.
  whole = CUTS[cut] == LLAMA3
  tokenizer = tokenizers.Tokenizer(
    models.BPE(vocab, merges, ignore_merges=whole)
  )
  steps = [pre_tokenizers.ByteLevel(add_prefix_space=False)]
  if CUTS[cut] == DIGITS:
    steps = [pre_tokenizers.Digits(individual_digits=True), *steps]
  elif CUTS[cut]:
    steps = [
      pre_tokenizers.Split(Regex(CUTS[cut]), 'isolated'),
      pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ]
  tokenizer.pre_tokenizer = pre_tokenizers.Sequence(steps)
  tokenizer.decoder = decoders.ByteLevel()
  tokenizer.add_tokens(
    [
      AddedToken(token, special=kind == spm.CONTROL, normalized=False)
      for token, kind in zip(said['tokens'], said['token_type'])
      if kind in (spm.CONTROL, spm.USER_DEFINED)
    ]
  )
  return _framed(tokenizer, said, whole)


def _sentencepiece(said):
  # The file has what a SentencePiece model of the kind BPE has.
  if said['scores'] is None:
    raise UserError(f'{KEY}scores is missing')
  proto = sentencepiece_model_pb2.ModelProto()
  kinds = said['token_type']
  for token, kind, score in zip(said['tokens'], kinds, said['scores']):
    proto.pieces.add(piece=token, type=kind, score=score)
  spec = proto.trainer_spec
  spec.model_type, spec.byte_fallback = spm.BPE, BYTE in kinds
  spec.unk_id = said['unknown_token_id'] or 0
  proto.normalizer_spec.add_dummy_prefix = said['add_space_prefix'] is not False
  proto.normalizer_spec.remove_extra_whitespaces = bool(
    said['remove_extra_whitespaces']
  )
  tokenizer = spm.convert(proto.SerializeToString())
  return _framed(tokenizer, said, begins=True)


def _framed(tokenizer, said, begins):
  # begins: whether a text begins with bos where the file doesn't say.
  frame = ['$A']
  if said['add_bos_token'] or (begins and said['add_bos_token'] is None):
    frame.insert(0, said['bos_token_id'])
  if said['add_eos_token']:
    frame.append(said['eos_token_id'])
  if None in frame:
    raise UserError(f'{KEY} has no id of what stands around a text')
  names = [f if f == '$A' else said['tokens'][f] for f in frame]
  second = [f'{name}:1' for name in names]
  second[names.index('$A')] = '$B:1'
  tokenizer.post_processor = tokenizers.processors.TemplateProcessing(
    single=names,
    pair=names + second,
    special_tokens=[(said['tokens'][f], f) for f in frame if f != '$A'],
  )
  return tokenizer


MODELS = {'gpt2': _byte_level, 'llama': _sentencepiece}
