"""What is learned: prepare an example, and sum the loss of a batch.

A module here with a class `Objective` is a plug-in, named in
`config.tasks.NAME.objective.name`; a dotted name reaches one of a researcher's
own. Losses are sums: {name: (numerator, denominator)} over examples, which are
summed over micro-batches and devices and divided once.
"""

from typing import Any, Protocol, runtime_checkable


class Objective(Protocol):
  """A frozen dataclass whose fields are its options.

  `tokenizer` and `max_length`, where it has such fields, are given by the
  loop. One on data that is made on the device prepares nothing, and needs no
  view.

  Attributes:
    view: how it reads its data, see ctxlm.data.views; the view reads its own
      options, such as `overlap`, from the objective.
    terms: {name: coefficient}: which sums make the loss.
    max_length: tokens in a row.
  """

  view: str
  terms: dict[str, float]
  max_length: int

  def prepare(self, example, rng) -> dict[str, Any]:
    """Returns an example's features, numpy arrays of fixed shapes.

    Called on the host, in the loader's workers. A batch has them stacked, and
    'index', 'valid' and 'present', see ctxlm.data.loader.

    Args:
      example: what the view reads.
      rng: numpy Generator of this example alone.
    """

  def loss(self, apply, params, batch, rng) -> dict[str, tuple]:
    """Returns {name: (numerator, denominator)} of a batch's valid examples.

    Args:
      apply: see ctxlm.models.variables.make_apply.
      params: parameters.
      batch: features [b, ...].
      rng: dropout key, or None in evaluations.
    """


@runtime_checkable
class Regular(Protocol):
  """An objective whose loss may be regularized: its `loss` is that of
  ctxlm.objectives.regularizers.

  Attributes:
    regularizer: regularizers.Regularizer, or None.
  """

  regularizer: Any

  def outputs(self, model, batch, rows=None, edit=None):
    """Returns logits [b, ...] of a batch, inside of `apply`.

    Args:
      model, batch, rows: as in `Answers`.
      edit: see ctxlm.models.transformer.Model; one that takes no regularizer
        with `edits` needs no such argument.
    """

  def judged(self, out, batch) -> dict[str, tuple]:
    """Returns the sums of such logits, in which 'valid' are weights."""

  def divergence(self, a, b, batch, between) -> tuple:
    """Returns (numerator, denominator) of how far logits are from others.

    Args:
      a, b: logits [b, ...].
      batch: features.
      between: of ctxlm.objectives.losses: logits [..., n], others -> [...].
    """


@runtime_checkable
class Compares(Protocol):
  """An objective whose loss compares examples, in place of `loss`.

  All devices' encodings are gathered between its two halves, and accumulation
  caches gradients there, so that every example of a batch is compared.
  """

  def encode(self, apply, params, batch, rng) -> dict[str, Any]:
    """Returns encodings [b, ...], of each example by itself."""

  def compare(self, own, everyone) -> dict[str, tuple]:
    """Returns sums over `own` encodings [b, ...] among `everyone` [B, ...]."""


@runtime_checkable
class Carries(Protocol):
  """An objective whose rows may be streams, see ctxlm.data.loader.

  The model, a models.Carries, then goes on from what it kept of the batch
  before. No gradient goes back there (truncated backpropagation through time).

  Attributes:
    carries: whether they are, by its options.
  """

  carries: bool

  def carry(self, apply, params, batch, rng, memory) -> tuple:
    """Returns (sums as of `loss`, what the model keeps of the batch).

    Args:
      apply, params, batch, rng: as of `loss`.
      memory: what it kept before, arrays [b, ...].
    """


@runtime_checkable
class Embeds(Protocol):
  """An objective that gives sentences a vector.

  Attributes:
    pooling: how hidden states become one, see contrastive.POOLINGS.
    fields: sentences of a record: 1, 2 or 3.
  """

  pooling: str
  fields: int

  def row(self, text):
    """Returns (tokens, segment_ids) int32 [l] of a text."""

  def embed(self, model, tokens, segment_ids):
    """Returns vectors float32 [b, m] of tokens [b, l], inside of `apply`."""


@runtime_checkable
class PredictsNext(Protocol):
  """An objective by the chain rule, whose 'loss' is -log p(token | before).

  Attributes:
    every_token: whether it predicts all tokens of a text, so that the sum is
      the text's, and not that of a part of it.
  """

  every_token: bool


@runtime_checkable
class Settles(Protocol):
  """An objective that takes options from its data where the config has none.

  They then stand in the run's config, and a resumed run must find the same.
  """

  def settled(self, records) -> dict[str, Any]:
    """Returns {option: value} of those that the config left open.

    Args:
      records: of the training data, see ctxlm.data.sources.

    Raises:
      UserError: a record that can't be learned from; says which.
    """


@runtime_checkable
class Answers(Protocol):
  """An objective whose head answers for records: `ctxlm predict`.

  Its head has its own name, `heads/NAME`.
  """

  def ask(self, record) -> list[dict[str, list[int]]]:
    """Returns what the model reads for a record: rows of ids.

    Each is {'tokens': [l], 'type_ids': [l]}, special tokens included.

    Raises:
      UserError: the record lacks what is asked about.
    """

  def outputs(self, model, batch, rows=None):
    """Returns arrays [b, ...] of a batch, inside of `apply`.

    Args:
      model: bound Flax module.
      batch: 'tokens', 'segment_ids' and 'type_ids' int32 [b, l].
      rows: see ctxlm.models.dropout.Dropout; None is without.
    """

  def answer(self, record, outputs) -> dict[str, Any]:
    """Returns the answer for a record, as JSON has it.

    Args:
      record: as in `ask`.
      outputs: of each row that `ask` gave, numpy arrays.
    """


@runtime_checkable
class Writes(Protocol):
  """An objective by which a model learns to write a text after another.

  Attributes:
    ends: ids that end what is written.
  """

  ends: tuple[int, ...]

  def given(self, record, room) -> list[int]:
    """Returns the ids that the model is given to write what follows a record.

    They are a decoder's prompt, or an encoder-decoder's source, framed and cut
    as in training.

    Args:
      record: of a source, which may lack what is to be written; or of a line,
        see inference.predict.of_line.
      room: ids of a prompt at most; None is no limit.

    Raises:
      UserError: the record lacks what is read, or it has no room.
    """

  def prompted(self, record, rng, room) -> list[tuple]:
    """Returns [(ids as of `given`, the right text)] of what a record teaches.

    The ids are None where they have no room.

    Args:
      record: of a source.
      rng: numpy Generator of this record alone.
      room: see `given`.

    Raises:
      UserError: the record lacks what is read.
    """
