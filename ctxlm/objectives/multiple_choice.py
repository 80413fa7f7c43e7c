"""Which of several choices a text goes on with, or answers a question.

Devlin et al. 2019 (arXiv:1810.04805), section 4.4: the text and each choice are
a pair; a linear map of its vector is the choice's score, and the softmax of a
record's scores its probabilities.
"""

import dataclasses
import functools
import math
import numbers
import re
from typing import Annotated, Any, Literal

import jax.numpy as jnp
import numpy as np

from ctxlm.data import framing
from ctxlm.errors import UserError
from ctxlm.objectives import classification, fields, losses, reading
from ctxlm.ranges import Count, Range

NAME = 'multiple_choice'
_which = functools.partial(fields.which, NAME)


@dataclasses.dataclass(frozen=True)
class Objective:
  """Records with 'text', 'choices', a list of texts, and 'label'.

  A 'question', where a record has one, stands in front of each choice. The
  label is the right choice's text, or its number from 0, or its letter.

  Attributes:
    choices: that a record of the training has at most; 0 goes by its data. A
      record may have fewer, and one that is asked about as many as it likes.
    pooling: the vector that the head reads, see classification.Objective.
    tokenizer, max_length: given by the loop; a row is one choice's.
  """

  choices: Annotated[int, Range('[2, 1000]', 0)] = 0
  pooling: Literal[*reading.POOLINGS] = ''
  tokenizer: Any = None
  max_length: Count = 128

  view = 'texts'
  terms = {'loss': 1.0}

  def settled(self, records):
    """See ctxlm.objectives.Settles; every record is looked at."""
    most = 0
    for i in range(len(records)):
      self.target(records[i], i)
      self.texts(records[i], i)
      most = max(most, len(choices_of(records[i], i)))
    if self.choices:
      self._check_number(most)
      return {}
    return {'choices': most}

  def target(self, record, number=None):
    """Returns the number of the right choice, from 0.

    Args:
      record: of the data.
      number: which it is, for what is said of a mistake.

    Raises:
      UserError: it has no choices, or no label of one of them.
    """
    choices = choices_of(record, number)
    label = fields.get(NAME, record, 'label', number)
    which = f'{_which(number)} has the label {label!r}, which is'
    if isinstance(label, str) and choices.count(label) > 1:
      raise UserError(f'{which} the text of two choices: give its number')
    if isinstance(label, str) and label in choices:
      return choices.index(label)
    place = _place(label)
    if place is None or not 0 <= place < len(choices):
      raise UserError(
        f'{which} none of its {len(choices)} choices, nor a number from 0 to '
        f'{len(choices) - 1}'
      )
    return place

  def texts(self, record, number=None):
    """Returns [(text, choice)], with the question where there is one.

    Raises:
      UserError: a text is lacking, or is none.
    """
    name = 'text_a' if 'text_a' in record else 'text'  # of a line's parts
    asks = record.get('question') is not None
    names = [name, 'question'] if asks else [name]
    text, *question = (fields.text(NAME, record, n, number) for n in names)
    choices = choices_of(record, number)
    return [(text, ' '.join([*question, choice])) for choice in choices]

  def ask(self, record):
    """See ctxlm.objectives.Answers: a row for each choice.

    Of a line its parts behind the first tab are the choices.
    """
    t, length = self.tokenizer, self.max_length
    return [framing.parts(t, pair, length) for pair in self.texts(record)]

  def prepare(self, example, rng):
    """Returns features of n = `choices` rows; for those lacking, the first.

    'tokens', 'segment_ids', 'type_ids' int32 [n, l], 'offered' float32 [n], 1
    where there is a choice, and 'target' int32 ().
    """
    del rng  # nothing is drawn
    rows = self.ask(example)
    self._check_number(len(rows))
    offered = np.arange(self.choices) < len(rows)
    rows += rows[:1] * (self.choices - len(rows))
    pad_id = self.tokenizer.pad_id
    rows = [framing.padded(row, self.max_length, pad_id) for row in rows]
    return {k: np.stack([row[k] for row in rows]) for k in rows[0]} | {
      'offered': offered.astype(np.float32),
      'target': np.int32(self.target(example)),
    }

  def _check_number(self, count):
    if count > self.choices:
      raise UserError(
        f'{_which()} has {count} choices, more than '
        f'choices={self.choices}: set config.tasks.NAME.objective.choices'
      )

  def outputs(self, model, batch, rows=None):
    """Returns each row's score, float32 [b]."""
    pooling = reading.pooling_of(model, self.pooling)
    vector = reading.vector(model, batch, pooling, self.tokenizer, rows)
    head = classification.Head(model.options, 1)
    return model.head(NAME, head, vector, rows)[:, 0]

  def loss(self, apply, params, batch, rng):
    """Returns sums of nats ('loss') and right choices ('accuracy')."""
    b, n, _ = batch['tokens'].shape
    flat = {
      k: batch[k].reshape(b * n, -1)
      for k in ('tokens', 'segment_ids', 'type_ids')
    }
    rows = None
    if rng is not None:
      # Each choice has a row, and so a dropout mask, of its own.
      rows = (batch['index'][:, None] * n + jnp.arange(n)).reshape(-1)
    scores = apply(params, lambda m: self.outputs(m, flat, rows), rng)
    offered, target, valid = batch['offered'], batch['target'], batch['valid']
    scores = jnp.where(offered > 0, scores.reshape(b, n), -1e9)
    return {
      'loss': losses.cross_entropy(scores, target, valid),
      'accuracy': losses.accuracy(scores, target, valid),
    }

  def answer(self, record, outputs):
    """See ctxlm.objectives.Answers.

    Returns:
      {'choice': text, 'label': its number, 'probabilities': [float]}.
    """
    scores = np.asarray(outputs, np.float64)
    p = np.exp(scores - scores.max())
    p /= p.sum()
    label = int(p.argmax())
    return {
      'choice': choices_of(record)[label],
      'label': label,
      'probabilities': p.round(6).tolist(),
    }


def choices_of(record, number=None):
  """Returns a record's choices, a list of texts.

  Raises:
    UserError: it has fewer than two, or one that is no text.
  """
  if isinstance(record.get('text_b'), str) and 'choices' not in record:
    record = {'choices': record['text_b'].split('\t')}
  choices = fields.items(NAME, record, 'choices', number)
  which = _which(number)
  for i, choice in enumerate(choices):
    if not isinstance(choice, str) or not choice.strip():
      raise UserError(f'{which} has no text as choice {i}: {choice!r}')
  if len(choices) < 2:
    raise UserError(f'{which} has {len(choices)} choice(s), and needs two')
  return list(choices)


def _place(label):
  # The number that a label is, or says; of a letter its place.
  if isinstance(label, str):
    text = label.strip()
    if len(text) == 1 and 'A' <= text.upper() <= 'Z':
      return ord(text.upper()) - ord('A')
    label = float(text) if re.fullmatch(r'\d{1,9}', text, re.ASCII) else None
  if isinstance(label, bool) or not isinstance(label, numbers.Real):
    return None
  return int(label) if math.isfinite(label) and label == int(label) else None
