"""SimCSE: sentences near their own other view, far from all others.

Gao et al. 2021 (arXiv:2104.08821). Unsupervised: two dropout masks of one
sentence. Supervised: pairs, with hard negatives where the data has them.
InfoNCE over the examples of all devices, equation 5:

    -log exp(sim(h_i, h_i+) / t) / sum_j (exp(sim(h_i, h_j+) / t)
                                          + exp(sim(h_i, h_j-) / t))
"""

import dataclasses
import functools
import zlib
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from ctxlm.data import framing
from ctxlm.data.sources import units
from ctxlm.errors import UserError
from ctxlm.models import layers
from ctxlm.objectives import augment, losses, mlm, pooling
from ctxlm.ranges import AboveZero, Count, Share, ZeroOrMore

# What a record has, and the setting by which it is read.
FIELDS = {
  ('text',): 'fields=1',
  ('text_a', 'text_b'): 'fields=2',
  ('text_a', 'text_b', 'negative'): 'fields=3',
}
Edit = Literal['', *augment.OPERATIONS]
WHERE = 'objective contrastive: dense.'
POOLINGS = (*pooling.KINDS, 'first_last_mean')


@dataclasses.dataclass(frozen=True)
class Objective:
  """InfoNCE on sentences, pairs or triples.

  A record with 'text' is one sentence; 'text_a' and 'text_b' are a pair, and
  'negative' its hard negative.

  Attributes:
    fields: what a record has: 1 (text), 2 (pair) or 3 (with a negative).
    temperature: t above.
    pooling: a kind of ctxlm.objectives.pooling, or 'first_last_mean' of the
      embeddings and last layer.
    dense: linear maps behind it, as sentence-transformers has them, a block
      each, such as {'size': 512, 'activation': 'tanh', 'bias': True}.
    project: whether training puts the MLP head on the vector, as SimCSE does.
    augment: '' for dropout alone, or an operation of ctxlm.objectives.augment
      that makes the second view.
    augment_share: share of the words that it edits.
    synonyms: file of the word list for 'replace' and 'insert'.
    mlm_weight: weight of an auxiliary MLM loss; 0 is off (section 6.3: 0.1).
    mask_duplicates: whether equal texts of a batch are left out of each
      other's negatives, as they can't be told apart; see `rivals`.
    tokenizer, max_length: given by the loop.
  """

  fields: Literal[1, 2, 3] = 1
  temperature: AboveZero = 0.05
  pooling: Literal[*POOLINGS] = 'cls'
  dense: tuple = ()
  project: bool = True
  augment: Edit = ''
  augment_share: Share = 0.1
  synonyms: str = ''
  mlm_weight: ZeroOrMore = 0.0
  mask_duplicates: bool = True
  tokenizer: Any = None
  max_length: Count = 32

  view = 'texts'

  def __post_init__(self):
    if self.augment and self.fields > 1:
      raise ValueError('augment makes the second view of one field only')
    if self.augment in augment.NEED_SYNONYMS and not self.synonyms:
      raise UserError(f'augment={self.augment!r} needs a synonyms file')
    pooling.read_dense(self.dense, WHERE)

  @property
  def terms(self):
    """Which sums make the loss."""
    if self.mlm_weight:
      return {'loss': 1.0, 'mlm': self.mlm_weight}
    return {'loss': 1.0}

  @functools.cached_property
  def maps(self):
    """The pooling.Dense behind the pooling."""
    return pooling.read_dense(self.dense, WHERE)

  @functools.cached_property
  def _synonyms(self):
    return augment.read_synonyms(self.synonyms) if self.synonyms else None

  @functools.cached_property
  def _mlm(self):
    return mlm.Objective(tokenizer=self.tokenizer, max_length=self.max_length)

  @property
  def num_views(self):
    """Sentences an example: 2, or 3 with a hard negative."""
    return max(self.fields, 2)

  def texts(self, example, rng):
    """Returns the example's views as strings.

    Raises:
      UserError: the record lacks one, or one of a pair is empty.
    """
    names = list(FIELDS)[self.fields - 1]
    found = units.read(example, names, FIELDS)
    for name, text in zip(names, found):
      if self.fields > 1 and not text.strip():
        raise UserError(
          f'objective contrastive: a record has no text in {name!r}, beside '
          f'{max(found, key=len)[:60]!r}: leave it out'
        )
    if self.fields == 1:
      text = other = found[0]
      words = text.split()
      if self.augment and words:
        edit = augment.OPERATIONS[self.augment]
        other = ' '.join(edit(words, self.augment_share, rng, self._synonyms))
      return [text, other]
    return found

  def row(self, text):
    """Returns int32 [l]: [CLS] text [SEP], cut to the row, padded."""
    t, length = self.tokenizer, self.max_length
    ids = framing.beginning(t, text, length)
    return framing.text(t).row(ids, length, t.pad_id)

  def prepare(self, example, rng):
    """Returns 'tokens' and 'segment_ids' int32 [n, l] of the n views.

    And 'contents' uint32 [n], equal where the tokens are. With the auxiliary
    MLM, also the masked first view: 'mlm_tokens' int32 [l] and
    'masked_positions', 'masked_targets', 'masked_weights' [k].
    """
    rows = [self.row(t) for t in self.texts(example, rng)]
    features = {
      'tokens': np.stack([r for r, _ in rows]),
      'segment_ids': np.stack([s for _, s in rows]),
      'contents': np.array([contents(r) for r, _ in rows], np.uint32),
    }
    if self.mlm_weight:
      masked = self._mlm.masked(*rows[0], rng)
      features['mlm_tokens'] = masked.pop('tokens')
      features |= masked
    return features

  def embed(self, model, tokens, segment_ids, rows=None, project=False):
    """Returns sentence vectors float32 [b, m] of tokens [b, l]."""
    first_last = self.pooling == 'first_last_mean'
    out = model(
      tokens,
      segment_ids=segment_ids,
      rows=rows,
      **({'with_embedded': True} if first_last else {}),
    )
    kind = self.pooling
    if first_last:
      hidden, embedded = out
      out = (hidden.astype(jnp.float32) + embedded.astype(jnp.float32)) / 2
      kind = 'mean'
    pooled = pooling.pool(kind, out, segment_ids)
    if self.maps:
      chain = pooling.Chain(self.maps, model.options.init_stddev)
      pooled = model.head('sentence', chain, pooled)
    if project and self.project:
      pooled = model.head('projection', Projection(model.options), pooled)
    return pooled.astype(jnp.float32)

  def encode(self, apply, params, batch, rng):
    """Returns each example's views, unit vectors [b, n, m], and MLM sums."""
    b, n, l = batch['tokens'].shape
    rows = None
    if rng is not None:
      # Each view has a row, and so a dropout mask, of its own.
      rows = (batch['index'][:, None] * (n + 1) + jnp.arange(n)).reshape(-1)

    def forward(model):
      vectors = self.embed(
        model,
        batch['tokens'].reshape(b * n, l),
        batch['segment_ids'].reshape(b * n, l),
        rows,
        project=True,
      )
      if not self.mlm_weight:
        return vectors, None
      hidden = model(
        batch['mlm_tokens'],
        segment_ids=batch['segment_ids'][:, 0],
        rows=None if rng is None else batch['index'] * (n + 1) + n,
      )
      masked = mlm.at_positions(hidden, batch['masked_positions'])
      return vectors, mlm.mlm_logits(model, masked)

    vectors, logits = apply(params, forward, rng)
    vectors = vectors / jnp.linalg.norm(vectors, axis=-1, keepdims=True).clip(
      1e-8
    )
    encoded = {
      'vectors': vectors.reshape(b, n, -1),
      **{k: batch[k] for k in ('contents', 'index', 'valid', 'present')},
    }
    if self.mlm_weight:
      weights = batch['masked_weights'] * batch['valid'][:, None]
      nats, count = jax.vmap(losses.cross_entropy)(
        logits, batch['masked_targets'], weights
      )
      encoded |= {'nats': nats, 'count': count}
    return encoded

  def compare(self, own, everyone):
    """Returns sums over `own` examples, the others as negatives.

    Args:
      own: this device's encodings: 'vectors' [b, n, m], 'contents' [b, n],
        'index', 'valid' and 'present' [b].
      everyone: those of all devices [B, ...].
    """
    queries = own['vectors'][:, 0]
    keys = everyone['vectors'][:, 1:]  # positives, then hard negatives
    keys = keys.swapaxes(0, 1).reshape(-1, keys.shape[-1])
    logits = queries @ keys.T / self.temperature
    same = own['index'][:, None] == everyone['index']
    kept = jnp.tile(everyone['present'] > 0, (self.num_views - 1, 1))
    if self.mask_duplicates:
      kept &= rivals(own['contents'], everyone['contents'])
    # A positive stays, whatever it is equal to.
    kept |= same[:, None] & (jnp.arange(self.num_views - 1)[:, None] == 0)
    logits = jnp.where(kept.reshape(logits.shape), logits, -1e9)
    targets = jnp.argmax(same, axis=1)
    valid = own['valid']
    sums = {
      'loss': losses.cross_entropy(logits, targets, valid),
      'accuracy': losses.accuracy(logits, targets, valid),
    }
    if self.mlm_weight:
      sums['mlm'] = own['nats'].sum(), own['count'].sum()
    return sums


