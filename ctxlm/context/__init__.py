"""What widens a model's context: other distributions of the next token.

    p(x | h) = sum_k w_k p_k(x | h),   sum_k w_k = 1

Probabilities are interpolated, not their logarithms. Source 0 is the model
itself; each of the others is a plug-in, a module here with a class `Context`,
which is given what the model has read (`Seen`) and answers with log p_k. Where
it knows nothing, such as a cache of nothing, it gives back the model's own.
`widened.Widened` puts them together into one model, which evaluators, `score`,
decoding and a loss take as they take others.
"""

from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from ctxlm.errors import UserError, note

TINY = np.finfo(np.float32).tiny  # stands for a probability of 0


class Seen(struct.PyTreeNode):
  """What a model has just read, and what it says of it.

  Attributes:
    tokens: int32 [n, t].
    segment_ids: int32 [n, t]; tokens see their own segment, 0 is padding.
    positions: int32 [n, t], from 0 in each segment; None is 0, 1, ...
    hidden: [n, t, m], its hidden states.
    logps: float32 [n, q, v], log p of the token after each of the last q: all
      of them, but for the pass over prompts, where q is 1.
    params: the model's parameters.
  """

  tokens: Any
  segment_ids: Any
  positions: Any
  hidden: Any
  logps: Any
  params: Any


class Context(Protocol):
  """A source of next-token distributions: a frozen dataclass of options.

  Its parameters are a tree of arrays, and so is its memory, what it carries
  from token to token; both may be empty, {} and None. A memory has `take`, as
  ctxlm.decoding.Cache has.

  Attributes:
    weight: w_k; the model has what all leave.
    context_length: tokens that it can see, None where there is no limit.
  """

  weight: float
  context_length: int | None

  def open(self, model, load):
    """Returns (context, parameters), having read what its options name.

    The context that it gives, which may be of another class, answers.

    Args:
      model: inference.loading.Loaded, what is widened.
      load: folder -> Loaded of another model that predicts the next token.

    Raises:
      UserError: it can't be read, or isn't for this model.
    """

  def rows(self, params, seen):
    """Returns log p float32 [n, t, v] after each token of whole rows."""

  def begin(self, params, seen, prompts):
    """Returns (log p float32 [n, 1, v] after prompts, memory).

    Args:
      params: the context's.
      seen: n = b * copies rows.
      prompts: ctxlm.models.decoder.Prompts; the memory is of n * siblings rows.
    """

  def advance(self, params, seen, memory):
    """Returns (log p float32 [n, t, v], memory) after the next tokens."""


@runtime_checkable
class Tuned(Protocol):
  """A Context with options that a held-out text decides.

  `tally(*votes(evidence(params, seen), seen), seen.logps)` is its `rows`. The
  evidence is what costs most; it is made once, with each option at the largest
  value of its grid, and serves them all. In `votes` these options may be
  traced.

  Attributes:
    grid: {option: values that are tried}.
  """

  grid: dict[str, tuple]

  def evidence(self, params, seen):
    """Returns a tree of arrays."""

  def votes(self, evidence, seen):
    """Returns (scores float32 [n, t, k], tokens int32 [n, 1 or t, k])."""


def note_own(contexts, view, split):
  """Says so where a view is the text that a context has kept; see nearest.

  Args:
    contexts: of Context.
    view: ctxlm.data.views.View that is judged.
    split: what it is called.
  """
  for own in contexts:
    if getattr(own, 'text', None) == view.fingerprint:
      note(
        f'the datastore is of the split {split!r} itself, so that every token '
        'finds itself there: judge another split'
      )


def mix(logps, weights):
  """Returns log sum_k w_k p_k, float32 [..., v].

  Args:
    logps: sequence of K arrays [..., v], log p_k.
    weights: [..., K], of all places alike where it is [K]; those of a place are
      0 or more, and sum to 1.

  >>> import jax.numpy as jnp
  >>> p = jnp.log(jnp.array([[0.5, 0.5], [1.0, 0.0]]))
  >>> jnp.exp(mix(p, jnp.array([0.5, 0.5]))).round(4).tolist()
  [0.75, 0.25]
  """
  logs = jnp.log(weights)[..., None]
  parts = [logp + logs[..., k, :] for k, logp in enumerate(logps)]
  return jax.nn.logsumexp(jnp.stack(parts), axis=0)


def tally(scores, tokens, own):
  """Returns log sum_j softmax(scores)_j 1{x = tokens_j}, float32 [n, t, v].

  Args:
    scores: float32 [n, t, k]; -inf has no vote.
    tokens: int32 [n, 1 or t, k].
    own: float32 [n, t, v], what is given back where nothing has a vote.
  """
  some, shares = _shares(scores)
  tokens = jnp.broadcast_to(tokens, shares.shape)

  def one(tokens, shares):
    return jnp.zeros(own.shape[-1]).at[tokens].add(shares)

  p = jax.vmap(jax.vmap(one))(tokens, shares)
  return jnp.where(some, jnp.log(jnp.maximum(p, TINY)), own)


def tally_of(scores, tokens, targets, own):
  """Returns what `tally` has of targets int32 [n, t] alone: float32 [n, t].

  Args:
    scores, tokens: see `tally`.
    targets: int32 [n, t].
    own: float32 [n, t], of the targets.
  """
  some, shares = _shares(scores)
  p = (shares * (tokens == targets[..., None])).sum(-1)
  return jnp.where(some[..., 0], jnp.log(jnp.maximum(p, TINY)), own)


def _shares(scores):
  some = (scores > -jnp.inf).any(-1, keepdims=True)
  return some, jax.nn.softmax(jnp.where(some, scores, 0.0), axis=-1)


def weights(contexts):
  """Returns the weights float32 [1 + K] of the model and of K contexts.

  Raises:
    UserError: they leave less than nothing to the model.
  """
  own = [context.weight for context in contexts]
  left = 1 - sum(own)
  if left < -1e-6:  # what a sum is rounded by
    raise UserError(
      f'the weights of the contexts, {", ".join(map(str, own))}, sum to more '
      'than 1'
    )
  return jnp.array([max(left, 0.0), *own], jnp.float32)
