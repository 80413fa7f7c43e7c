import jax
import numpy as np

from experiments import induction, markov
from tests.experiments import common


def test_smoke(tmp_path):
  found = common.smoke('induction', tmp_path / 'dir')
  for point in found['points'].values():
    last = point['last']
    assert np.isfinite(last['eval/theory/loss'])
    assert 0 < last['eval/theory/previous'] < 1
    if 'eval/theory/bigram_loss' in last:
      assert last['eval/theory/bigram_kl'] > 0


def batch(**options):
  source = markov.Source(**options)
  keys = jax.random.split(jax.random.key(0), source.num_examples)
  return jax.device_get(jax.jit(jax.vmap(source.example))(keys))


def test_chains_follow_theory():
  found = batch(length=60, num_examples=2000)
  tokens, targets = found['tokens'], found['targets']
  np.testing.assert_array_equal(tokens[:, 1:], targets[:, :-1])
  # Bayes' predictor is calibrated on such chains: its mean log-loss is its
  # mean entropy, and a uniform prior over rows gives each symbol alike.
  line = induction.theory.bigram_in_context(tokens, 3)
  nats = -np.log(np.take_along_axis(line, targets[..., None], -1))[..., 0]
  entropy = -(line * np.log(line)).sum(-1)
  gap = (nats - entropy).mean(1)
  assert abs(gap.mean()) < 4 * gap.std() / len(gap) ** 0.5
  # Started from the stationary distribution, the first symbol is like others.
  first = (tokens[:, 0] == targets[:, -1]).mean()
  assert first > 1 / 3 + 0.05  # not drawn uniformly, whatever the chain


def test_triggers_have_one_output_a_sequence():
  found = batch(kind='trigger', num_symbols=16, length=80, num_examples=50)
  _, _, order = markov.fixed_chain(16)
  seen_at = 0
  for tokens, targets, asked in zip(
    found['tokens'], found['targets'], found['asked']
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


def test_heads_scores_by_hand():
  tokens = np.array([[5, 7, 5, 9]])
  weights = np.zeros((1, 1, 4, 4))
  weights[0, 0, [1, 2, 3], [0, 1, 2]] = [0.5, 0.25, 1.0]

  def sown(*layers):
    return {
      'stack': {
        f'layers_{i}': {'attention': {'attention': (w,)}}
        for i, w in enumerate(layers)
      }
    }

  found = induction.heads(tokens, sown(weights))
  assert found['previous'] == np.mean([0.5, 0.25, 1.0])
  # Only place 2 (a 5) follows an earlier copy, whose next token is place 1.
  assert found['prefix'] == 0.25
  # The first layer looks back, the last one at what followed.
  found = induction.heads(tokens, sown(weights, 0 * weights, 2 * weights))
  assert found == {'previous': np.mean([0.5, 0.25, 1.0]), 'prefix': 0.5}


def rows(own, one=0.12, late=300, recall=0.95):
  step = np.arange(25, 1201, 25)
  two = own['num_layers'] == 2
  done = 1 / (1 + np.exp(-(step - 300) / 20)) if two else 0 * step
  rose = 1 / (1 + np.exp(-(step - late) / 20)) if two else 0 * step
  return [
    {
      'step': int(s),
      'eval/theory/loss': 0.88 + one * (1 - d) + 0.01,
      'eval/theory/bigram_loss': 0.88,
      'eval/theory/unigram_loss': 1.0,
      'eval/theory/unigram_kl': 0.02 + 0.1 * d,
      'eval/theory/bigram_kl': 0.12 - 0.1 * d,
      'eval/theory/previous': 0.05 + 0.6 * r,
      'eval/theory/prefix': 0.4 + 0.4 * r,
      'eval/theory/recall': recall if two else 0.5,
    }
    for s, d, r in zip(step, done, rose)
  ]


def test_criteria(tmp_path):
  assert common.verdicts(induction, rows) == ['reproduced'] * 4

  def weak(own):
    return rows(own, one=0.06, late=500, recall=0.8)

  assert common.verdicts(induction, weak) == [
    'direction only',  # one layer is too good
    'reproduced',
    'direction only',  # 200 steps apart
    'direction only',
  ]

  def none(own):
    return rows({'num_layers': 1})

  assert common.verdicts(induction, none) == ['not reproduced'] * 2 + [
    'not reproduced',  # nothing moves, at the same step
    'not reproduced',
  ]
  assert common.verdicts(induction, rows, done=False) == ['unfinished'] * 4
  common.draw(induction, rows, tmp_path)
