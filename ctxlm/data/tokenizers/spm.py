"""SentencePiece models as tokenizers of the `tokenizers` library.

Kudo and Richardson 2018. Unigram and BPE models, with their own text
normalisation; both are held against sentencepiece itself in the tests.
"""

import math

import numpy as np
import tokenizers
from sentencepiece import sentencepiece_model_pb2
from tokenizers import (
  AddedToken,
  Regex,
  decoders,
  models,
  normalizers,
  pre_tokenizers,
)

from ctxlm.data.tokenizers import bounds
from ctxlm.errors import UserError

UNIGRAM, BPE = 1, 2  # TrainerSpec.model_type
MOST_PIECE = 1000  # characters
CONTROL, USER_DEFINED = 3, 4  # SentencePiece.type


def convert(data):
  """Returns the `tokenizers.Tokenizer` of a serialised ModelProto.

  Raises:
    UserError: it is none, or neither unigram nor BPE.
  """
  proto = _parse(data)
  spec = proto.trainer_spec
  if spec.model_type == UNIGRAM:
    model = models.Unigram(
      [(p.piece, _short(p.score)) for p in proto.pieces],
      unk_id=spec.unk_id,
      byte_fallback=spec.byte_fallback,
    )
  elif spec.model_type == BPE:
    model = _bpe(proto)
  else:
    raise UserError('only unigram and BPE SentencePiece models can be read')
  tokenizer = tokenizers.Tokenizer(model)
  _set_text(tokenizer, proto)
  for kind in (CONTROL, USER_DEFINED):
    tokenizer.add_tokens(
      [
        AddedToken(p.piece, special=kind == CONTROL, normalized=False)
        for p in proto.pieces
        if p.type == kind
      ]
    )
  return tokenizer


def names(data):
  """Returns {role: piece} of a ModelProto's own bos, eos, unk and pad."""
  proto = _parse(data)
  ids = {
    role: getattr(proto.trainer_spec, f'{role}_id')
    for role in ('bos', 'eos', 'unk', 'pad')
  }
  return {
    role: proto.pieces[i].piece
    for role, i in ids.items()
    if 0 <= i < len(proto.pieces)
  }


def _parse(data):
  proto = sentencepiece_model_pb2.ModelProto()
  try:
    proto.ParseFromString(data)
  except Exception as e:  # protobuf's error class moves between releases
    raise UserError('the file is no SentencePiece model') from e
  if not proto.pieces:
    raise UserError('the file is no SentencePiece model')
  if not all(math.isfinite(p.score) for p in proto.pieces):
    raise UserError('a piece has a score that is not finite')
  if max(len(p.piece) for p in proto.pieces) > MOST_PIECE:
    raise UserError(f'a piece has more than {MOST_PIECE} characters')
  if not 0 <= proto.trainer_spec.unk_id < len(proto.pieces):
    raise UserError('the id of what is unknown is none of a piece')
  if proto.normalizer_spec.precompiled_charsmap:
    bounds.check_charsmap(proto.normalizer_spec.precompiled_charsmap)
  return proto


def _short(score):
  # A float32's shortest decimal: longer ones lose their last digit each time
  # that `tokenizers` reads them from JSON.
  return float(str(np.float32(score)))


def _bpe(proto):
  # A piece's merges are all its cuts in two pieces; better scores go first.
  vocab = {p.piece: i for i, p in enumerate(proto.pieces)}
  merges = []
  for p in proto.pieces:
    cuts = ((p.piece[:i], p.piece[i:]) for i in range(1, len(p.piece)))
    cuts = [c for c in cuts if c[0] in vocab and c[1] in vocab]
    cuts.sort(key=lambda c: (vocab[c[0]], vocab[c[1]]))
    merges += [(-p.score, c) for c in cuts]
  merges.sort(key=lambda m: m[0])
  return models.BPE(
    vocab,
    [c for _, c in merges],
    unk_token=proto.pieces[proto.trainer_spec.unk_id].piece,
    fuse_unk=True,
    byte_fallback=proto.trainer_spec.byte_fallback,
  )


def _set_text(tokenizer, proto):
  spec = proto.normalizer_spec
  steps = []
  if spec.precompiled_charsmap:
    steps.append(normalizers.Precompiled(spec.precompiled_charsmap))
  if spec.remove_extra_whitespaces:
    steps.append(normalizers.Strip(left=False, right=True))
    steps.append(normalizers.Replace(Regex(' {2,}'), ' '))
  if steps:
    tokenizer.normalizer = normalizers.Sequence(steps)
  # 'first': text after a special token gets no space that it hasn't.
  scheme = 'first' if spec.add_dummy_prefix else 'never'
  space = dict(replacement='▁', prepend_scheme=scheme)
  # BPE pieces may hold several spaces, so its text isn't cut there.
  tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(
    **space, split=proto.trainer_spec.model_type == UNIGRAM
  )
  tokenizer.decoder = decoders.Sequence(
    [
      decoders.ByteFallback(),
      decoders.Metaspace(**space),
      decoders.Fuse(),
    ]
  )
