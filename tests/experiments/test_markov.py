import jax
import numpy as np

from ctxlm.experiments import markov, theory


def batch(**options):
  source = markov.Source(**options)
  keys = jax.random.split(jax.random.key(0), source.num_examples)
  return jax.device_get(jax.jit(jax.vmap(source.example))(keys))


def test_chains_follow_theory():
  sequences = batch(length=60, num_examples=2000)
  tokens, targets = sequences['tokens'], sequences['targets']
  np.testing.assert_array_equal(tokens[:, 1:], targets[:, :-1])
  # Bayes' predictor is calibrated on such chains: its mean log-loss is its
  # mean entropy, and a uniform prior over rows gives each symbol alike.
  line = theory.bigram_in_context(tokens, 3)
  nats = -np.log(np.take_along_axis(line, targets[..., None], -1))[..., 0]
  entropy = -(line * np.log(line)).sum(-1)
  gap = (nats - entropy).mean(1)
  assert abs(gap.mean()) < 4 * gap.std() / len(gap) ** 0.5
  # Started from the stationary distribution, the first symbol is like others.
  first = (tokens[:, 0] == targets[:, -1]).mean()
  assert first > 1 / 3 + 0.05  # not drawn uniformly, whatever the chain


def test_triggers_have_one_output_a_sequence():
  sequences = batch(kind='trigger', num_symbols=16, length=80, num_examples=50)
  _, _, order = markov.fixed_chain(16)
  seen_at = 0
  for tokens, targets, asked in zip(
    sequences['tokens'], sequences['targets'], sequences['asked']
  ):
    output = {}
    for token, target, is_asked in zip(tokens, targets, asked):
      trigger = token in order[:5]
      assert is_asked == (trigger and token in output)
      if is_asked:
        assert output[token] == target
        seen_at += 1
      if trigger:
        assert target not in order[:5]
        output[token] = target
  assert seen_at > 500
