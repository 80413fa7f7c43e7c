"""Causal language modelling: each token from those before it.

log p(x) = sum_t log p(x_t | x_<t), the chain rule; GPT (Radford et al. 2018,
section 3.1). With `prefix`, the first tokens of every piece see each other
and only the rest is predicted (T5's prefix LM, Raffel et al. 2020, 3.2.4).
Of prompts and their completions the completion alone is predicted, and of
dialogues the answers (Ouyang et al. 2022, arXiv:2203.02155, appendix C).
"""

import dataclasses
import functools
from typing import Any, Literal

import numpy as np

from ctxlm import plugins
from ctxlm.data import dialogues, framing
from ctxlm.data.sources import units
from ctxlm.errors import UserError
from ctxlm.models import cache as cache_lib
from ctxlm.objectives import losses, regularizers, written
from ctxlm.ranges import BelowOne, Count, Whole


@dataclasses.dataclass(frozen=True)
class Objective:
  """Next-token prediction on packed rows.

  Attributes:
    kind: 'text', documents, which rows cut; 'stream', the same, one after
      another, where each row of a batch goes on from the one before, and the
      model from the state that it kept; 'completion', records with 'prompt'
      and 'completion', or 'text_a' and 'text_b'; 'dialogue', records with
      'messages', a list of {'role', 'content'}, or 'turns', a list of texts.
      Rows hold several of the last two whole. A prompt that is too long loses
      its beginning, and a dialogue its oldest turns; an answer that has no
      room behind a token of its prompt, or the turn before it, or is empty, is
      left out, and how many are is said.
    prefix: share of each piece of a text, drawn uniformly up to this, that is
      a bidirectional prefix; 0 is plain causal.
    speaker: whose turns are learned, see data.dialogues.answers.
    context: turns that an answer sees, each answer being an example of its
      own; None is all of them, where a dialogue that fits is one example.
    template: whether turns are joined by the tokenizer's chat template; None
      is if it has one. Else each ends with the token that ends a text.
    regularizer: of ctxlm.objectives.regularizers: r_drop.
    tokenizer: given by the loop.
    max_length: tokens in a row; given by the loop.
  """

  kind: Literal['text', 'stream', 'completion', 'dialogue'] = 'text'
  prefix: BelowOne = 0.0
  speaker: Literal[*dialogues.SPEAKERS] = ''
  context: Whole = None
  template: bool = None
  regularizer: Any = plugins.field('objectives.regularizers')
  tokenizer: Any = None
  max_length: Count = 256

  overlap = 1  # a cut document's next piece repeats one token, so that every
  frame = 'bos'  # token but the first is predicted exactly once

  def __post_init__(self):
    regularizers.check('causal', self.regularizer)
    if self.regularizer and self.carries:
      raise ValueError("regularizer: rows of kind='stream' are read once")
    if self.prefix and self.kind != 'text':
      raise ValueError(f"prefix={self.prefix} is for kind='text'")
    own = (self.speaker, self.context, self.template)
    if self.kind != 'dialogue' and own != ('', None, None):
      raise ValueError("speaker, context and template are for kind='dialogue'")

  @property
  def terms(self):
    """See objectives.Objective."""
    return regularizers.terms(self.regularizer)

  @property
  def view(self):
    """See ctxlm.data.views."""
    return {'text': 'windows', 'stream': 'streams'}.get(self.kind, 'answers')

  @property
  def carries(self):
    """See objectives.Carries."""
    return self.kind == 'stream'

  @property
  def every_token(self):
    """Whether all tokens are predicted; of a prefix or a prompt none is."""
    return self.kind in ('text', 'stream') and not self.prefix

  @property
  def ends(self):
    """Ids that end a document, or an answer."""
    if self.kind == 'dialogue':
      return self.join.ends
    return framing.ends(self.tokenizer, encoder_decoder=False)

  @functools.cached_property
  def join(self):
    """How turns become ids, see ctxlm.data.dialogues.of."""
    return dialogues.of(self.tokenizer, self.template, data=True)

  @property
  def reads(self):
    """What of the options decides its `examples`."""
    template = None
    if self.kind == 'dialogue' and self.template is not False:
      template = self.tokenizer.chat_template
    return self.kind, self.speaker, self.context, self.template, template

  def examples(self, record):
    """Returns the examples of a record: [(ids, whether each is an answer's)].

    An answer that is empty, or has no room, is None.

    Raises:
      UserError: the record lacks what is read, or a completion is empty.
    """
    if self.kind == 'completion':
      prompt, completion = _pair(record)
      if not completion.strip():
        raise UserError('its completion is empty')
      answer = [*self._encode(completion), self.tokenizer.eos_id]
      room = self.max_length - len(answer)
      first = framing.document(self.tokenizer).first
      if room < len(first):
        return [None]
      before = framing.ending(self._encode(prompt), first, room)
      return [_marked(before, answer)]
    turns, named = dialogues.messages(record)
    numbers = dialogues.answers(turns, named, self.speaker)
    learned = dialogues.said(turns, numbers)
    found = [None] * (len(numbers) - len(learned))
    if learned and self.context is None and (named or not self.join.by_role):
      whole = self.join.whole(turns, learned, self.max_length)
      if whole:
        return [*found, whole]
    for number in learned:
      own = self._until(turns, named, number)
      try:
        both = self.join.answered(own, self.max_length)
        found.append(_marked(*both))
      except dialogues.NoRoom:
        found.append(None)
    return found

  def _until(self, turns, named, number):
    # An answer behind the turns that it sees.
    turns = turns[: number + 1]
    if not named:
      turns = dialogues.alternating([turn['content'] for turn in turns])
    return [*dialogues.recent(turns[:-1], self.context), turns[-1]]

  def _encode(self, text):
    return self.tokenizer.encode(text, data=True)

  def given(self, record, room):
    """See ctxlm.objectives.Writes; the newest ids, or turns, are kept."""
    if self.kind == 'dialogue':
      turns, named = dialogues.messages(record)
      if not named:
        texts = [turn['content'] for turn in turns]
        turns = dialogues.alternating(texts, last='user')
      dialogues.check_asks(turns)
      return self.join.prompt(dialogues.recent(turns, self.context), room)
    names = [n for n in ('prompt', 'text_a', 'text') if n in record][:1]
    (text,) = units.read(record, names or ('prompt',), {})
    first = framing.document(self.tokenizer).first
    return framing.ending(self._encode(text), first, room)

  def prompted(self, record, rng, room):
    """See ctxlm.objectives.Writes."""
    del rng  # nothing is drawn
    if self.kind != 'dialogue':
      prompt, target = _pair(record)
      return [(self.given({'prompt': prompt}, room), target)]
    turns, named = dialogues.messages(record)
    found = []
    numbers = dialogues.answers(turns, named, self.speaker)
    for number in dialogues.said(turns, numbers):
      own = self._until(turns, named, number)
      try:
        ids = self.join.prompt(own[:-1], room)
      except dialogues.NoRoom:
        ids = None
      found.append((ids, turns[number]['content']))
    return found

  def prepare(self, example, rng):
    """Adds targets, weights and, with a prefix, which tokens are in it.

    Position l predicts token l + 1 if both are of the same piece, and that
    one is an answer's where there are some.

    Args:
      example: {'tokens', 'segment_ids', 'positions'}: int32 [l], and 'answers'
        bool [l] of completions and dialogues.
      rng: numpy Generator.

    Returns:
      the example with 'targets' int32 [l], 'weights' float32 [l] and, with a
      prefix, 'prefix' bool [l].
    """
    tokens, segments = example['tokens'], example['segment_ids']
    targets = np.append(tokens[1:], 0).astype(np.int32)
    next_segment = np.append(segments[1:], 0)
    weights = (segments > 0) & (segments == next_segment)
    features = dict(example)
    if self.view == 'answers':
      weights &= np.append(features.pop('answers')[1:], False)
    if self.prefix:
      inside = np.zeros(len(tokens), bool)
      for segment in range(1, segments.max(initial=0) + 1):
        places = np.flatnonzero(segments == segment)
        most = int(self.prefix * len(places))
        inside[places[: rng.integers(0, most + 1)]] = True
      # A prefix token may see its next one, so it isn't asked for it.
      weights &= ~np.append(inside[1:], False)
      features['prefix'] = inside
    features['targets'] = targets
    features['weights'] = weights.astype(np.float32)
    if self.carries:  # the last token is read in the next batch
      features = {name: x[:-1] for name, x in features.items()}
      features['segment_ids'] = (features['segment_ids'] > 0).astype(np.int32)
    return features

  def carry(self, apply, params, batch, rng, memory):
    """See objectives.Carries."""
    rows = losses.rows(batch, rng)
    hidden, kept = apply(
      params,
      lambda model: self.hidden(model, batch, rows),
      rng,
      mutable=['cache'],
      cache=memory,
    )
    return self.told(apply, params, hidden, batch), kept['cache']

  def loss(self, apply, params, batch, rng):
    """Returns sums of nats ('loss') and right tokens ('accuracy')."""
    return regularizers.loss(self, apply, params, batch, rng, self.plain)

  def plain(self, apply, params, batch, rng):
    """Returns what `loss` does, without a regularizer."""
    rows = losses.rows(batch, rng)
    hidden = apply(params, lambda m: self.hidden(m, batch, rows), rng)
    return self.told(apply, params, hidden, batch)

  def told(self, apply, params, hidden, batch):
    """Returns the sums of hidden states [b, l, m] of a batch."""
    targets, weights = batch['targets'], _weights(batch)
    return written.sums(apply, params, hidden, targets, weights)

  def outputs(self, model, batch, rows=None):
    """See objectives.Regular: logits float32 [b, l, v]."""
    return model.logits(self.hidden(model, batch, rows))

  def hidden(self, model, batch, rows=None):
    """Returns hidden states [b, l, m] of a batch, inside of `apply`."""
    more = {'prefix': batch['prefix']} if self.prefix else {}
    if self.carries:
      more['places'] = cache_lib.Places(self.max_length)
    return model(
      batch['tokens'],
      segment_ids=batch['segment_ids'],
      positions=batch['positions'],
      rows=rows,
      **more,
    )

  def judged(self, out, batch):
    """See objectives.Regular."""
    return losses.smoothed(out, batch['targets'], _weights(batch), 0.0)

  def divergence(self, a, b, batch, between):
    """See objectives.Regular."""
    return losses.weighted(between(a, b), _weights(batch))


def _weights(batch):
  return batch['weights'] * batch['valid'][:, None]


def _pair(record):
  # The texts of a prompt and its completion.
  own = 'prompt' in record or 'completion' in record
  names = ('prompt', 'completion') if own else ('text_a', 'text_b')
  if not own and not record.keys() & {*names}:
    names = ('prompt', 'completion')
  return units.read(record, names, {})


def _marked(prompt, answer):
  return [*prompt, *answer], [False] * len(prompt) + [True] * len(answer)
