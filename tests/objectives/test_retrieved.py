"""Passages in front of a row, and what an answer that is planted there does."""

import jax
import numpy as np
import optax
import pytest

from ctxlm.models import reader, transformer
from ctxlm.models.variables import make_apply
from ctxlm.objectives import retrieved
from ctxlm.objectives.task import Task, init_params

SHAPE = dict(
  vocab_size=8, hidden_size=16, num_layers=1, num_heads=2, max_length=12
)
LENGTH = 4
OBJECTIVE = retrieved.Objective(
  passages=1, passage_length=LENGTH + 1, max_length=LENGTH
)


def draw(seed, size=16, shift=0):
  """Returns a batch of random rows; the passage is row i + shift's text."""
  text = np.random.default_rng(seed).integers(0, 8, (size, LENGTH + 1))
  ones = np.ones((size, LENGTH), np.int32)
  return {
    'tokens': text[:, :-1],
    'targets': text[:, 1:],
    'segment_ids': ones,
    'positions': ones * np.arange(LENGTH, dtype=np.int32),
    'weights': ones.astype(np.float32),
    'passages': np.roll(text, shift, 0)[:, None],
    'passage_ids': np.ones((size, 1, LENGTH + 1), np.int32),
    'valid': np.ones(size, np.float32),
    'index': np.arange(size, dtype=np.int32),
  }


@pytest.mark.parametrize('reading', ['gate', 'output'])
def test_an_answer_in_a_passage_lowers_the_loss(reading):
  model = reader.Model(**SHAPE, reading=reading, passage_encoder_layers=0)
  first = {'text': draw(0)}
  apply, tx = make_apply(model), optax.adam(3e-2)
  key, tasks = jax.random.key(0), [Task('text', OBJECTIVE)]
  params = jax.jit(lambda: init_params(model, tasks, first, key))()
  batches = stack(draw(i) for i in range(100))
  judged = stack(draw(1000, shift=i) for i in range(2))

  def loss(params, batch):
    sums = OBJECTIVE.loss(apply, params, batch, None)
    return sums['loss'][0] / sums['loss'][1], sums

  def step(carry, batch):
    params, state = carry
    grads, sums = jax.grad(loss, has_aux=True)(params, batch)
    updates, state = tx.update(grads, state)
    return (optax.apply_updates(params, updates), state), sums

  @jax.jit
  def trained(params, batches, judged):
    (params, _), _ = jax.lax.scan(step, (params, tx.init(params)), batches)
    # No update: what is planted, and what was planted for another row.
    return jax.lax.scan(lambda p, b: (p, loss(p, b)), params, judged)[1]

  (right, wrong), sums = trained(params, batches, judged)
  assert right < wrong - 0.3 and right < np.log(8) - 0.3
  gate, count = (x[0] for x in sums['gate'])
  assert count == 16 * LENGTH and 0 < gate / count < 1


def stack(batches):
  return jax.tree.map(lambda *x: np.stack(x), *batches)


def test_passages_in_front_equal_one_text():
  """They end where the row begins, whatever padding they have."""
  model = transformer.Model(**SHAPE, position='alibi')
  row = draw(0, 2) | {
    'segment_ids': np.array([[1, 1, 2, 2], [1] * 4], np.int32),
    'positions': np.array([[0, 1, 0, 1], [*range(4)]], np.int32),
    'passages': np.array([[[5, 0], [6, 0]], [[0] * 2] * 2]),
    'passage_ids': np.array([[[1, 0], [1, 0]], [[0] * 2] * 2]),
  }
  names = 'tokens', 'segment_ids', 'positions', 'passages', 'passage_ids'
  whole = retrieved.in_front(*(row[name] for name in names))
  np.testing.assert_array_equal(
    whole['positions'], [[0, 0, 0, 1, 2, 3, 0, 1], [0] * 5 + [1, 2, 3]]
  )
  t = row['tokens']
  alone = np.array([[5, 6, *t[0, :2]], [*t[0, 2:], 0, 0], t[1]])

  @jax.jit
  def both(key):
    params = model.init(key, alone)['params']
    apply = make_apply(model)
    return (
      apply(params, lambda m: OBJECTIVE.outputs(m, row)),
      apply(params, lambda m: m.logits(m(alone))),
      OBJECTIVE.loss(apply, params, row, None),
    )

  found, want, sums = both(jax.random.key(0))
  logps = jax.nn.log_softmax(found)
  picked = np.take_along_axis(logps, row['targets'][..., None], -1)
  np.testing.assert_allclose(sums['loss'][0], -picked.sum(), rtol=1e-5)
  assert sums['loss'][1] == 2 * LENGTH and 'gate' not in sums
  np.testing.assert_allclose(found[0, :2], want[0, 2:], atol=1e-5)
  np.testing.assert_allclose(found[0, 2:], want[1, :2], atol=1e-5)
  np.testing.assert_allclose(found[1], want[2], atol=1e-5)


def test_passages_are_of_plain_text():
  with pytest.raises(ValueError, match="for kind='text'"):
    retrieved.Objective(kind='dialogue')
