"""GINC's documents and prompts."""

import jax
import numpy as np
import pytest

from ctxlm.experiments import bayes, concepts

SOURCE = concepts.Source(
  symbols=12, values=3, slots=4, concepts=2, length=60, num_examples=300
)


def test_what_all_documents_share():
  made = concepts.world(SOURCE)
  for moves in (*made.slot_moves, made.value_moves, *made.transitions):
    # As often into every state as out of it.
    np.testing.assert_allclose(moves.sum(0), 1)
    np.testing.assert_allclose(moves.sum(1), 1)
  assert (np.diag(made.value_moves) >= 0.9).all()
  assert (made.table[:, 0] == 0).all() and (made.table[:, 1:] > 0).all()
  assert made.table.max() < 12
  state = 2 * 4 + 3  # value 2, slot 3
  assert made.emission(12)[state].argmax() == made.table[2, 3]
  assert made.transitions[1][state, 1 * 4 + 2] == pytest.approx(
    made.value_moves[2, 1] * made.slot_moves[1][3, 2]
  )
  assert (made.starts.sum(1) == pytest.approx(1)) and (
    made.starts[:, ::4] == 0
  ).all()


def test_documents_are_of_these_models():
  keys = jax.random.split(jax.random.key(0), 300)
  batch = jax.device_get(jax.jit(jax.vmap(SOURCE.example))(keys))
  tokens, targets = batch['tokens'], batch['targets']
  np.testing.assert_array_equal(tokens[:, 1:], targets[:, :-1])
  made = concepts.world(SOURCE)
  emission = made.emission(12)
  for first in (1, 20, 60):
    line = bayes.next_of_document(
      tokens[:, :first], made.transitions, emission, 0.0
    )
    # Bayes' predictor is calibrated: its mean log-loss is its mean entropy.
    nats = -np.log(line[np.arange(300), targets[:, first - 1]])
    entropy = -(line * np.log(np.where(line > 0, line, 1))).sum(-1)
    gap = nats - entropy
    assert abs(gap.mean()) < 4 * gap.std() / 300**0.5


def test_prompts():
  made = concepts.prompts(SOURCE, 3, 4, 200)
  assert made['examples'].shape == (200, 4, 3)
  two = concepts.written(made, 2)
  np.testing.assert_array_equal(two[:, :3], made['examples'][:, 2])
  assert (two[:, 3] == 0).all() and (two[:, 7] == 0).all()
  np.testing.assert_array_equal(two[:, 8:], made['query'])
  np.testing.assert_array_equal(concepts.written(made, 0), made['query'])
  whole = concepts.world(SOURCE)
  said = bayes.label_of_examples(
    made['examples'],
    made['query'],
    whole.starts,
    whole.transitions,
    whole.emission(12),
  )
  # To whom knows how they are made the answer is as likely as he says.
  own = said[np.arange(200), :, made['label']]  # [b, n + 1]
  right = said.argmax(-1) == made['label'][:, None]
  np.testing.assert_allclose(
    right.mean(0), said.max(-1).mean(0), atol=4 * 0.5 / 200**0.5
  )
  assert own[:, 4].mean() > own[:, 0].mean()
  # No example begins with the delimiter.
  assert (made['examples'][..., 0] > 0).all()
