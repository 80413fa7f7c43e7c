"""Mix-up of hidden states: between two examples, their labels are mixed.

Verma et al. 2019 (arXiv:1806.05236), equation 1; of texts TMix (Chen et al.
2020, arXiv:2004.12239, section 3.1). After a block that is drawn,

    h = share * h_i + (1 - share) * h_j,  share ~ Beta(alpha, alpha)

and the loss is share * nll(y_i) + (1 - share) * nll(y_j). Both of a pair are
trained so, i with j and j with i. Where either text has ended, the other stays.
The pair, its share and its block are drawn by the example alone, so that they
don't hang on what else is in a batch.
"""

import dataclasses
from typing import Annotated

import jax.numpy as jnp
import numpy as np

from ctxlm.errors import UserError
from ctxlm.objectives import regularizers
from ctxlm.ranges import AboveZero, Range

OTHER = 'other_'  # what the features of an example's other one begin with


@dataclasses.dataclass(frozen=True)
class Regularizer:
  """Mixes each example with another one of the data.

  Attributes:
    alpha: of the Beta distribution; the larger, the nearer to the middle.
    layers: after which blocks, one of them drawn; 0 is the embeddings.
  """

  alpha: AboveZero = 0.4
  layers: Annotated[tuple[int, ...], Range('[0, inf)')] = (0,)

  terms = {}
  edits = mixes = True

  def __post_init__(self):
    if not self.layers:
      raise ValueError('layers: name one at least')

  def check(self, model):
    """See regularizers.Regularizer."""
    if model.encoder_decoder:
      raise UserError('mixup is of models without an encoder-decoder')
    if max(self.layers) > model.num_layers:
      raise UserError(
        f'mixup.layers={self.layers}: the model has {model.num_layers} layers'
      )
    if max(self.layers) and model.scan_layers:
      raise UserError(
        f'mixup.layers={self.layers}: with config.model.scan_layers=True only '
        'the embeddings can be mixed, layers=(0,)'
      )

  def features(self, own, other, rng):
    """Returns the features of an example with those of its other one."""
    return own | {
      **{OTHER + name: value for name, value in other.items()},
      'share': np.float32(rng.beta(self.alpha, self.alpha)),
      'depth': np.int32(rng.choice(self.layers)),
    }

  def sums(self, objective, apply, params, batch, rng):
    """See regularizers.Regularizer."""
    own, rows = regularizers.twice(batch)

    def beside(x, y):  # x_0, y_0, x_1, y_1, ...
      return jnp.stack([x, y], 1).reshape(-1, *x.shape[1:])

    pairs = [
      (name, batch[name], batch[OTHER + name])
      for name in batch
      if OTHER + name in batch
    ]
    mine = own | {name: beside(x, y) for name, x, y in pairs}
    theirs = own | {name: beside(y, x) for name, x, y in pairs}
    share = own['share']
    both = (mine['segment_ids'] > 0) & (theirs['segment_ids'] > 0)

    def edit(x, depth):
      if depth not in self.layers:
        return x
      turned = x.reshape(-1, 2, *x.shape[1:])[:, ::-1].reshape(x.shape)
      s = share[:, None, None].astype(x.dtype)
      here = both & (own['depth'] == depth)[:, None]
      return jnp.where(here[..., None], s * x + (1 - s) * turned, x)

    out = apply(
      params, lambda m: objective.outputs(m, mine, rows, edit=edit), rng
    )
    parts = [
      objective.judged(out, labels | {'valid': own['valid'] * weight})
      for labels, weight in ((mine, share), (theirs, 1 - share))
    ]
    return {
      name: tuple(map(jnp.add, parts[0][name], parts[1][name]))
      for name in parts[0]
    }
