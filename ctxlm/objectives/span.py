"""The answer to a question, as a stretch of a context: extractive answering.

Devlin et al. 2019 (arXiv:1810.04805), sections 4.2 and 4.3: a linear map gives
each token a score as the first of the answer and one as its last, and a span
has the sum of the two. That of no answer is the first token's of the row, which
is special.

A context that is longer than a row is read in windows that overlap, each behind
the question. Every window is an example; one that has no answer whole is to
point to none, since in answering every window is asked, and one that was never
taught so would outbid the others.
"""

import dataclasses
import functools
import unicodedata
from typing import Any

import jax.numpy as jnp
import numpy as np

from ctxlm.data import framing
from ctxlm.errors import UserError, note
from ctxlm.objectives import classification, fields, losses, reading
from ctxlm.ranges import Count, Finite, Whole

NAME = 'span'
_which = functools.partial(fields.which, NAME)
BEST, SHOWN = 20, 5  # spans that share the probability; that an answer has
TEXTS = {'question': 'text_a', 'context': 'text_b'}  # the latter of a line


@dataclasses.dataclass(frozen=True)
class Objective:
  """Records with 'question', 'context' and 'answers', as SQuAD's are read.

  Those are {'text': [...], 'answer_start': [...]}, by characters of the
  context, from 0; where there is no answer, of none. A window learns the first
  that it has whole. An 'id' is optional, and of one record.

  Attributes:
    overlap: tokens of the context that a window shares with the one before,
      the stride of transformers; None is a quarter of `max_length`.
    longest: tokens of an answer that is given, at most.
    unanswerable: whether a question may have no answer; None goes by the
      training data.
    threshold: no answer is given where its score is above that of the best
      span by more than this, as in SQuAD 2.0.
    tokenizer, max_length: given by the loop.
  """

  overlap: Whole = None
  longest: Count = 30
  unanswerable: bool = None
  threshold: Finite = 0.0
  tokenizer: Any = None
  max_length: Count = 128

  view = 'parts'
  terms = {'loss': 1.0}

  def settled(self, records):
    """See ctxlm.objectives.Settles; every record is looked at."""
    check_ids(records)
    none = sum(not self.answers(records[i], i) for i in range(len(records)))
    if none == len(records):
      raise UserError('objective span: no question of the data has an answer')
    if none and self.unanswerable is False:
      raise UserError(
        f'objective span: {none} questions have no answer, and '
        'unanswerable=False: leave them out, or set it to True'
      )
    if self.unanswerable is not None:
      return {}
    if none:
      note(
        f'{none} of {len(records)} questions have no answer, so that none may '
        'be given'
      )
    return {'unanswerable': none > 0}

  def answers(self, record, number=None):
    """Returns [(start, end)] of a record's answers, space around them left out.

    Args:
      record: of the data.
      number: which it is, for what is said of a mistake.

    Raises:
      UserError: an answer is empty, or is not where it is said to be.
    """
    _, context = self.texts(record, number)
    answers = record.get('answers')
    try:
      texts, starts = answers['text'], answers['answer_start']
      pairs = list(zip(texts, starts, strict=True))
    except (TypeError, KeyError, ValueError) as e:
      raise UserError(
        f'{_which(number)} has the answers {answers!r}, and not '
        "{'text': [...], 'answer_start': [...]} of one length; it has the "
        f'fields {sorted(record)}'
      ) from e
    found = []
    for text, start in pairs:
      if not isinstance(text, str) or not text.strip():
        raise UserError(
          f'{_which(number)} has an empty answer: {text!r}; where there is '
          "none, 'text' and 'answer_start' are []"
        )
      right = type(start) is int and 0 <= start < len(context)
      if not right or not context.startswith(text, start):
        at = context.find(text)
        where = 'nowhere in it' if at < 0 else f'at {at}'
        raise UserError(
          f'{_which(number)} has the answer {_short(text)} at {start!r} of its '
          f'context of {len(context)} characters, and it is {where}'
        )
      found.append(_trimmed(context, start, start + len(text)))
    return found

  def texts(self, record, number=None):
    """Returns (question, context) of a record, or of a line's two texts.

    Raises:
      UserError: one is missing, or has nothing but space.
    """
    texts = []
    for name, other in TEXTS.items():
      text = record.get(name, record.get(other))
      if not isinstance(text, str) or not text.strip():
        what = 'no' if text is None else 'no text as'
        raise UserError(
          f'{_which(number)} has {what} {name}; it has the fields '
          f'{sorted(record)}, and a line is question<TAB>context'
        )
      texts.append(text)
    return tuple(texts)

  def _read(self, record, number=None):
    # The question's ids, the context's, where these are in it [n, 2], and the
    # windows.
    question, context = self.texts(record, number)
    asked = self.tokenizer.encode(question.strip(), data=True)
    ids, places = self.tokenizer.places(context, data=True)
    places = np.array([_trimmed(context, *place) for place in places])
    if not len(ids) or (places[:, 0] == places[:, 1]).all():
      raise UserError(f'{_which(number)} has no token in its context')
    room = self.max_length - self._frame.size - len(asked)
    if room < 1 or (len(ids) > room and room <= self._overlap):
      raise UserError(
        f'{_which(number)} has a question of {len(asked)} tokens, which leaves '
        f'{max(room, 0)} of max_length={self.max_length} to the context; of a '
        f'longer context windows overlap by {self._overlap}: raise max_length, '
        'or lower overlap'
      )
    return asked, ids, places, cut(len(ids), room, self._overlap)

  @property
  def _overlap(self):
    return self.max_length // 4 if self.overlap is None else self.overlap

  @property
  def _frame(self):
    return framing.pair_template(self.tokenizer)

  def windows(self, record, number=None):
    """Returns [(first, last + 1)] of the context's tokens in each window.

    Raises:
      UserError: the question leaves the context too little room.
    """
    return self._read(record, number)[-1]

  def parts(self, record, number=None):
    """Returns how many windows a record has, see ctxlm.data.views.parts."""
    return len(self.windows(record, number))

  @property
  def cut_by(self):
    """Options that `parts` hangs on."""
    return (self.overlap,)

  def _first(self, asked):
    # The place of a window's first token in its row.
    return len(self._frame.first[0]) + len(asked) + len(self._frame.between[0])

  def ask(self, record):
    """See ctxlm.objectives.Answers; a row for each window.

    A line's two texts, text_a and text_b, are question and context.
    """
    asked, ids, _, windows = self._read(record)
    return [self._frame(asked, ids[a:b]) for a, b in windows]

  def prepare(self, example, rng):
    """Returns 'tokens', 'segment_ids', 'type_ids' int32 [l], and 'targets'.

    Those are int32 [2], the places of the answer's first and last token, 0
    where the example's 'part', a window, has none.
    """
    del rng  # nothing is drawn
    asked, ids, places, windows = self._read(example)
    a, b = windows[example['part']]
    row = self._frame(asked, ids[a:b])
    row = framing.padded(row, self.max_length, self.tokenizer.pad_id)
    targets = np.zeros(2, np.int32)
    for answer in self.answers(example):
      first, last = _tokens(places, *answer)
      if a <= first and last < b:
        targets[:] = np.array([first, last]) - a + self._first(asked)
        break
    return row | {'targets': targets}

  def outputs(self, model, batch, rows=None):
    """Returns the scores as first and as last token: float32 [b, l, 2]."""
    hidden = reading.hidden(model, batch, self.tokenizer, rows)
    head = classification.Head(model.options, 2)
    return model.head(NAME, head, hidden, rows)

  def loss(self, apply, params, batch, rng):
    """Returns sums of nats of both ends ('loss'), and right spans ('accuracy').

    The softmax is over all tokens of the row, padding left out.
    """
    rows = losses.rows(batch, rng)
    out = apply(params, lambda m: self.outputs(m, batch, rows), rng)
    used = batch['segment_ids'][:, None] > 0
    logits = jnp.where(used, out.swapaxes(1, 2), -1e30)
    targets, valid = batch['targets'], batch['valid']
    both = jnp.broadcast_to(valid[:, None], targets.shape)
    right = (logits.argmax(-1) == targets).all(-1)
    return {
      'loss': losses.cross_entropy(logits, targets, both),
      'accuracy': ((right * valid).sum(), valid.sum()),
    }

  def candidates(self, record, outputs):
    """Returns the best spans over the windows, and the score of no answer.

    Args:
      record: as in `ask`.
      outputs: float [l, 2] of each row that `ask` gave.

    Returns:
      [(score, start, end)], at most BEST, the best first, by characters of the
      context; and the least of the windows' scores of none, as one with the
      answer knows that there is one.
    """
    asked, _, places, windows = self._read(record)
    _, context = self.texts(record)
    found, none = {}, np.inf
    for (a, b), logits in zip(windows, outputs, strict=True):
      logits, first = np.asarray(logits, np.float64), self._first(asked)
      none = min(none, logits[0].sum())
      inside = logits[first : first + b - a]
      for score, i, j in best_spans(inside, places[a:b], self.longest):
        span = _whole(context, int(places[a + i, 0]), int(places[a + j, 1]))
        found[span] = max(score, found.get(span, -np.inf))
    best = sorted(((s, *span) for span, s in found.items()), key=_order)
    return best[:BEST], float(none)

  def answer(self, record, outputs):
    """See ctxlm.objectives.Answers.

    Returns:
      {'answer', 'start', 'end', 'score', 'no_answer', 'others'}: the text and
      its characters in the context, '' and None where none is given; its
      probability among the BEST spans, and no answer where that may be; the
      score of no answer less that of the best span; and the next best spans.
    """
    best, none = self.candidates(record, outputs)
    _, context = self.texts(record)
    margin = none - best[0][0]
    scores = [s for s, _, _ in best] + [none] * bool(self.unanswerable)
    p = np.exp(np.array(scores) - max(scores))
    p = (p / p.sum()).round(6).tolist()
    spans = [
      {'answer': context[a:b], 'start': a, 'end': b, 'score': one}
      for (_, a, b), one in zip(best, p)
    ]
    if self.unanswerable and margin > self.threshold:
      nothing = {'answer': '', 'start': None, 'end': None, 'score': p[-1]}
      spans = [nothing, *spans]
    return spans[0] | {
      'no_answer': round(margin, 6),
      'others': spans[1:SHOWN],
    }


