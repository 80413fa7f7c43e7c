"""BERT's pretraining: masked LM and the order of two segments.

Devlin et al. 2019 (arXiv:1810.04805), section 3.1 and appendix A: 15 % of the
tokens are predicted; of these 80 % become [MASK], 10 % a random token and
10 % stay. The loss is the mean over masked positions, plus that of the
next-sentence prediction. Sentence order: ALBERT (Lan et al. 2020). Spans:
SpanBERT (Joshi et al. 2020), lengths geometric with p = 0.2, at most 10.
"""

import dataclasses
import functools
from typing import Annotated, Any, Literal

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from ctxlm.data import framing
from ctxlm.errors import UserError, note
from ctxlm.models import layers
from ctxlm.objectives import losses, masking, written
from ctxlm.ranges import Count, Range, Share

WATCHED = 32  # rows after which too few masks are said


@dataclasses.dataclass(frozen=True)
class Objective:
  """Masked LM on packed windows, or on pairs of segments with `pair`.

  Attributes:
    rate: share of the tokens that are predicted.
    mask, random: shares of those replaced by [MASK] and by a random token;
      the rest stays.
    unit: what is masked whole: 'token', 'word' or 'span'.
    pair: '' for windows, 'next_sentence' (half of the second segments are of
      another document, and as long) or 'sentence_order' (half of the pairs are
      swapped; both segments are as long).
    tokenizer, max_length: given by the loop.
  """

  rate: Annotated[float, Range('(0, 1)')] = 0.15
  mask: Share = 0.8
  random: Share = 0.1
  unit: Literal[*masking.UNITS] = 'token'
  pair: Literal['', 'next_sentence', 'sentence_order'] = ''
  tokenizer: Any = None
  max_length: Count = 128

  overlap = 0
  frame = 'cls'

  def __post_init__(self):
    if self.mask + self.random > 1:
      raise ValueError(
        f'mask={self.mask} and random={self.random} are shares of the same '
        'tokens: they must sum to 1 at most'
      )
    if self.tokenizer is not None and self.tokenizer.mask_id is None:
      raise UserError('objective mlm needs a tokenizer with a mask token')

  @property
  def view(self):
    """Which view of the data it reads."""
    return 'pairs' if self.pair else 'windows'

  @property
  def terms(self):
    """Which sums make the loss: MLM + NSP."""
    return {'loss': 1.0, self.pair: 1.0} if self.pair else {'loss': 1.0}

  @property
  def num_masked(self):
    """Slots of predicted positions a row: its share, rounded up."""
    return int(np.ceil(self.rate * self.max_length))

  def prepare(self, example, rng):
    """Draws the masks, and the pair where there is one.

    Returns:
      'tokens', 'segment_ids', 'positions' int32 [l]; 'masked_positions',
      'masked_targets' int32 [k], 'masked_weights' float32 [k]; with a pair
      'type_ids' int32 [l] and 'label' int32 (1: not next, or swapped).
    """
    if self.pair:
      features = self._pair(example, rng)
    else:
      features = dict(example)
    return features | self.masked(
      features['tokens'], features['segment_ids'], rng
    )

  def masked(self, tokens, segment_ids, rng):
    """Returns the masked tokens and what is to be predicted.

    The number predicted is rate * candidates, its fraction settled by a coin,
    so that the share is exact on average in short rows too.

    Args:
      tokens, segment_ids: int32 [l]; special tokens and padding stay.
      rng: numpy Generator.
    """
    tokenizer = self.tokenizer
    special = np.isin(tokens, sorted(tokenizer.special_ids))
    candidate = (segment_ids > 0) & ~special
    wanted = self.rate * candidate.sum()
    count = int(wanted) + int(rng.random() < wanted - int(wanted))
    count = min(max(count, min(1, candidate.sum())), self.num_masked)
    starts = None if self.unit == 'token' else tokenizer.word_starts[tokens]
    chosen = masking.choose(
      candidate, count, rng, self.unit, starts, segment_ids
    )
    self._watch(tokens, candidate, len(chosen))
    draw = rng.random(len(chosen))
    ordinary = self._ordinary()
    new = tokens.copy()
    new[chosen[draw < self.mask]] = tokenizer.mask_id
    swapped = chosen[(draw >= self.mask) & (draw < self.mask + self.random)]
    new[swapped] = ordinary[rng.integers(len(ordinary), size=len(swapped))]
    k = self.num_masked
    positions, targets = np.zeros(k, np.int32), np.zeros(k, np.int32)
    weights = np.zeros(k, np.float32)
    positions[: len(chosen)] = chosen
    targets[: len(chosen)] = tokens[chosen]
    weights[: len(chosen)] = 1
    return {
      'tokens': new,
      'masked_positions': positions,
      'masked_targets': targets,
      'masked_weights': weights,
    }

  @functools.cached_property
  def _seen(self):
    return np.zeros(4)  # rows; tokens, of these unknown, and masked

  def _watch(self, tokens, candidate, masked):
    # Says it once where far fewer tokens are masked than was asked.
    t = self.tokenizer
    unknown = 0
    if t.unk_id not in (None, t.bos_id, t.eos_id):
      unknown = (tokens == t.unk_id).sum()
    self._seen[:] += 1, candidate.sum() + unknown, unknown, masked
    rows, all_tokens, all_unknown, all_masked = self._seen
    if rows == WATCHED and all_masked < self.rate * all_tokens / 2:
      note(
        f'objective mlm masks {all_masked / all_tokens:.1%} of the tokens, '
        f'where rate={self.rate} asks for more than twice as many: '
        + (
          f'{all_unknown / all_tokens:.0%} of them are unknown to the tokenizer'
          if all_unknown > all_tokens / 2
          else f"few {self.unit}s fit; unit='token' needs none"
        )
      )

  def _ordinary(self):
    keep = np.ones(self.tokenizer.vocab_size, bool)
    keep[sorted(self.tokenizer.special_ids)] = False
    return np.flatnonzero(keep)

  def _pair(self, example, rng):
    # [CLS] A [SEP] B [SEP], as create_pretraining_data.py of BERT does: the
    # chunk's sentences are cut in two; B may come from another document. No
    # rule on lengths may tell the label from them.
    tokens = np.concatenate(example['sentences'])
    cuts = np.cumsum([len(s) for s in example['sentences']])[:-1]
    single = not len(cuts)  # it is cut in the middle
    if single:
      cut = len(tokens) // 2
    elif self.pair == 'next_sentence':
      cut = cuts[rng.integers(len(cuts))]
    else:
      cut = cuts[np.abs(2 * cuts - len(tokens)).argmin()]
    first, second = tokens[:cut], tokens[cut:]
    label = int(rng.random() < 0.5)
    if self.pair == 'next_sentence':
      other = example['other'][len(example['other']) // 2 if single else 0 :]
      # B is as long whether it follows or not.
      size = min(len(second), len(other))
      second = (other if label else second)[:size]
    else:
      # Both are as long: documents may begin with longer sentences.
      size = min(len(first), len(second))
      first, second = (_trim(part, size, rng) for part in (first, second))
      if label:
        first, second = second, first
    row = framing.pair(self.tokenizer, first, second, self.max_length)
    return row | {'label': np.int32(label)}

  def loss(self, apply, params, batch, rng):
    """Returns sums of nats and right answers, of masks and of pairs."""

    def forward(model):
      hidden = model(
        batch['tokens'],
        segment_ids=batch['segment_ids'],
        positions=batch['positions'],
        type_ids=batch.get('type_ids'),
        rows=losses.rows(batch, rng),
      )
      # The head is most of a small model's cost: only masked positions.
      masked = at_positions(hidden, batch['masked_positions'])
      return masked, pair_logits(model, hidden) if self.pair else None

    masked, pair = apply(params, forward, rng)
    weights = batch['masked_weights'] * batch['valid'][:, None]
    told = masked, batch['masked_targets'], weights
    sums = written.sums(apply, params, *told, write=mlm_logits)
    if self.pair:
      label, valid = batch['label'], batch['valid']
      sums[self.pair] = losses.cross_entropy(pair, label, valid)
      sums[f'{self.pair}_accuracy'] = losses.accuracy(pair, label, valid)
    return sums


def _trim(tokens, size, rng):
  # BERT: each token that is too many goes from either end by a coin.
  start = rng.binomial(len(tokens) - size, 0.5)
  return tokens[start : start + size]


def at_positions(hidden, positions):
  """Returns hidden [b, l, m] at positions [b, k]: [b, k, m]."""
  return jnp.take_along_axis(hidden, positions[..., None], axis=1)


class Head(nn.Module):
  """Dense, activation and norm before the tokens' vectors, a bias behind them.

  Attributes:
    options: the model's.
  """

  options: Any

  @nn.compact
  def __call__(self, x, decode):
    """Returns logits float32 [..., v] of x [..., m], by decode([..., m])."""
    o = self.options
    x = layers.Linear(
      o.hidden_size,
      dtype=jnp.dtype(o.dtype),
      name='dense',
      kernel_init=layers.normal(o.init_stddev),
    )(x)
    x = layers.make_norm(o, 'norm')(layers.ACTIVATIONS[o.activation](x))
    bias = self.param('bias', nn.initializers.zeros, (o.vocab_size,))
    return decode(x) + bias


class Pooler(nn.Module):
  """tanh(dense(first token)), float32 (BERT).

  Attributes:
    options: the model's.
  """

  options: Any

  @nn.compact
  def __call__(self, hidden):
    """Returns [b, m] of hidden [b, l, m]."""
    o = self.options
    dense = nn.Dense(
      o.hidden_size, kernel_init=layers.normal(o.init_stddev), name='dense'
    )
    return jnp.tanh(dense(hidden[:, 0].astype(jnp.float32)))


def mlm_logits(model, hidden):
  """Returns the model's MLM logits float32 [..., v] of hidden [..., m]."""
  return model.head('mlm', Head(model.options), hidden, model.decode_tokens)


def pair_logits(model, hidden):
  """Returns logits float32 [b, 2] of hidden [b, l, m]; 1 is 'not next'."""
  pooled = model.head('pooler', Pooler(model.options), hidden)
  out = nn.Dense(2, kernel_init=layers.normal(model.init_stddev))
  return model.head('next_sentence', out, pooled)
