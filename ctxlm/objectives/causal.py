"""Causal language modelling: each token from those before it.

log p(x) = sum_t log p(x_t | x_<t), the chain rule; GPT (Radford et al. 2018,
section 3.1). With `prefix`, the first tokens of every piece see each other
and only the rest is predicted (T5's prefix LM, Raffel et al. 2020, 3.2.4).
"""

import dataclasses
from typing import Any

import numpy as np

from ctxlm.data import framing
from ctxlm.data.sources import units
from ctxlm.objectives import losses
from ctxlm.ranges import BelowOne, Count


@dataclasses.dataclass(frozen=True)
class Objective:
  """Next-token prediction on packed windows.

  Attributes:
    prefix: share of each piece, drawn uniformly up to this, that is a
      bidirectional prefix; 0 is plain causal.
    tokenizer: given by the loop.
    max_length: tokens in a row; given by the loop.
  """

  prefix: BelowOne = 0.0
  tokenizer: Any = None
  max_length: Count = 256

  view = 'windows'
  overlap = 1  # a cut document's next piece repeats one token, so that every
  frame = 'bos'  # token but the first is predicted exactly once
  terms = {'loss': 1.0}

  @property
  def every_token(self):
    """Whether all tokens are predicted; those of a prefix are not."""
    return not self.prefix

  @property
  def ends(self):
    """Ids that end a document."""
    return framing.ends(self.tokenizer, encoder_decoder=False)

  def prompted(self, record, rng, room):
    """See ctxlm.objectives.Writes; the newest ids are kept."""
    del rng  # nothing is drawn
    prompt, target = units.read(record, ('text_a', 'text_b'), {})
    first = framing.document(self.tokenizer).first
    ids = self.tokenizer.encode(prompt, data=True)
    if room is not None:
      ids = ids[max(len(ids) + len(first) - room, 0) :]
    return [*first, *ids], target

  def prepare(self, example, rng):
    """Adds targets, weights and, with a prefix, which tokens are in it.

    Position l predicts token l + 1 if both are of the same piece.

    Args:
      example: {'tokens', 'segment_ids', 'positions'}: int32 [l].
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
    return features

  def loss(self, apply, params, batch, rng):
    """Returns sums of nats ('loss') and right tokens ('accuracy')."""

    def logits(model):
      more = {'prefix': batch['prefix']} if self.prefix else {}
      hidden = model(
        batch['tokens'],
        segment_ids=batch['segment_ids'],
        positions=batch['positions'],
        rows=losses.rows(batch, rng),
        **more,
      )
      return model.logits(hidden)

    out = apply(params, logits, rng)
    weights = batch['weights'] * batch['valid'][:, None]
    return {
      'loss': losses.cross_entropy(out, batch['targets'], weights),
      'accuracy': losses.accuracy(out, batch['targets'], weights),
    }
