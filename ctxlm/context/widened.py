"""A model and its contexts as one model; see ctxlm.context."""

import dataclasses
import re
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from ctxlm import context, models, trees
from ctxlm.context import gate
from ctxlm.errors import UserError
from ctxlm.models import adapters, decoder

OWN = 'context'  # where the contexts' parameters are, beside the model's


@dataclasses.dataclass(frozen=True, eq=False)
class Widened:
  """A model that says what it and its contexts say together.

  It is used as a Flax module is, through `apply`, and writes as a
  ctxlm.decoding.Model does. Its hidden states are log p of the next token,
  [b, l, v], which its `logits` give back.

  Attributes:
    model: Flax module, causal, and a decoder alone.
    contexts: of ctxlm.context.Context; the parameters of the first of them are
      at context/0, and so on.
    gate: whether the weights are a gate's, see ctxlm.context.gate.
    given: the contexts' parameters where they are initialised, a tree of each:
      they are not trained.
  """

  model: Any
  contexts: tuple
  gate: bool = False
  given: tuple = ()

  causal = True
  encoder_decoder = False
  rewinds = False  # a memory keeps what it has read

  def __post_init__(self):
    """Raises UserError: the model reads more than a text."""
    if isinstance(self.model, models.ReadsPassages):
      raise UserError(
        'a model that reads passages beside a text has no other contexts'
      )

  @property
  def vocab_size(self):
    """Tokens."""
    return self.model.vocab_size

  @property
  def context_length(self):
    """Tokens that all of them can see, or None where there is no limit."""
    return _least(one.context_length for one in (self.model, *self.contexts))

  @property
  def max_length(self):
    """Tokens of a row, or None."""
    return _least((self.model.max_length, self.context_length))

  def apply(self, variables, *args, method=None, **options):
    """Returns what flax.linen.Module.apply does; the method sees a Bound."""
    method = self._inside(method or Bound.__call__)
    return self.model.apply(variables, *args, method=method, **options)

  def init_with_output(self, rngs, *args, method=None, **options):
    """Returns what flax.linen.Module.init_with_output does, likewise."""
    method = self._inside(method or Bound.__call__)
    return self.model.init_with_output(rngs, *args, method=method, **options)

  def _inside(self, method):
    def inside(model, *args, **kwargs):
      return method(Bound(self, model), *args, **kwargs)

    return inside

  def frozen(self, paths):
    """Returns those of parameters' paths that are never trained."""
    return {p for p in paths if re.match(rf'{OWN}/\d', p)}

  def see(self, bound, tokens, segment_ids=None, positions=None, **given):
    """Returns context.Seen of whole rows, inside of `apply`.

    Args:
      bound: the model, bound.
      tokens, segment_ids, positions: int32 [b, l], see models.Model, or None.
      **given: what else the model is called with.
    """
    where = {'segment_ids': segment_ids, 'positions': positions}
    hidden = bound(tokens, **where, **given)
    if bound.is_initializing():
      self._begin(bound, hidden.shape[-1])
    logps = jax.nn.log_softmax(bound.logits(hidden))
    if segment_ids is None:
      segment_ids = jnp.ones_like(tokens)
    params = bound.variables['params']
    return context.Seen(tokens, segment_ids, positions, hidden, logps, params)

  def read(self, seen):
    """Returns log p float32 [b, l, v] of all together, of whole rows."""
    both = zip(self.contexts, self.own(seen.params), strict=True)
    return self.mix(seen, [own.rows(tree, seen) for own, tree in both])

  def mix(self, seen, said):
    """Returns log p of all together; `said` is log p of each context."""
    weights = context.weights(self.contexts)
    if self.gate:
      hidden = seen.hidden[:, -seen.logps.shape[1] :]
      weights = gate.weights(seen.params[OWN][gate.NAME], hidden)
    return context.mix([seen.logps, *said], weights)

  def to_write(self, params):
    """See decoding.Model."""
    model, own = self.model.to_write(params)
    kept = {OWN: params[OWN]} if OWN in params else {}
    return dataclasses.replace(self, model=model), own | kept

  def begin(self, params, prompts):
    """Passes once over the prompts; see ctxlm.decoding.Model."""
    p = prompts
    if p.keep_hidden:
      models.need_vectors(self.model)
    logits, cache = self.model.begin(params, p.replace(keep_hidden=True))
    hidden, column = cache.hidden, jnp.arange(p.tokens.shape[1])
    filled = (column >= p.start[:, None]).astype(jnp.int32)
    tokens, filled = decoder.repeat((p.tokens, filled), p.copies)
    logps = jax.nn.log_softmax(logits)[:, None]
    seen = context.Seen(tokens, filled, None, hidden, logps, params)
    begun = [
      own.begin(tree, seen, p)
      for own, tree in zip(self.contexts, self.own(params), strict=True)
    ]
    last = decoder.repeat(hidden[:, -1:], p.siblings)
    return self.mix(seen, [logps for logps, _ in begun])[:, 0], Cache(
      cache.replace(hidden=last),
      tuple(memory for _, memory in begun),
      hidden if p.keep_hidden else None,
    )

  def advance(self, params, tokens, cache):
    """Passes over the next tokens; see ctxlm.decoding.Model."""
    logits, own = self.model.advance(params, tokens, cache.model)
    seen = context.Seen(
      tokens,
      jnp.ones_like(tokens),
      None,
      own.hidden,
      jax.nn.log_softmax(logits),
      params,
    )
    gone = [
      source.advance(tree, seen, memory)
      for source, tree, memory in zip(
        self.contexts, self.own(params), cache.memories, strict=True
      )
    ]
    return self.mix(seen, [logps for logps, _ in gone]), Cache(
      own,
      tuple(memory for _, memory in gone),
      None if cache.hidden is None else own.hidden,
    )

  def own(self, params):
    """Returns the contexts' parameters, [tree], out of all."""
    trees_ = params.get(OWN, {})  # there are none of what has no array
    return [trees_.get(str(i), {}) for i in range(len(self.contexts))]

  def _begin(self, bound, width):
    if self.gate:
      gate.begin(bound, OWN, width, self.contexts)
    for i, tree in enumerate(self.given):
      for path, array in trees.flatten(tree).items():
        scope, _, name = f'{OWN}/{i}/{path}'.rpartition('/')
        adapters.param(
          bound, scope, name, lambda *_, x=array: jnp.asarray(x), array.shape
        )


