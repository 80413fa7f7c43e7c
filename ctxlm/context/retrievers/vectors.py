"""The nearest vectors of an encoder, such as one that was trained to contrast.

A run is made a model folder first, which `ctxlm convert --to` writes.
"""

import dataclasses
import hashlib
from typing import Any

import jax
import numpy as np

from ctxlm import models
from ctxlm.data import framing
from ctxlm.errors import UserError
from ctxlm.families import folder as folder_lib
from ctxlm.families import hub, model_folder
from ctxlm.models import adapters
from ctxlm.models.variables import make_apply
from ctxlm.objectives import contrastive

ROWS = 64  # texts at a time


@dataclasses.dataclass(frozen=True)
class Retriever:
  """By the cosine of texts' vectors.

  Attributes:
    encoder: model folder, or one of sentence-transformers, by path or name.
  """

  encoder: str

  @property
  def key(self):
    """See retrievers.Retriever; of the contents of the folder's files."""
    folder = _found(self.encoder)
    sums = []
    for path in sorted(p for p in folder.rglob('*') if p.is_file()):
      with open(path, 'rb') as file:
        sums.append(hashlib.file_digest(file, 'sha256').hexdigest())
    return 'vectors', *sums

  def index(self, texts, tokenizer):
    """See retrievers.Retriever."""
    folder = _found(self.encoder)
    if model_folder.is_one(folder):
      opened = model_folder.open_folder(folder)
    else:
      opened = folder_lib.open_folder(folder)
    encode = Encoder(opened)
    return Index(encode, tokenizer, encode(_strings(texts, tokenizer)))


@dataclasses.dataclass(frozen=True)
class Index:
  """See retrievers.Index.

  Attributes:
    encode: Encoder.
    tokenizer: of the run, whose ids are made text again.
    vectors: float32 [t, m] of the texts, of length 1.
  """

  encode: Any
  tokenizer: Any
  vectors: Any

  def scores(self, queries):
    """See retrievers.Index."""
    return self.encode(_strings(queries, self.tokenizer)) @ self.vectors.T


class Encoder:
  """Strings to vectors of length 1."""

  def __init__(self, opened):
    """Takes a families.opened.Opened.

    Raises:
      UserError: it makes no vectors of texts.
    """
    own = opened.sentence
    if own is None or opened.tokenizer is None:
      raise UserError(
        f'{opened.folder} has no pooling of its own, or no tokenizer: the '
        'retriever vectors needs a folder of sentence vectors'
      )
    model = adapters.build(opened.block, opened.adapt)
    models.need_vectors(model)
    limit = model.max_length
    self._most = min(own.max_length or limit, limit)
    self._tokenizer, self._prompt = opened.tokenizer, own.prompt
    self._params = opened.read_all()
    objective = contrastive.Objective(
      pooling=own.pooling,
      dense=tuple(map(dataclasses.asdict, own.dense)),
      tokenizer=opened.tokenizer,
    )
    apply = make_apply(model)
    self._embed = jax.jit(
      lambda params, batch: apply(params, lambda m: objective.embed(m, *batch))
    )

  def __call__(self, strings):
    """Returns float32 [n, m]; what is longer than the encoder reads is cut."""
    prompted = [self._prompt + text for text in strings]
    ids = framing.texts(self._tokenizer, prompted, self._most)
    # One length of all, a power of two: two programs for keys and queries.
    longest = 1 << (max(map(len, ids)) - 1).bit_length()
    length, made = min(max(longest, 16), self._most), []
    for start in range(0, len(ids), ROWS):
      own = ids[start : start + ROWS]
      tokens = np.zeros((ROWS, length), np.int32)
      used = np.zeros((ROWS, length), np.int32)
      used[len(own) :, 0] = 1  # a row of nothing has no mean
      for i, row in enumerate(own):
        tokens[i, : len(row)], used[i, : len(row)] = row, 1
      found = jax.device_get(self._embed(self._params, (tokens, used)))
      made.append(found[: len(own)])
    vectors = np.concatenate(made)
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / norms.clip(1e-12)


def _strings(texts, tokenizer):
  return [tokenizer.decode([int(i) for i in text]) for text in texts]


def _found(name):
  folder = hub.find(name)
  if (folder / 'checkpoints').is_dir():
    raise UserError(
      f'{folder} is a run folder: ctxlm convert --model {folder} --to DIR '
      'makes the model folder that the retriever vectors needs'
    )
  return folder
