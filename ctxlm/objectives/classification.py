"""A class, several, or a score, of a text or of two, from one vector.

Devlin et al. 2019 (arXiv:1810.04805), section 4.1: a linear map of the first
token's vector, behind the pooler; of a decoder, of the last token's (Radford
et al. 2018, section 3.2). The loss is the cross-entropy of the classes
with smoothed labels (Szegedy et al. 2016, section 7), that of each class by
itself where a text may have several, or the squared error of the score.
"""

import dataclasses
import functools
import math
from typing import Any, Literal

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from ctxlm import plugins
from ctxlm.data import framing
from ctxlm.errors import UserError
from ctxlm.models import dropout as dropout_lib
from ctxlm.models import layers
from ctxlm.objectives import fields, losses, reading, regularizers
from ctxlm.ranges import BelowOne, Count

NAME = 'classification'
_which = functools.partial(fields.which, NAME)
MOST = 10_000  # classes; names without end are no classes


@dataclasses.dataclass(frozen=True)
class Objective:
  """Records with 'text', or 'text_a' and 'text_b'; and 'label', or 'score'.

  Attributes:
    kind: 'class', one of the labels; 'classes', any number of them, a list in
      the record or a text of them between commas; or 'score', a number.
    labels: the classes' names. A label of the data is one of them, or a
      number, from 0. () takes those of the training data, sorted.
    range: (least, most) of a score, which answers are cut to. () takes those
      of the training data.
    pair: whether records are pairs of texts; None goes by the training data.
    pooling: the vector that the head reads: 'first', the first token's; 'last',
      the last one's; 'mean', of all tokens; 'pooled', the first one's behind
      BERT's pooler, where tokens see none after them the last one's. '' is
      'last' for a decoder, by a map without a bias, and else 'pooled', as the
      references have it.
    label_smoothing: share of a label that is spread over the classes.
    class_weights: what an example counts, a number for each class; 'balanced'
      makes all classes of the training data count the same.
    regularizer: one of ctxlm.objectives.regularizers.
    tokenizer, max_length: given by the loop.
  """

  kind: Literal['class', 'classes', 'score'] = 'class'
  labels: tuple[str, ...] = ()
  range: tuple[float, ...] = ()
  pair: bool = None
  pooling: Literal[*reading.POOLINGS] = ''
  label_smoothing: BelowOne = 0.0
  class_weights: Any = ()
  regularizer: Any = plugins.field('objectives.regularizers')
  tokenizer: Any = None
  max_length: Count = 128

  @property
  def view(self):
    """See objectives.Objective."""
    return 'mixed' if self._mixes else 'texts'

  @property
  def terms(self):
    """See objectives.Objective."""
    return regularizers.terms(self.regularizer)

  @property
  def _mixes(self):
    return self.regularizer and self.regularizer.mixes

  def __post_init__(self):
    weights, score = self.class_weights, self.kind == 'score'
    if score and (self.labels or weights or self.label_smoothing):
      raise ValueError(
        "kind='score' has no labels, class_weights or label_smoothing"
      )
    if self.range and (not score or not _rises(self.range)):
      raise ValueError(
        f"range={self.range} is (least, most) of scores, of kind='score'"
      )
    twice = sorted({n for n in self.labels if self.labels.count(n) > 1})
    if twice:
      raise ValueError(f'labels: {twice[0]!r} is there twice')
    if weights and weights != 'balanced':
      numbers = isinstance(weights, tuple) and all(map(_is_weight, weights))
      if not numbers or len(weights) != len(self.labels):
        raise ValueError(
          f"class_weights={weights!r} must be 'balanced', or a number above 0 "
          'for each of the labels'
        )

  @property
  def size(self):
    """Numbers that the head gives.

    Raises:
      UserError: nothing says which classes there are.
    """
    if self.kind == 'score':
      return 1
    if not self.labels:
      raise UserError('objective classification needs labels')
    return len(self.labels)

  @functools.cached_property
  def _places(self):
    return {name: i for i, name in enumerate(self.labels)}

  def settled(self, records):
    """See ctxlm.objectives.Settles; every record is looked at."""
    if self.kind == 'score':
      found = {'pair': self.pair}
      scores = [self._number(records[i], i) for i in range(len(records))]
      if not self.range and min(scores) < max(scores):
        found['range'] = (min(scores), max(scores))
    else:
      found = self._settled_labels(records)
    if self.pair is None:
      found['pair'] = 'text' not in records[0]
    own = dataclasses.replace(self, **found)
    for i in range(len(records)):
      own.texts(records[i], i)
    return {k: v for k, v in found.items() if v != getattr(self, k)}

  def _settled_labels(self, records):
    labels = self.labels
    if not labels:
      names = set()
      for i in range(len(records)):
        names.update(self._names(records[i], i))
        if len(names) > MOST:
          raise UserError(
            f'objective classification: the data has more than {MOST} labels: '
            "is the label a score? Then set kind='score'"
          )
      labels = fields.in_order(names)
    if len(labels) < 2 and self.kind == 'class':
      if self.labels:
        raise UserError(
          f'objective classification: labels={labels} must name two at least'
        )
      raise UserError(
        f'objective classification: all of the data has the label {labels[0]!r}'
      )
    weights = self.class_weights
    balanced = weights == 'balanced'
    own = dataclasses.replace(self, labels=labels, class_weights=())
    counts = np.zeros(len(labels))
    for i in range(len(records)):
      counts += own.one_hot(own.target(records[i], i))
    if balanced:
      none = [n for n, count in zip(labels, counts) if not count]
      if none:
        raise UserError(
          f"class_weights='balanced': no example has the label {none[0]!r}"
        )
      weights = tuple((counts.mean() / counts).round(6).tolist())
    return {'labels': labels, 'class_weights': weights}

  def one_hot(self, target):
    """Returns float32 [classes] of a `target`, 1 where it has the class."""
    if self.kind == 'class':
      return np.eye(self.size, dtype=np.float32)[target]
    return target

  def _names(self, record, number=None):
    label = fields.get(NAME, record, 'label', number)
    if self.kind == 'classes':
      if isinstance(label, str):
        label = [part.strip() for part in label.split(',') if part.strip()]
      if isinstance(label, (list, tuple)):
        return [str(one) for one in label]
    if isinstance(label, (str, int, float)) and str(label).strip():
      return [str(label)]
    raise UserError(
      f'{_which(number)} has the label {label!r}, which is none'
      f'{fields.beside(record, "label")}'
    )

  def target(self, record, number=None):
    """Returns what is to be learned of a record.

    Args:
      record: of the data.
      number: which it is, for what is said of a mistake.

    Returns:
      The class's number as int32 (); of 'classes' float32 [classes], 0 or 1;
      of 'score' float32 ().

    Raises:
      UserError: the label is none of the labels, the score no number of the
        range, or there is none.
    """
    if self.kind == 'score':
      return np.float32(self._number(record, number))
    places = []
    for name in self._names(record, number):
      place = fields.place(self._places, name)
      if place is None:
        if fields.numbers([name, *self.labels]):
          cure = (
            'Are they scores? Then --config.tasks.NAME.objective.kind=score, '
            'and score=FIELD in place of label=FIELD'
          )
        else:
          cure = plugins.suggest(name, self.labels[:20]).strip() + (
            ' config.tasks.NAME.objective.labels names them; () takes the '
            "data's"
          )
        raise UserError(
          f'{_which(number)} has the label {name!r}, which is none of the '
          f'{self.size} labels. {cure}'
        )
      places.append(place)
    if self.kind == 'class':
      return np.int32(places[0])
    target = np.zeros(self.size, np.float32)
    target[places] = 1
    return target

  def _number(self, record, number):
    # A float, as float32 rounds out of a range that it bounds.
    score = fields.get(NAME, record, 'score', number)
    try:
      value = float(score)
    except (TypeError, ValueError):
      value = math.nan
    if not math.isfinite(value):
      raise UserError(f'{_which(number)} has the score {score!r}, no number')
    if self.range and not self.range[0] <= value <= self.range[1]:
      raise UserError(
        f'{_which(number)} has the score {value}, out of range={self.range}'
      )
    return value

  def texts(self, record, number=None):
    """Returns a record's texts: one, or two.

    Raises:
      UserError: it has none, or not as many as `pair` says.
    """
    pair = 'text' not in record if self.pair is None else self.pair
    names = ('text_a', 'text_b') if pair else ('text',)
    return [fields.text(NAME, record, name, number) for name in names]

  def ask(self, record):
    """See ctxlm.objectives.Answers."""
    return [framing.parts(self.tokenizer, self.texts(record), self.max_length)]

  def prepare(self, example, rng):
    """Returns 'tokens', 'segment_ids', 'type_ids' int32 [l], and 'target'.

    And the same of another, where the regularizer mixes them.
    """
    own = self._features(example)
    if not self._mixes:
      return own
    return self.regularizer.features(own, self._features(example['other']), rng)

  def _features(self, record):
    (row,) = self.ask(record)
    row = framing.padded(row, self.max_length, self.tokenizer.pad_id)
    return row | {'target': self.target(record)}

  def outputs(self, model, batch, rows=None, edit=None):
    """Returns logits float32 [b, classes], or the score [b, 1]."""
    pooling = reading.pooling_of(model, self.pooling)
    vector = reading.vector(model, batch, pooling, self.tokenizer, rows, edit)
    head = Head(
      model.options,
      self.size,
      sum(self.range) / 2,  # a score begins there
      bias=pooling != 'last' or not reading.decodes_alone(model),
    )
    return model.head(NAME, head, vector, rows)

  def loss(self, apply, params, batch, rng):
    """Returns sums of 'loss', and where there are classes 'accuracy'.

    Of several classes an example is right if all of them are. With weights
    or smoothed labels also 'nats', of the plain labels.
    """
    return regularizers.loss(self, apply, params, batch, rng)

  def judged(self, out, batch):
    """See objectives.Regular."""
    target, valid = batch['target'], batch['valid']
    if self.kind == 'score':
      return {'loss': losses.weighted((out[:, 0] - target) ** 2, valid)}
    smoothing = self.label_smoothing
    weights = jnp.asarray(self.class_weights or (1.0,) * self.size)
    if self.kind == 'class':
      right = losses.accuracy(out, target, valid)
      nats = losses.cross_entropy(out, target, valid)
      loss = losses.cross_entropy(
        out, target, valid * weights[target], smoothing
      )
    else:
      hits = ((out > 0) == (target > 0)).all(-1).astype(jnp.float32)
      right = losses.weighted(hits, valid)
      nats = losses.each_cross_entropy(out, target, valid[:, None])
      soft = (1 - smoothing) * target + smoothing / 2
      loss = losses.each_cross_entropy(out, soft, valid[:, None] * weights)
    sums = {'loss': loss, 'accuracy': right}
    if smoothing or self.class_weights:
      sums['nats'] = nats
    return sums

  def divergence(self, a, b, batch, between):
    """See objectives.Regular; of scores it is the squared difference."""
    valid = batch['valid']
    if self.kind == 'score':
      return losses.weighted((a - b)[:, 0] ** 2, valid)
    if self.kind == 'classes':  # each is a yes or no
      a, b = (jnp.stack([x, jnp.zeros_like(x)], -1) for x in (a, b))
      valid = valid[:, None]
    return losses.weighted(between(a, b), valid)

  def answer(self, record, outputs):
    """See ctxlm.objectives.Answers.

    Returns:
      {'label', 'probabilities': {label: float}}; of several classes 'labels',
      those of more than 0.5; or {'score'}.
    """
    del record
    (logits,) = outputs
    logits = np.asarray(logits, np.float64)
    if self.kind == 'score':
      least, most = self.range or (-math.inf, math.inf)
      return {'score': float(np.clip(logits[0], least, most))}
    if self.kind == 'class':
      p = np.exp(logits - logits.max())
      p /= p.sum()
      chosen = {'label': self.labels[int(p.argmax())]}
    else:
      p = 1 / (1 + np.exp(-logits))
      chosen = {'labels': [n for n, one in zip(self.labels, p) if one > 0.5]}
    rounded = {n: round(float(one), 6) for n, one in zip(self.labels, p)}
    return chosen | {'probabilities': rounded}


class Head(nn.Module):
  """A linear map behind dropout.

  Attributes:
    options: the model's.
    size: numbers that it gives.
    middle: what they begin at, where there is a bias.
    bias: whether there is.
  """

  options: Any
  size: int
  middle: float = 0.0
  bias: bool = True

  @nn.compact
  def __call__(self, x, rows):
    """Returns [..., size] of x [b, ..., m]."""
    o = self.options
    x = dropout_lib.Dropout(o.dropout)(x, rows)
    return layers.Linear(
      self.size,
      name='dense',
      use_bias=self.bias,
      kernel_init=layers.normal(o.init_stddev),
      bias_init=nn.initializers.constant(self.middle),
    )(x)


def _rises(pair):
  return len(pair) == 2 and -math.inf < pair[0] < pair[1] < math.inf


def _is_weight(x):
  return isinstance(x, (int, float)) and 0 < x < math.inf
