"""What is asked of a loss's model in training beside the right answers.

A module here with a class `Regularizer` is a plug-in, named in an objective's
option `regularizer`; a dotted name reaches one of a researcher's own.
"""

from typing import Protocol

import jax
import jax.numpy as jnp

from ctxlm.objectives import losses


class Regularizer(Protocol):
  """A frozen dataclass whose fields are its options.

  Attributes:
    terms: {name: coefficient} of the sums that it adds to the loss.
    edits: whether it changes embeddings or hidden states.
    mixes: whether an example comes with another one, see
      ctxlm.data.views.mixed.
  """

  terms: dict[str, float]
  edits: bool
  mixes: bool

  def check(self, model):
    """Raises UserError if nothing, or nothing that works, comes of a model."""

  def sums(self, objective, apply, params, batch, rng):
    """Returns a training batch's sums, as objectives.Objective.loss does.

    Args:
      objective: objectives.Regular.
      apply, params, batch, rng: as there; rng is not None.
    """


def loss(objective, apply, params, batch, rng, plain=None):
  """Returns the sums of an objectives.Regular's loss.

  Args:
    objective, apply, params, batch, rng: as of objectives.Objective.loss.
    plain: what gives them without a regularizer, called with (apply, params,
      batch, rng); None judges its outputs.
  """
  if objective.regularizer and rng is not None:
    return objective.regularizer.sums(objective, apply, params, batch, rng)
  if plain:
    return plain(apply, params, batch, rng)
  rows = losses.rows(batch, rng)
  out = apply(params, lambda model: objective.outputs(model, batch, rows), rng)
  return objective.judged(out, batch)


def terms(regularizer):
  """Returns which sums make the loss of an objective that has such."""
  return {'loss': 1.0} | (regularizer.terms if regularizer else {})


def check(name, regularizer, edits=False, mixes=False):
  """Raises ValueError for one that an objective can't have.

  Args:
    name: of the objective.
    regularizer: of its option, or None.
    edits, mixes: whether it takes those that have these attributes.
  """
  if regularizer and regularizer.mixes and not mixes:
    raise ValueError(f'regularizer: {name} has no labels that can be mixed')
  if regularizer and regularizer.edits and not edits:
    raise ValueError(
      f'regularizer: {name} takes none that changes what the model reads'
    )


def twice(batch):
  """Returns (each example beside its copy [2b, ...], rows of their own)."""
  both = jax.tree.map(lambda x: jnp.repeat(x, 2, axis=0), batch)
  rows = both['index'] * 2 + jnp.arange(len(both['index'])) % 2
  return both, rows


def drops(model):
  """Whether a model has any dropout."""
  o = model.options
  return any(
    rate > 0
    for rate in (
      o.dropout,
      o.embedding_dropout,
      o.attention_dropout,
      o.mlp_dropout,
      o.output_dropout,
    )
  )