def contents(row):
  """Returns a uint32 that is equal for equal rows of tokens.

  Others' are equal once in 2^32, and then a negative is lost.
  """
  return zlib.crc32(np.ascontiguousarray(row, np.int32).tobytes())


def rivals(own, everyone):
  """Returns bool [b, n - 1, B]: whether a key is no text of the query's.

  A key is left out if it is equal to the query or to its positive, or if it
  is the positive of an equal query.

  Args:
    own: int [b, n], `contents` of query, positive and hard negative.
    everyone: int [B, n]; the keys are the positives and hard negatives.
  """
  query, positive = own[:, :1, None], own[:, 1:2, None]
  keys = everyone[:, 1:].T
  hard = np.arange(len(keys))[:, None] > 0
  asked_alike = query == everyone[:, 0]
  return (keys != query) & (keys != positive) & (hard | ~asked_alike)


class Projection(nn.Module):
  """SimCSE's MLP head: dense and tanh, `projection_layers` times.

  Attributes:
    options: the model's.
  """

  options: Any

  @nn.compact
  def __call__(self, x):
    """Returns [b, m] of x [b, m]."""
    o = self.options
    for i in range(o.projection_layers):
      x = nn.Dense(
        o.hidden_size,
        name=f'dense_{i}',
        kernel_init=layers.normal(o.init_stddev),
      )(x)
      x = jnp.tanh(x)
    return x
