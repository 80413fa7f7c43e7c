"""A label for each word of a text: parts of speech, chunks, names.

Devlin et al. 2019 (arXiv:1810.04805), section 5.3: a linear map of the vector
of each word's first piece; its other pieces are read, and have no label. Of an
encoder-decoder the encoder alone is read.
Labels that are O, or begin with B- or I-, are BIO (Ramshaw & Marcus 1995).
"""

import dataclasses
import functools
from typing import Any

import numpy as np

from ctxlm import plugins
from ctxlm.data import framing
from ctxlm.errors import UserError
from ctxlm.objectives import (
  classification,
  fields,
  losses,
  reading,
  regularizers,
)
from ctxlm.ranges import BelowOne, Count

NAME = 'tagging'
_which = functools.partial(fields.which, NAME)


@dataclasses.dataclass(frozen=True)
class Objective:
  """Records with 'tokens', a list of words, and 'tags', one for each.

  Attributes:
    labels: the tags' names; () takes those of the training data, sorted. A tag
      of the data is one of them, or a number, from 0.
    label_smoothing: share of a tag that is spread over the labels.
    regularizer: one of ctxlm.objectives.regularizers, but for mixup.
    tokenizer, max_length: given by the loop.
  """

  labels: tuple[str, ...] = ()
  label_smoothing: BelowOne = 0.0
  regularizer: Any = plugins.field('objectives.regularizers')
  tokenizer: Any = None
  max_length: Count = 128

  view = 'parts'
  cut_by = ()

  @property
  def terms(self):
    """See objectives.Objective."""
    return regularizers.terms(self.regularizer)

  def __post_init__(self):
    regularizers.check(NAME, self.regularizer, edits=True)
    twice = sorted({n for n in self.labels if self.labels.count(n) > 1})
    if twice:
      raise ValueError(f'labels: {twice[0]!r} is there twice')

  @property
  def bio(self):
    """Whether the labels are BIO's."""
    return is_bio(self.labels)

  @functools.cached_property
  def _places(self):
    return {name: i for i, name in enumerate(self.labels)}

  def settled(self, records):
    """See ctxlm.objectives.Settles; every record is looked at."""
    labels = self.labels
    if not labels:
      found = {
        str(tag)
        for i in range(len(records))
        for tag in _list(records[i], 'tags', i)
      }
      labels = fields.in_order(found)
    own = dataclasses.replace(self, labels=labels)
    for i in range(len(records)):
      own.target(records[i], i)
    return {} if self.labels else {'labels': labels}

  def target(self, record, number=None):
    """Returns the number of each word's label, int32 [words].

    Args:
      record: of the data.
      number: which it is, for what is said of a mistake.

    Raises:
      UserError: tags and words differ in number, a tag is none of the labels,
        or I- goes on with what didn't begin.
    """
    words, tags = words_of(record, number), _list(record, 'tags', number)
    if len(words) != len(tags):
      raise UserError(
        f'{_which(number)} has {len(words)} words and {len(tags)} tags'
      )
    places = []
    for tag in map(str, tags):
      place = fields.place(self._places, tag)
      if place is None:
        raise UserError(
          f'{_which(number)} has the tag {tag!r}, which is none of the '
          f'{len(self.labels)} labels.{plugins.suggest(tag, self.labels[:20])} '
          "config.tasks.NAME.objective.labels names them; () takes the data's"
        )
      places.append(place)
    if self.bio:
      self._check_bio([self.labels[place] for place in places], number)
    return np.array(places, np.int32)

  def _check_bio(self, tags, number):
    for i, tag in enumerate(tags):
      before = tags[i - 1] if i else 'O'
      if tag[:2] == 'I-' and before[1:] != tag[1:]:
        raise UserError(
          f'{_which(number)}, word {i + 1}: {tag} goes on with what did not '
          f'begin, behind {before}: begin it with B{tag[1:]}'
        )

  def _rows(self, record, number=None):
    # [(ids of a row, {place in it: the word whose first piece is there})]. Rows
    # repeat some words of those before them, as what they are read by, and a
    # word is asked for where it has more around it.
    words = words_of(record, number)
    spaced = [' ' * (i > 0) + word for i, word in enumerate(words)]
    pieces = self.tokenizer.encode_batch(spaced, data=True)
    frame = framing.template(self.tokenizer)
    room = frame.room(self.max_length)
    pieces = [own[:room] for own in pieces]  # a word may fill a row
    parts = _parts([len(own) for own in pieces], room)
    ends = [(e + s) // 2 for (_, e), (s, _) in zip(parts, parts[1:])]
    owned = zip([0, *ends], [*ends, len(words)])
    rows = []
    for (start, end), (first, last) in zip(parts, owned):
      ids, places = [], {}
      for word in range(start, end):
        if pieces[word] and first <= word < last:
          places[len(frame.first) + len(ids)] = word
        ids += pieces[word]
      rows.append((frame(ids), places))
    return rows

  def parts(self, record, number=None):
    """Returns how many rows a record takes, see ctxlm.data.views.parts."""
    return len(self._rows(record, number))

  def ask(self, record):
    """See ctxlm.objectives.Answers; a record may have a 'text' of words."""
    return [
      {'tokens': ids, 'type_ids': [0] * len(ids)}
      for ids, _ in self._rows(record)
    ]

  def prepare(self, example, rng):
    """Returns 'tokens', 'segment_ids', 'type_ids' int32 [l], and the labels.

    Those are 'targets' int32 [l] and 'weights' float32 [l], which is 1 at the
    first piece of a word. Each word of a record is in one of its parts.
    """
    del rng  # nothing is drawn
    ids, places = self._rows(example)[example['part']]
    row = {'tokens': ids, 'type_ids': [0] * len(ids)}
    row = framing.padded(row, self.max_length, self.tokenizer.pad_id)
    targets = np.zeros(self.max_length, np.int32)
    weights = np.zeros(self.max_length, np.float32)
    target = self.target(example)
    for at, word in places.items():
      targets[at], weights[at] = target[word], 1
    return row | {'targets': targets, 'weights': weights}

  def outputs(self, model, batch, rows=None, edit=None):
    """Returns logits float32 [b, l, labels]."""
    if not self.labels:
      raise UserError('objective tagging needs labels')
    hidden = reading.encoded(model, batch, self.tokenizer, rows, edit)
    head = classification.Head(model.options, len(self.labels))
    return model.head(NAME, head, hidden, rows)

  def loss(self, apply, params, batch, rng):
    """Returns sums of nats ('loss') and right words ('accuracy')."""
    return regularizers.loss(self, apply, params, batch, rng)

  def judged(self, out, batch):
    """See objectives.Regular."""
    weights = batch['weights'] * batch['valid'][:, None]
    return losses.smoothed(out, batch['targets'], weights, self.label_smoothing)

  def divergence(self, a, b, batch, between):
    """See objectives.Regular."""
    weights = batch['weights'] * batch['valid'][:, None]
    return losses.weighted(between(a, b), weights)

  def answer(self, record, outputs):
    """See ctxlm.objectives.Answers.

    Returns:
      {'words', 'tags'}, None for a word that the tokenizer has no piece of; of
      BIO 'spans' too, [{'label', 'first', 'last', 'text'}], by the numbers of
      words from 0.
    """
    words = words_of(record)
    tags = [None] * len(words)
    for (_, places), logits in zip(self._rows(record), outputs, strict=True):
      found = np.asarray(logits).argmax(-1)
      for at, word in places.items():
        tags[word] = self.labels[int(found[at])]
    answer = {'words': words, 'tags': tags}
    if self.bio:
      answer['spans'] = [
        {
          'label': label,
          'first': begin,
          'last': end - 1,
          'text': ' '.join(words[begin:end]),
        }
        for label, begin, end in spans(tags)
      ]
    return answer


def _parts(sizes, room):
  # [(first word, last word + 1)] of rows that words of such sizes fill; a
  # quarter of a row is of the one before it.
  parts, start, end, used = [], 0, 0, 0
  while True:
    while end < len(sizes) and used + sizes[end] <= room:
      used += sizes[end]
      end += 1
    parts.append((start, end))
    if end == len(sizes):
      return parts
    before, start, used = start, end, 0
    most = min(room // 4, room - sizes[end])
    while start - 1 > before and used + sizes[start - 1] <= most:
      start -= 1
      used += sizes[start]


def is_bio(labels):
  """Whether labels are O, and others that begin with B- or I-."""
  kinds = {label[:2] for label in labels}
  return 'O' in kinds and 'B-' in kinds and kinds <= {'O', 'B-', 'I-'}


def spans(tags):
  """Returns [(label, first word, last word + 1)] of BIO tags.

  As conlleval has it, I- of another label than before begins one too; None is
  outside.

  >>> spans(['B-NP', 'I-NP', 'B-NP', 'O', 'I-VP'])
  [('NP', 0, 2), ('NP', 2, 3), ('VP', 4, 5)]
  """
  found, begun = [], None
  for i, tag in enumerate([*tags, None]):
    kind, label = (tag or 'O')[:1], (tag or 'O')[2:]
    if begun and not (kind == 'I' and label == begun[0]):
      found.append((*begun, i))
      begun = None
    if kind in 'BI' and not begun:
      begun = (label, i)
  return found


def words_of(record, number=None):
  """Returns a record's words: its 'tokens', or its 'text' cut at spaces."""
  if 'tokens' not in record and isinstance(record.get('text'), str):
    words = record['text'].split()
  else:
    words = _list(record, 'tokens', number)
  if not words or not all(isinstance(w, str) and w.strip() for w in words):
    raise UserError(f'{_which(number)} has no words, or an empty one: {words}')
  return list(words)


def _list(record, name, number):
  value = record.get(name)
  if isinstance(value, str):
    return value.split()
  return fields.items(NAME, record, name, number)