def _least(lengths):
  return min((n for n in lengths if n is not None), default=None)


class Bound:
  """A Widened inside of `apply`: what a models.Model is there."""

  causal = True
  encoder_decoder = False

  def __init__(self, widened, model):
    self._widened, self._model = widened, model
    self.vocab_size = widened.vocab_size

  def __call__(self, tokens, *, segment_ids=None, positions=None, **given):
    """Returns log p of the next token, float32 [b, l, v].

    Args:
      tokens: int32 [b, l].
      segment_ids, positions: int32 [b, l], see models.Model, or None.
      **given: as the model takes it.
    """
    whole = self._widened
    seen = whole.see(self._model, tokens, segment_ids, positions, **given)
    return whole.read(seen)

  def logits(self, hidden):
    """Returns log p of the next token, what `hidden` is here."""
    return hidden


class Cache(struct.PyTreeNode):
  """The model's cache, and what the contexts remember.

  Attributes:
    model: its ctxlm.decoding.Cache.
    memories: a context's each, or None.
    hidden: see ctxlm.decoding.Cache; of the model.
  """

  model: Any
  memories: tuple
  hidden: Any

  def take(self, rows):
    """See ctxlm.decoding.Cache."""
    kept = [None if m is None else m.take(rows) for m in self.memories]
    return self.replace(model=self.model.take(rows), memories=tuple(kept))
