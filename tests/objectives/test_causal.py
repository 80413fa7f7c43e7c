import numpy as np

from ctxlm.objectives.causal import Objective


def example():
  return {
    'tokens': np.array([4, 7, 8, 4, 9, 6, 0], np.int32),
    'segment_ids': np.array([1, 1, 1, 2, 2, 2, 0], np.int32),
    'positions': np.array([0, 1, 2, 0, 1, 2, 0], np.int32),
  }


def test_targets_stop_at_the_document():
  out = Objective().prepare(example(), np.random.default_rng(0))
  np.testing.assert_array_equal(out['weights'], [1, 1, 0, 1, 1, 0, 0])
  used = out['weights'] > 0
  np.testing.assert_array_equal(out['targets'][used], [7, 8, 9, 6])


def test_prefix_is_seen_and_not_predicted():
  objective = Objective(prefix=0.99)
  seen = set()
  for seed in range(40):
    out = objective.prepare(example(), np.random.default_rng(seed))
    inside = out['prefix']
    for first in (0, 3):
      n = int(inside[first : first + 3].sum())
      assert inside[first : first + n].all()  # a prefix, without holes
      want = [1.0 if j + 1 >= n else 0.0 for j in range(2)] + [0.0]
      np.testing.assert_array_equal(out['weights'][first : first + 3], want)
      seen.add(n)
  assert seen == {0, 1, 2}


def test_chain_rule_by_hand():
  """The loss is -sum log p(x_t | x_<t), each factor looked up in a table."""
  rng = np.random.default_rng(0)
  table = rng.dirichlet(np.ones(10), size=10)  # p(next | token)
  batch = Objective().prepare(example(), rng)
  batch = {k: v[None] for k, v in batch.items()}
  batch['valid'] = np.ones(1, np.float32)
  logits = np.log(table)[batch['tokens']]
  found = Objective().loss(lambda *_: logits, None, batch, None)
  want = -np.log(table[4, 7] * table[7, 8] * table[4, 9] * table[9, 6])
  np.testing.assert_allclose(found['loss'][0], want, rtol=1e-5)
  assert found['loss'][1] == 4
