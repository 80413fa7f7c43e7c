"""Flax modules. A module here with a class `Model` is a plug-in.

Named in `config.model.name`; a dotted name reaches one of a researcher's own.
"""

from typing import Any, Protocol, runtime_checkable

from ctxlm.errors import UserError


class Model(Protocol):
  """A Flax module whose fields are its options; methods go inside of `apply`.

  The loop gives `vocab_size` and `max_length` where it has such fields and the
  config leaves them out. An objective asks for what it needs and no more:
  `prefix` is of causal models alone, `decoder_tokens` of encoder-decoders. One
  that writes has the methods of ctxlm.decoding.Model too: those of
  `decoder.Decoder`, whose layers keep keys and values, or `states.Decoder`.

  Attributes:
    vocab_size: tokens.
    causal: whether a token sees those before it only; of an encoder-decoder,
      its decoder.
  """

  vocab_size: int
  causal: bool

  def __call__(
    self,
    tokens,
    *,
    segment_ids=None,
    positions=None,
    type_ids=None,
    rows=None,
  ) -> Any:
    """Returns hidden states [b, l, m].

    Args:
      tokens: int32 [b, l].
      segment_ids: int32 [b, l]; tokens see their own segment, 0 is padding.
      positions: int32 [b, l], from 0 in each segment.
      type_ids: int32 [b, l], BERT's segment A or B.
      rows: int32 [b], the examples' places in the global batch, by which
        dropout is drawn; None is deterministic.
    """

  def logits(self, hidden) -> Any:
    """Returns next-token logits float32 [..., v] of hidden [..., m]."""

  def head(self, name, module, *args) -> Any:
    """Returns what an objective's head makes of `args`.

    Args:
      name: of the head; its parameters are `heads/NAME`.
      module: Flax module, unbound; it is the objective's.
      *args: what it is called with.
    """


@runtime_checkable
class HasOptions(Protocol):
  """A Model with a transformer's options, which objectives' heads are built by.

  Attributes:
    options: see transformer.Options.
    type_vocab_size: of them.
  """

  options: Any
  type_vocab_size: int


@runtime_checkable
class Carries(Protocol):
  """A Model that can go on, in a batch, from where the one before ended.

  Called with `places`, a cache.Places, its layers find what they kept in the
  flax collection `cache`, arrays [b, ...], and leave there what they keep; see
  states.empty.

  Attributes:
    carries: whether this one can, as its options are.
  """

  carries: bool


@runtime_checkable
class ReadsPassages(Protocol):
  """A Model that reads passages in a way of its own; see models.reader."""

  def read_beside(
    self, tokens, passages, passage_ids, *, segment_ids, positions, rows
  ):
    """Returns (hidden states [b, l, m], gates).

    Args:
      tokens, segment_ids, positions, rows: as of a call. Tokens of segment 1
        see the passages.
      passages: int32 [b, p, k].
      passage_ids: int32 [b, p, k]; 1 where there is a token, else 0.

    Returns:
      hidden states, and float32 [b, l], how far a token relies on the text
      itself, from 0 to 1; None of a model without gates.
    """


@runtime_checkable
class Counts(Protocol):
  """A Model that is counted in one pass over a text, and not trained.

  Its parameters are arrays whose shapes the text decides; it has no hidden
  vectors, and hosts no heads.
  """

  def count(self, tokens, begins) -> Any:
    """Returns the parameters, a tree of numpy arrays.

    Args:
      tokens: int [t], framed documents one after another.
      begins: bool [t], where each begins.
    """

  def wanted(self, have) -> dict[str, Any]:
    """Returns {path: jax.ShapeDtypeStruct} of parameters that fit each other.

    Args:
      have: {path: shape} of those that are there.
    """

  def check(self, params, folder):
    """Raises UserError if a folder's parameters are none of such a model."""


def need_vectors(model):
  """Raises UserError if a model's hidden states are no vectors."""
  if isinstance(model, Counts):
    raise UserError('a model that is counted has no hidden vectors')
