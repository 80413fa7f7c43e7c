"""Sequence to sequence: the target's tokens from the source and those before.

log p(y | x) = sum_t log p(y_t | y_<t, x) (Sutskever et al. 2014, equation 1),
with smoothed labels (Szegedy et al. 2016, section 7; Vaswani et al. 2017,
section 5.4). Without pairs, the source is the target with noise, which is
BART's pretraining (Lewis et al. 2020, section 2.2).
"""

import dataclasses
from typing import Any, Literal

import numpy as np

from ctxlm import plugins
from ctxlm.data import framing
from ctxlm.data.sources import units
from ctxlm.errors import note
from ctxlm.objectives import augment, losses, reading, regularizers, written
from ctxlm.ranges import BelowOne, Count, Share, Whole

# What a record has, and the setting by which it is read.
FIELDS = {('text',): "noise='delete'", ('text_a', 'text_b'): "noise=''"}


@dataclasses.dataclass(frozen=True)
class Objective:
  """Pairs of 'text_a', the source, and 'text_b', the target.

  Both are framed as the tokenizer's family does it: x </s> for T5, whose
  tokenizer has no token that begins a text, and <s> x </s> for BART.

  Attributes:
    label_smoothing: share of each label that is spread over the vocabulary.
    target_length: tokens of a target's row; 0 is max_length.
    prompt: text in front of every source, as T5's tasks have.
    noise: '', or an operation of ctxlm.objectives.augment that makes the
      source of records with 'text' alone.
    noise_share: share of the words that it edits.
    regularizer: of ctxlm.objectives.regularizers: r_drop.
    tokenizer, max_length: given by the loop.
  """

  label_smoothing: BelowOne = 0.0
  target_length: Whole = 0
  prompt: str = ''
  noise: Literal['', 'delete', 'crop', 'swap'] = ''
  noise_share: Share = 0.15
  regularizer: Any = plugins.field('objectives.regularizers')
  tokenizer: Any = None
  max_length: Count = 256

  view = 'texts'

  def __post_init__(self):
    regularizers.check('seq2seq', self.regularizer)

  @property
  def terms(self):
    """See objectives.Objective."""
    return regularizers.terms(self.regularizer)

  def texts(self, example, rng):
    """Returns (source, target) of a record."""
    text, pair = FIELDS
    if not self.noise:
      return units.read(example, pair, FIELDS)
    (target,) = units.read(example, text, FIELDS)
    words = target.split()
    if words:
      words = augment.OPERATIONS[self.noise](words, self.noise_share, rng)
    return ' '.join(words), target

  def row(self, text, length):
    """Returns (tokens, segment_ids) int32 [length] of a text, cut to fit."""
    return self._row(text, length)[:2]

  def _row(self, text, length):
    # And whether it was cut.
    t = self.tokenizer
    ids = framing.beginning(t, text, length + 1)
    frame = framing.source(t)
    cut = len(frame(ids)) > length
    return *frame.row(ids, length, t.pad_id), cut

  @property
  def ends(self):
    """Ids that end a target."""
    return framing.ends(self.tokenizer, encoder_decoder=True)

  def given(self, record, room):
    """See ctxlm.objectives.Writes."""
    del room  # as many as in training
    name = 'text' if self.noise or 'text_a' not in record else 'text_a'
    (source,) = units.read(record, (name,), {})
    return self._source(source)

  def prompted(self, record, rng, room):
    """See ctxlm.objectives.Writes."""
    del room
    source, target = self.texts(record, rng)
    return [(self._source(source), target)]

  def _source(self, text):
    tokens, segments = self.row(self.prompt + text, self.max_length)
    return tokens[segments > 0].tolist()

  def prepare(self, example, rng):
    """Returns 'tokens', 'segment_ids' [l], 'targets', 'target_segments' [t].

    And 'cut', whether the target's end is left out.
    """
    source, target = self.texts(example, rng)
    tokens, segments = self.row(self.prompt + source, self.max_length)
    length = self.target_length or self.max_length
    targets, target_segments, cut = self._row(target, length)
    if cut:
      note(
        f'a target of more than {length} tokens loses its end: raise '
        "objective.target_length, or config.max_length; 'cut' is how many do"
      )
    return {
      'tokens': tokens,
      'segment_ids': segments,
      'targets': targets,
      'target_segments': target_segments,
      'cut': np.float32(cut),
    }

  def loss(self, apply, params, batch, rng):
    """Returns sums of nats ('loss'), right tokens ('accuracy') and 'cut'.

    The last is of examples, those whose target lost its end. With smoothed
    labels also 'nats', those of the plain labels.
    """
    return regularizers.loss(self, apply, params, batch, rng, self._plain)

  def _plain(self, apply, params, batch, rng):
    rows = losses.rows(batch, rng)
    hidden = apply(params, lambda m: self._hidden(m, batch, rows), rng)
    told = batch['targets'], _weights(batch), self.label_smoothing
    return written.sums(apply, params, hidden, *told) | _cut(batch)

  def outputs(self, model, batch, rows=None):
    """See objectives.Regular: logits float32 [b, t, v]."""
    return model.logits(self._hidden(model, batch, rows))

  def _hidden(self, model, batch, rows):
    return model(
      batch['tokens'],
      reading.shifted(model, batch['targets'], self.tokenizer),
      segment_ids=batch['segment_ids'],
      decoder_segment_ids=batch['target_segments'],
      rows=rows,
    )

  def judged(self, out, batch):
    """See objectives.Regular."""
    told = batch['targets'], _weights(batch), self.label_smoothing
    return losses.smoothed(out, *told) | _cut(batch)

  def divergence(self, a, b, batch, between):
    """See objectives.Regular."""
    return losses.weighted(between(a, b), _weights(batch))


def _weights(batch):
  return batch['target_segments'] * batch['valid'][:, None]


def _cut(batch):
  return {'cut': losses.weighted(batch['cut'], batch['valid'])}