def check_ids(records):
  """Raises UserError if two records have one 'id'; says which."""
  seen = {}
  for i in range(len(records)):
    name = records[i].get('id')
    first = i if name is None else seen.setdefault(repr(name), i)
    if first != i:
      raise UserError(
        f'{_which(i)} has the id {name!r} of record {first}: an id is of one '
        'question'
      )


def cut(size, room, overlap):
  """Returns [(first, last + 1)] of windows over `size` tokens.

  Args:
    size: tokens, 1 or more.
    room: of a window.
    overlap: tokens that two windows share, less than `room` if there are two.

  >>> cut(10, 4, 1)
  [(0, 4), (3, 7), (6, 10)]
  """
  if size <= room:
    return [(0, size)]
  starts = range(0, size - overlap, room - overlap)
  return [(start, min(start + room, size)) for start in starts]


def best_spans(logits, places, longest):
  """Returns [(score, first, last)] of the BEST spans of a window, unordered.

  Args:
    logits: float [n, 2], of its tokens as the first and as the last.
    places: int [n, 2], their characters; one of none is neither.
    longest: tokens of a span at most.
  """
  text = places[:, 0] < places[:, 1]
  first, last = np.where(text[:, None], logits, -np.inf).T
  size = len(first)
  scores = np.full((min(longest, size), size), -np.inf)
  for more, row in enumerate(scores):
    row[: size - more] = first[: size - more] + last[more:]
  order = np.argsort(-scores, axis=None, kind='stable')[:BEST]
  spans = zip(*np.unravel_index(order, scores.shape))
  return [
    (float(scores[more, i]), int(i), int(i + more))
    for more, i in spans
    if scores[more, i] > -np.inf
  ]


