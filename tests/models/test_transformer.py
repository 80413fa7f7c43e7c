"""The stack's properties: what it sees, and that its variants agree."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ctxlm.models import encoder_decoder, layers, positions, transformer

SHAPE = dict(vocab_size=30, hidden_size=16, num_layers=2, num_heads=4)
LENGTH = 7


def stack_jacobian(segment_ids=None, **more):
  """Returns whether output l depends on input k: bool [l, k]."""
  o = transformer.Options(**(SHAPE | more))
  stack = layers.Stack(o, o.num_layers, causal=o.causal)
  x = jax.random.normal(jax.random.key(0), (1, LENGTH, 16))
  call = {'positions': jnp.arange(LENGTH)[None], 'segment_ids': segment_ids}
  init = jax.jit(lambda key: stack.init(key, x, **call))
  variables = init(jax.random.key(1))

  @jax.jit
  @jax.jacobian
  def jacobian(x):
    return stack.apply(variables, x, **call)[0]

  return np.abs(jacobian(x)[:, :, 0]).max((1, 3)) > 0


@pytest.mark.parametrize('position', positions.SCHEMES)
def test_causality_by_gradient(position):
  seen = stack_jacobian(position=position, num_kv_heads=2)
  np.testing.assert_array_equal(seen, np.tri(LENGTH, dtype=bool))


def test_window_of_two_layers_by_gradient():
  # Each layer sees itself and the two before: two layers see four back.
  seen = stack_jacobian(window=3)
  l, k = np.indices((LENGTH, LENGTH))
  np.testing.assert_array_equal(seen, (k <= l) & (l - k <= 4))


def test_encoder_sees_all_by_gradient():
  assert stack_jacobian(causal=False, norm_position='post').all()


@pytest.mark.parametrize('causal', [True, False])
def test_no_attention_across_packed_documents_by_gradient(causal):
  ids = jnp.array([[1, 1, 1, 2, 2, 3, 3]])
  seen = stack_jacobian(ids, causal=causal)
  same = np.asarray(ids[0][:, None] == ids[0][None])
  np.testing.assert_array_equal(
    seen, same & np.tri(7, dtype=bool) if causal else same
  )


@pytest.mark.parametrize('position', positions.SCHEMES)
def test_packed_documents_equal_each_alone(position):
  model = transformer.Model(**SHAPE, position=position)
  tokens = np.random.default_rng(0).integers(0, 30, (1, 9))
  segments = np.array([[1, 1, 1, 1, 2, 2, 2, 2, 2]])
  places = np.array([[0, 1, 2, 3, 0, 1, 2, 3, 4]])
  variables = jax.jit(model.init)(jax.random.key(0), tokens)
  apply = jax.jit(model.apply)
  packed = apply(variables, tokens, segment_ids=segments, positions=places)
  for part in (slice(0, 4), slice(4, 9)):
    alone = apply(variables, tokens[:, part])
    np.testing.assert_allclose(packed[:, part], alone, atol=1e-5)


def gradients(model, params, tokens):
  def loss(params):
    def logits(model):
      return model.logits(model(tokens, rows=jnp.arange(2)))

    rngs = {'dropout': jax.random.key(3)}
    out = model.apply({'params': params}, rngs=rngs, method=logits)
    return jax.nn.log_softmax(out)[..., 5].sum()

  return jax.jit(jax.value_and_grad(loss))(params)


@pytest.mark.slow
@pytest.mark.parametrize('remat', ['full', 'dots'])
def test_rematerialised_layers_have_the_same_gradients(remat):
  tokens = np.random.default_rng(0).integers(0, 30, (2, 6))
  plain = transformer.Model(**SHAPE, dropout=0.2)
  params = jax.jit(plain.init)(jax.random.key(0), tokens)['params']
  want = gradients(plain, params, tokens)
  found = gradients(plain.clone(remat=remat), params, tokens)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6),
    found,
    want,
  )


def test_scanned_layers_equal_unrolled():
  tokens = np.random.default_rng(0).integers(0, 30, (2, 6))
  plain = transformer.Model(**SHAPE)
  params = jax.jit(plain.init)(jax.random.key(0), tokens)['params']
  stack = dict(params['stack'])
  blocks = [stack.pop(f'layers_{i}') for i in range(2)]
  stack['layers'] = jax.tree.map(lambda *x: jnp.stack(x), *blocks)
  scanned = plain.clone(scan_layers=True)
  np.testing.assert_allclose(
    scanned.apply({'params': params | {'stack': stack}}, tokens),
    plain.apply({'params': params}, tokens),
    atol=1e-5,
  )


RATES = ('dropout', 'attention_dropout', 'mlp_dropout', 'output_dropout')


@pytest.mark.parametrize('rate', RATES)
def test_every_dropout_acts_in_training_only(rate):
  tokens = np.random.default_rng(0).integers(0, 30, (2, 6))
  plain = transformer.Model(**SHAPE)
  params = plain.init(jax.random.key(0), tokens)
  model = plain.clone(**{rate: 0.3})

  def run(key):
    rngs = {'dropout': jax.random.key(key)}
    return model.apply(params, tokens, rows=jnp.arange(2), rngs=rngs)

  want = plain.apply(params, tokens)
  np.testing.assert_array_equal(model.apply(params, tokens), want)
  assert abs(run(0) - want).max() > 1e-3
  assert abs(run(0) - run(1)).max() > 1e-3
  np.testing.assert_array_equal(run(0), run(0))


def test_bfloat16_stays_near_float32():
  tokens = np.random.default_rng(0).integers(0, 30, (2, 64))
  plain = transformer.Model(**SHAPE)
  params = jax.jit(plain.init)(jax.random.key(0), tokens)
  half = plain.clone(dtype='bfloat16')
  assert all(
    x.dtype == jnp.float32
    for x in jax.tree.leaves(
      jax.eval_shape(half.init, jax.random.key(0), tokens)
    )
  )
  a, b = (jax.jit(m.apply)(params, tokens) for m in (plain, half))
  assert b.dtype == jnp.bfloat16
  # The last norm's outputs are of size 1; bfloat16 has 8 bits.
  error = np.abs(np.asarray(a - b.astype(jnp.float32)))
  assert 1e-4 < error.mean() < 0.01 and error.max() < 0.1


def test_decoder_sees_the_source_of_its_own_segment():
  model = encoder_decoder.Model(**SHAPE)
  rng = np.random.default_rng(0)
  source, target = rng.integers(0, 30, (1, 8)), rng.integers(0, 30, (1, 5))
  ids = dict(
    segment_ids=np.array([[1, 1, 1, 2, 2, 2, 2, 2]]),
    positions=np.array([[0, 1, 2, 0, 1, 2, 3, 4]]),
    decoder_segment_ids=np.array([[1, 1, 2, 2, 2]]),
    decoder_positions=np.array([[0, 1, 0, 1, 2]]),
  )
  variables = jax.jit(model.init)(jax.random.key(0), source, target)
  apply = jax.jit(model.apply)
  packed = apply(variables, source, target, **ids)
  for s, t in ((slice(0, 3), slice(0, 2)), (slice(3, 8), slice(2, 5))):
    alone = apply(variables, source[:, s], target[:, t])
    np.testing.assert_allclose(packed[:, t], alone, atol=1e-5)
