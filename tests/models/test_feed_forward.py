"""Bengio's network against its equation, and how it writes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ctxlm import config, plugins
from ctxlm.decoding import generator
from ctxlm.errors import UserError
from ctxlm.models import feed_forward
from ctxlm.objectives import task as task_lib
from ctxlm.training import fit
from tests.decoding import checkpoints
from tests.decoding.whole import Whole

V = 17


def build(order=4, direct=True):
  model = feed_forward.Model(
    vocab_size=V, order=order, embedding_size=6, hidden_size=9, direct=direct
  )
  params = model.init(
    jax.random.key(0),
    jnp.zeros((1, 2), jnp.int32),
    method=lambda m, x: m.logits(m(x)),
  )['params']
  rng = np.random.default_rng(0)  # biases that matter, too
  return model, jax.tree.map(
    lambda x: x + 0.5 * rng.standard_normal(x.shape, np.float32), params
  )


def equation(params, history, order, direct):
  """y = b + W x + U tanh(d + H x) of the tokens so far, in float64."""
  table = np.asarray(params['token_embed']['embedding'], np.float64)
  zeros = np.zeros(table.shape[1])
  x = [table[i] for i in history[::-1][: order - 1]]
  x = np.concatenate(x + [zeros] * (order - 1 - len(x)))
  d, h = (np.asarray(params['up'][k], np.float64) for k in ('bias', 'kernel'))
  hidden = np.tanh(d + x @ h)
  u = np.asarray(params['lm_head']['kernel'], np.float64)
  y = params['lm_head']['bias'] + hidden @ u[: len(hidden)]
  return y + x @ u[len(hidden) :] if direct else y


@pytest.mark.parametrize('order, direct', [(2, True), (4, False), (5, True)])
def test_is_the_equation_in_each_segment(order, direct):
  model, params = build(order, direct)
  tokens = np.random.default_rng(1).integers(0, V, (2, 9))
  segments = np.array([[1] * 9, [1, 1, 1, 2, 2, 2, 2, 0, 0]])

  @jax.jit
  def run(params):
    return model.apply(
      {'params': params},
      method=lambda m: m.logits(
        m(jnp.asarray(tokens), segment_ids=jnp.asarray(segments))
      ),
    )

  got = np.asarray(run(params))
  for row in range(2):
    for t in range(9 if row == 0 else 7):
      same = segments[row, : t + 1] == segments[row, t]
      history = tokens[row, : t + 1][same].tolist()
      want = equation(params, history, order, direct)
      np.testing.assert_allclose(got[row, t], want, atol=1e-4)


def test_writes_as_repeated_full_passes():
  model, params = build()
  rng = np.random.default_rng(2)
  prompts = [rng.integers(2, V, n).tolist() for n in (3, 19, 1)]
  config = checkpoints.config(
    {'name': 'sample'}, max_new_tokens=8, num_samples=3, seed=5
  )
  found = [
    generator.Generator(generator.Writer(m, params, None, (1,), 0), config)(
      prompts
    )
    for m in (model, Whole(model))
  ]
  ours, whole = ([[x['tokens'] for x in row] for row in f] for f in found)
  assert ours == whole
  assert len({tuple(t) for texts in ours for t in texts}) > 3


@pytest.mark.parametrize(
  'name, fits',
  [
    ('causal', True),
    ('classification', False),
    ('contrastive', False),
    ('mlm', False),
    ('multiple_choice', False),
    ('span', False),
    ('tagging', False),
  ],
)
def test_heads_that_are_of_a_transformers_options_are_refused(name, fits):
  c = config.base()
  c.model = {'name': 'feed_forward'}
  task = task_lib.Task('t', plugins.build('objectives', {'name': name}))
  if fits:
    fit.check_parts(c, build()[0], [task])
    return
  with pytest.raises(UserError, match="config.model.name='feed_forward' has"):
    fit.check_parts(c, build()[0], [task])
