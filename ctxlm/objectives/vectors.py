"""Texts to vectors, on all devices.

Texts are sorted by length, so that a batch has little padding.
"""

import dataclasses
import types

import numpy as np

from ctxlm import models
from ctxlm.data import framing
from ctxlm.errors import UserError, note
from ctxlm.models import adapters
from ctxlm.models.variables import make_apply
from ctxlm.objectives import contrastive
from ctxlm.parallel import rows


def embedder(opened, placement):
  """Returns the Embedder of a model that is opened.

  Args:
    opened: families.opened.Opened.
    placement: parallel.Pmap or Mesh.

  Raises:
    UserError: it makes no vectors.
  """
  loaded = types.SimpleNamespace(
    folder=opened.folder,
    model=adapters.build(opened.block, opened.adapt),
    params=opened.read_all(placement.shardings),
    tokenizer=opened.tokenizer,
    sentence=opened.sentence,
  )
  return Embedder(loaded, placement)


class Embedder:
  """Texts to vectors.

  Attributes:
    pooling: of ctxlm.objectives.pooling.KINDS.
    normalise: whether vectors have length 1.
    max_length: tokens of a text at most.
  """

  def __init__(
    self, loaded, placement, pooling='', max_length=0, batch_size=32
  ):
    """Settles how, by the arguments or what the folder says.

    Args:
      loaded: what has the folder, model, parameters, which `placement` has
        placed, tokenizer, and sentence, families.sentence.Sentence or None;
        such as loading.Loaded.
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
    models.need_vectors(loaded.model)
    if loaded.tokenizer is None:
      raise UserError(f'{loaded.folder} has no tokenizer: put its files there')
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
    maps = own.dense if own else ()
    objective = contrastive.Objective(
      pooling=self.pooling,
      dense=tuple(map(dataclasses.asdict, maps)),
      tokenizer=loaded.tokenizer,
    )
    apply = make_apply(loaded.model)

    def embed(params, batch):
      return apply(params, lambda model: objective.embed(model, **batch))

    size, most = loaded.model.hidden_size, self.max_length
    self._size = own.size(size) if own else size
    self._rows = rows.Rows(
      placement, embed, batch_size, lambda n: min(rows.multiple(n), most)
    )

  def __call__(self, texts, progress=None):
    """Returns float32 [n, m] of n texts.

    Args:
      texts: list of str.
      progress: tracking.Progress of the texts, or None.
    """
    if not texts:
      return np.zeros((0, self._size), np.float32)
    prompted = [self._prompt + t for t in texts]
    ids = framing.texts(self._tokenizer, prompted, self.max_length)
    if not all(ids):
      raise UserError(
        f'text {ids.index([])}, counted from 0, has no token, and so no '
        'vector: leave it out'
      )
    full = sum(len(i) >= self.max_length for i in ids)
    if full:
      note(
        f'{full:,} of {len(ids):,} texts fill max_length={self.max_length} '
        'tokens: what is longer is cut'
      )
    vectors = np.stack(
      self._rows(self._params, [{'tokens': i} for i in ids], progress)
    )
    if self.normalise:
      norms = np.linalg.norm(vectors, axis=1, keepdims=True)
      vectors /= norms.clip(1e-12)
    return vectors
