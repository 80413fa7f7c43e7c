"""Sequence to sequence: smoothed labels, frames, shifted targets, noise."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from torch.nn import functional as F

from ctxlm.errors import UserError
from ctxlm.models import encoder_decoder
from ctxlm.models.variables import make_apply
from ctxlm.objectives import losses, seq2seq
from ctxlm.objectives import task as task_lib

RNG = np.random.default_rng(0)


@pytest.mark.parametrize('smoothing', [0.0, 0.1, 0.7])
def test_smoothed_cross_entropy(smoothing):
  logits = RNG.normal(size=(3, 5, 7)).astype(np.float32)
  targets = RNG.integers(0, 7, (3, 5))
  weights = RNG.integers(0, 2, (3, 5)).astype(np.float32)
  total, count = losses.cross_entropy(logits, targets, weights, smoothing)
  # -sum_v q_v log p_v, q = (1 - e) one-hot + e / v.
  logp = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
  q = (1 - smoothing) * np.eye(7)[targets] + smoothing / 7
  by_hand = (weights * -(q * logp).sum(-1)).sum()
  np.testing.assert_allclose(total, by_hand, rtol=1e-5)
  labels = torch.tensor(np.where(weights, targets, -100)).flatten()
  theirs = F.cross_entropy(
    torch.tensor(logits).flatten(0, 1), labels, label_smoothing=smoothing
  )
  np.testing.assert_allclose(total / count, theirs, rtol=1e-5)


def test_rows_are_framed_and_cut(tokenizer):
  o = seq2seq.Objective(tokenizer=tokenizer, max_length=6, target_length=4)
  found = o.prepare({'text_a': '10 11', 'text_b': '12 13 14 15'}, RNG)
  assert found['tokens'].tolist() == [1, 10, 11, 2, 0, 0]
  assert found['segment_ids'].tolist() == [1, 1, 1, 1, 0, 0]
  assert found['targets'].tolist() == [1, 12, 13, 2]
  assert found['cut'] == 1
  assert o.prepare({'text_a': '10', 'text_b': '12 13'}, RNG)['cut'] == 0
  assert o.given({'text': '10 11'}, None) == [1, 10, 11, 2]
  assert o.given({'text_a': '10 11 12 13 14'}, None) == [1, 10, 11, 12, 13, 2]
  tokenizer.cls_id = None  # as T5's
  o = seq2seq.Objective(tokenizer=tokenizer, max_length=6, prompt='40 ')
  found = o.prepare({'text_a': '10 11', 'text_b': '12'}, RNG)
  assert found['tokens'].tolist() == [40, 10, 11, 2, 0, 0]
  assert found['targets'].tolist() == [12, 2, 0, 0, 0, 0]


def test_noise_makes_the_source(tokenizer):
  o = seq2seq.Objective(
    tokenizer=tokenizer, max_length=40, noise='delete', noise_share=0.5
  )
  text = ' '.join(map(str, range(5, 35)))
  found = o.prepare({'text': text}, RNG)
  kept = found['tokens'][found['segment_ids'] > 0][1:-1].tolist()
  assert 5 < len(kept) < 25 and kept == sorted(kept)
  assert found['targets'][1:31].tolist() == list(range(5, 35))


def test_missing_field_names_the_way_out(tokenizer):
  o = seq2seq.Objective(tokenizer=tokenizer)
  with pytest.raises(UserError, match="reads text_a, text_b.*noise='delete'"):
    o.prepare({'text_a': '5', 'text': '6'}, RNG)
  o = seq2seq.Objective(tokenizer=tokenizer, noise='delete')
  with pytest.raises(UserError, match="set .*noise='', or name .*data.fields"):
    o.prepare({'text_a': '5', 'text_b': '6'}, RNG)


@pytest.mark.slow
@pytest.mark.parametrize('start', ['bos', 'pad'])
def test_loss_is_of_each_token_from_those_before(tokenizer, start):
  """The chain rule: the sum is that of target rows cut after each token."""
  o = seq2seq.Objective(tokenizer=tokenizer, max_length=8, target_length=6)
  model = encoder_decoder.Model(
    vocab_size=50,
    hidden_size=8,
    num_layers=1,
    num_heads=2,
    max_length=8,
    decoder_start=start,
    init_stddev=0.5,
  )
  apply = make_apply(model)
  pairs = [('10 11 12', '13 14 15 16'), ('17', '18 19')]
  rows = [o.prepare({'text_a': a, 'text_b': b}, RNG) for a, b in pairs]
  batch = {k: jnp.stack([r[k] for r in rows]) for k in rows[0]}
  batch |= {'valid': jnp.ones(2), 'index': jnp.arange(2)}
  task = task_lib.Task('task', o)
  params = task_lib.init_params(
    model, [task], {'task': batch}, jax.random.key(0)
  )
  total, count = jax.jit(lambda: o.loss(apply, params, batch, None))()['loss']
  assert count == 6 + 4  # with their frames
  first = {'bos': 4, 'pad': 0}[start]
  by_hand = 0.0

  @jax.jit
  def forward(source, given, last):
    return apply(params, lambda m: m.logits(m(source, given)))[0, last]

  for row in rows:
    source = row['tokens'][row['segment_ids'] > 0][None]
    target = row['targets'][row['target_segments'] > 0]
    for t in range(len(target)):
      # What follows is not there; one length is compiled for.
      given = np.array([[first, *target[:t]] + [0] * (5 - t)])
      logits = np.asarray(forward(source, given, t), np.float64)
      by_hand += np.log(np.exp(logits).sum()) - logits[target[t]]
  np.testing.assert_allclose(total, by_hand, rtol=1e-5)
