"""Texts to vectors, on all devices.

Texts are sorted by length, so that a batch has little padding.
"""

import time

import jax
import numpy as np

from ctxlm.data import framing
from ctxlm.errors import UserError
from ctxlm.inference import loading
from ctxlm.models.variables import make_apply
from ctxlm.objectives import contrastive
from ctxlm.parallel.collectives import gather

MULTIPLE = 8  # a batch's length is one; each is compiled once


class Embedder:
  """Texts to vectors.

  Attributes:
    pooling: 'cls' or 'mean'.
    normalise: whether vectors have length 1.
    max_length: tokens of a text at most.
  """

  def __init__(
    self, loaded, placement, pooling='', max_length=0, batch_size=32
  ):
    """Settles how, by the arguments or what the folder says.

    Args:
      loaded: loading.Loaded, its parameters placed by `placement`.
      placement: parallel.Pmap or Mesh.
      pooling: '' is the folder's own.
      max_length: 0 is the folder's own.
      batch_size: texts, made a multiple of the devices.

    Raises:
      UserError: the folder has no pooling of its own, no tokenizer, or isn't
        of an encoder or decoder alone.
    """
    if loaded.model.encoder_decoder:
      raise UserError('embed takes encoders, and decoders without an encoder')
    loading.need_tokenizer(loaded)
    own = loaded.sentence
    self.pooling = pooling or (own and own.pooling)
    if not self.pooling:
      raise UserError(
        f'{loaded.folder} has no pooling of its own: choose --pooling cls or '
        'mean'
      )
    self.normalise = bool(own and own.normalise)
    self._prompt = own.prompt if own else ''
    limit = loaded.model.max_length
    self.max_length = min(
      max_length or (own and own.max_length) or limit, limit
    )
    self._tokenizer, self._params = loaded.tokenizer, loaded.params
    self._placement = placement
    shards = placement.shards
    self._batch_size = -(-batch_size // shards) * shards
    objective = contrastive.Objective(
      pooling=self.pooling, tokenizer=loaded.tokenizer
    )
    apply = make_apply(loaded.model)

    def embed(params, batch, axis):
      def forward(model):
        used = (batch['tokens'] >= 0).astype('int32')
        return objective.embed(model, batch['tokens'].clip(0), used)

      return gather(apply(params, forward), axis)

    self._compiled = placement.compile(embed)

  def __call__(self, texts, progress=None):
    """Returns float32 [n, m] of n texts.

    Args:
      texts: list of str.
      progress: tracking.Progress of the texts, or None.
    """
    prompted = [self._prompt + t for t in texts]
    ids = framing.texts(self._tokenizer, prompted, self.max_length)
    order = np.argsort([-len(i) for i in ids], kind='stable')
    size, began, pending = self._batch_size, time.monotonic(), []
    vectors = None

    def fetch(chosen, out):
      nonlocal vectors
      out = np.asarray(jax.device_get(out))[: len(chosen)]
      if vectors is None:
        vectors = np.zeros((len(texts), out.shape[1]), np.float32)
      vectors[chosen] = out

    for start in range(0, len(order), size):
      chosen = order[start : start + size]
      rows = self._placement.rows(size)
      batch = self._batch([ids[i] for i in chosen])[rows]
      batch = self._placement.put({'tokens': batch})
      pending.append((chosen, self._compiled(self._params, batch)))
      # The next is prepared while two are under way.
      if len(pending) > 2:
        fetch(*pending.pop(0))
      if progress:
        done = min(start + size, len(order))
        rate = done / (time.monotonic() - began)
        progress.advance(done)
        if start // size % 50 == 0 or done == len(order):
          left = (len(order) - done) / rate
          progress.show(done, f'{rate:,.0f} lines/s', left)
    for chosen, out in pending:
      fetch(chosen, out)
    if self.normalise and vectors is not None:
      norms = np.linalg.norm(vectors, axis=1, keepdims=True)
      vectors /= norms.clip(1e-12)
    return vectors

  def _batch(self, ids):
    longest = max(len(i) for i in ids)
    length = min(-(-longest // MULTIPLE) * MULTIPLE, self.max_length)
    # -1 is padding; rows that fill up the last batch are a text of one token.
    tokens = np.full((self._batch_size, length), -1, np.int32)
    tokens[len(ids) :, 0] = 0
    for row, i in zip(tokens, ids, strict=False):
      row[: len(i)] = i
    return tokens