def _order(span):
  score, start, end = span
  return -score, start, end


def _trimmed(text, start, end):
  # Byte-level tokens have the space before a word, and data has what it has.
  part = text[start:end]
  start += len(part) - len(part.lstrip())
  return start, start + len(part.strip())


def _tokens(places, start, end):
  """Returns the first and the last token that has a character of a span."""
  has = (places[:, 0] < end) & (places[:, 1] > start)
  has = np.flatnonzero(has & (places[:, 0] < places[:, 1]))
  if not len(has):  # what a tokenizer leaves out, such as control characters
    return len(places), len(places)
  return int(has[0]), int(has[-1])


def _whole(text, start, end):
  # A tokenizer may cut a character's accents off, which are its own in
  # Unicode, and byte-level tokens end within an emoji of several.
  while start > 0 and _joins(text, start):
    start -= 1
  while end < len(text) and _joins(text, end):
    end += 1
  return start, end


def _joins(text, i):
  if text[i - 1].isspace():
    return False
  return (
    unicodedata.category(text[i])[0] == 'M'
    or '\u200d' in text[i - 1 : i + 1]
    or '\U0001f3fb' <= text[i] <= '\U0001f3ff'  # colours of skin
  )


def _short(text):
  return repr(text if len(text) < 40 else f'{text[:36]}...')
