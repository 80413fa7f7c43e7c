"""Text from a model, by a strategy that knows one function of it.

    step(tokens [n, t], cache) -> logits [n, t, v], cache

which is a Model's `advance` with its parameters. A module in `strategies` or
`processors` is a plug-in, named in the decoding config.
"""

import dataclasses
from typing import Annotated, Any, Protocol

import ml_collections

from ctxlm import ranges
from ctxlm.ranges import Count, Finite, Range, Whole

# The usual filters, in the order in which the reference applies them.
FILTERS = {
  'temperature': float,
  'top_k': int,
  'top_p': float,
  'min_p': float,
  'typical': float,
}


class Cache(Protocol):
  """What a model carries from token to token: a flax.struct.PyTreeNode.

  Attributes:
    hidden: float [n, t, m], the last step's hidden states; after the pass
      over prompts theirs, [b, l, m]; None where nobody asked.
  """

  hidden: Any

  def take(self, rows):
    """Returns the cache whose row i goes on from row `rows[i]` of this one.

    Args:
      rows: int32 [n]; row i's is one of its own siblings, or itself.
    """

  def rewind(self, count):
    """Returns the cache without each row's `count` int32 [n] last tokens.

    Only of a model that `rewinds`.
    """


class Model(Protocol):
  """A model that writes: a Flax module, or anything else with parameters.

  Attributes:
    vocab_size: tokens.
    encoder_decoder: whether it reads a source, and writes a target.
    context_length: tokens that it can see, None where there is no limit.
    rewinds: whether its caches can forget their last tokens.
  """

  vocab_size: int
  encoder_decoder: bool
  context_length: int | None
  rewinds: bool

  def to_write(self, params):
    """Returns (model, parameters) that write the same, fastest."""

  def begin(self, params, prompts):
    """Passes once over the prompts.

    Args:
      params: the model's.
      prompts: ctxlm.models.decoder.Prompts.

    Returns:
      (logits float32 [b * copies, v] of the first new token, Cache of
      n = b * copies * siblings rows).
    """

  def advance(self, params, tokens, cache):
    """Returns (logits float32 [n, t, v], Cache) after tokens int32 [n, t]."""


class Strategy(Protocol):
  """How the next tokens are chosen: a frozen dataclass, its fields options.

  `rules` is ctxlm.decoding.rules.Rules, `text` is text.Text, and a state is
  a pytree that the compiled loop carries.

  Attributes:
    random: whether the seed matters.
    siblings: rows of the cache for each row of text.
    chunk: tokens of a step, at most.
    keeps_hidden: whether it reads the cache's hidden states.
    drafts: whether it takes tokens back: then `cache` and `step` are tuples,
      of the model and, where there is one, of the draft model.
    streams: whether what is written stays.
    results: rows of the result for each row of text.
  """

  random: bool
  siblings: int
  chunk: int
  keeps_hidden: bool
  drafts: bool
  streams: bool
  results: int

  def begin(self, rules, text, logits, cache):
    """Returns the state after the pass over prompts, with its logits [b, v]."""

  def advance(self, rules, step, state):
    """Returns the state after one step of the loop."""

  def unfinished(self, state):
    """Whether there is more to do: bool [b]."""

  def result(self, rules, state):
    """Returns {'tokens', 'lengths', 'logps', ...}, [b * results, ...] each."""


@dataclasses.dataclass(frozen=True)
class Config:
  """Every key of a decoding config."""

  # {name, ...}: options of ctxlm.decoding.strategies.NAME.Strategy.
  strategy: Any = dataclasses.field(
    default_factory=lambda: ml_collections.ConfigDict({'name': 'sample'})
  )
  # [{name, ...}]: options of ctxlm.decoding.processors.NAME.Processor, in the
  # order in which they are applied.
  processors: tuple = ()
  max_new_tokens: Count = 128
  max_length: Whole = 0  # of a text with what it goes on from; 0 is no bound
  num_samples: Count = 1  # of each prompt
  seed: Annotated[int, Range('[-2147483648, 2147483647]')] = 0
  stop: tuple | str = ()  # strings, or special tokens, that end a text
  guidance: Finite = 1.0  # scale of classifier-free guidance; 1 is none
  negative_prompt: str = ''  # what it guides away from; '' is no prompt
  show_probs: bool = False  # whether each token's probability is kept


def base():
  """Returns the decoding config with every key of Config.

  >>> base().strategy.name
  'sample'
  """
  return ranges.block(Config)


def unsaid():
  """Returns `base` where what a model's folder may decide is None."""
  c = base()
  for key in ('strategy', 'max_new_tokens', 'num_samples', 'guidance'):
    c[key] = None
  return c
