"""Ways of reading passages: against numpy, what is seen, and what is kept."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ctxlm.models import reader
from ctxlm.models.decoder import Prompts
from tests.models.test_layers import init, randomised, softmax

READINGS = ('gate', 'output')  # cross-attention is a gate's
SHAPE = dict(
  vocab_size=20,
  hidden_size=8,
  num_layers=1,
  num_heads=2,
  passage_encoder_layers=1,
  max_length=16,
  tie_embeddings=False,
)
TOKENS = np.array([[0, 1, 2, 3, 4, 5], [5, 4, 3, 2, 1, 0]])
PASSAGES = np.arange(6, 14).reshape(1, 2, 4).repeat(2, 0)
IDS = np.array([[[1, 1, 1, 1], [1, 1, 0, 0]], [[0] * 4] * 2])


def make(reading):
  """Returns (model, random parameters)."""
  model = reader.Model(**SHAPE, reading=reading)
  shapes = jax.eval_shape(
    lambda: model.init(jax.random.key(0), method=beside(TOKENS))
  )
  return model, randomised(shapes['params'])


def beside(tokens, segment_ids=None):
  """Returns a method: log p [b, l, v] after tokens [b, l]."""
  if segment_ids is None:
    segment_ids = np.ones_like(tokens)
  positions = np.arange(tokens.shape[1])[None]

  def method(model):
    hidden, gates = model.read_beside(
      tokens,
      PASSAGES[: len(tokens)],
      IDS[: len(tokens)],
      segment_ids=segment_ids,
      positions=positions,
    )
    return jax.nn.log_softmax(model.logits(hidden)), gates

  return method


@pytest.mark.parametrize('causal', [True, False])
def test_what_the_encoder_of_passages_sees(causal):
  model = reader.Model(**SHAPE, passage_encoder_causal=causal)
  init = model.init(jax.random.key(0), method=beside(TOKENS))
  places, ids = np.arange(4)[None], np.ones((1, 4), int)

  def read(passage):
    def method(m):
      x = m.inputs(np.array([passage]), places, None, None)
      return m.passage_encoder(x, segment_ids=ids, positions=places, rows=None)

    return model.apply({'params': randomised(init['params'])}, method=method)

  apart = np.abs(read([6, 7, 8, 9]) - read([6, 7, 8, 10])).max((0, 2))
  assert apart[3] > 0.01 and (apart[:3] > 0).all() == (not causal)
  assert (apart[:3] == 0).all() == causal


def sigmoid(x):
  return 1 / (1 + np.exp(-x))


@pytest.mark.parametrize('reading', ['cross_attention', 'gate'])
def test_crossing_equals_numpy(reading):
  """h + c, or g h + (1 - g) c with g = sigmoid(W [h; c] + b)."""
  o = reader.Options(hidden_size=8, num_heads=2, reading=reading)
  rng = np.random.default_rng(1)
  x, memory = rng.normal(size=(2, 3, 8)), rng.normal(size=(2, 5, 8))
  ids = np.array([[1, 1, 1, 0, 1], [0] * 5])
  segments = np.array([[1, 1, 2], [1, 1, 1]])
  module = reader.Crossing(o)
  p = init(module, x, memory, ids, segments, None, None)
  y = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
  y = y * p['norm']['scale'] + p['norm']['bias']
  a, heads = p['attention'], []
  for i in range(2):
    q, k, v = (
      s @ a[n]['kernel'][:, i] + a[n]['bias'][i]
      for n, s in (('query', y), ('key', memory), ('value', memory))
    )
    scores = q @ k.swapaxes(1, 2) / 2
    scores[:, :, 3] = -np.inf
    heads.append(softmax(scores) @ v)
  c = np.concatenate(heads, -1) @ a['out']['kernel'].reshape(8, 8)
  c += a['out']['bias']
  want, gates = x + c, None
  if reading == 'gate':
    w = p['gate']
    g = sigmoid(np.concatenate([x, c], -1) @ w['kernel'] + w['bias'])
    want, gates = g * x + (1 - g) * c, g.mean(-1)
  run = jax.jit(lambda p: module.apply(p, x, memory, ids, segments, None, None))
  out, found = run({'params': p})
  np.testing.assert_allclose(out[0, :2], want[0, :2], rtol=1e-4, atol=1e-4)
  np.testing.assert_array_equal(out[0, 2], x[0, 2].astype(np.float32))
  np.testing.assert_array_equal(out[1], x[1].astype(np.float32))
  if gates is not None:
    np.testing.assert_allclose(found[0, :2], gates[0, :2], atol=1e-5)
    assert (found[0, 2] == 1) and (found[1] == 1).all()


def test_likeness_equals_numpy():
  """g p + (1 - g) q, q(x) ~ sum_k 1{x = x_k} exp(s h . h_k / sqrt(m))."""
  rng = np.random.default_rng(2)
  x, keys = rng.normal(size=(1, 3, 8)), rng.normal(size=(1, 4, 8))
  p = softmax(rng.normal(size=(1, 3, 6)))
  tokens = np.array([[2, 5, 2, 0]])
  seen = np.array([[[1, 1, 1, 0], [1, 1, 1, 0], [0] * 4]], bool)
  module = reader.Likeness(reader.Options(hidden_size=8))
  own = init(module, x, np.log(p), keys, tokens, seen)
  shares = softmax(own['scale'] * (x @ keys.swapaxes(1, 2))[..., :3] / 8**0.5)
  q = np.zeros_like(p)
  for k in range(3):
    q[:, :, tokens[0, k]] += shares[..., k]
  g = sigmoid(x @ own['gate']['kernel'] + own['gate']['bias'])
  want = g * p + (1 - g) * q
  run = jax.jit(lambda own: module.apply(own, x, np.log(p), keys, tokens, seen))
  found, gates = run({'params': own})
  np.testing.assert_allclose(np.exp(found[0, :2]), want[0, :2], atol=1e-5)
  np.testing.assert_allclose(np.exp(found[0, 2]), p[0, 2], atol=1e-5)
  np.testing.assert_allclose(gates[0, :2], g[0, :2, 0], atol=1e-5)


@pytest.mark.parametrize('reading', READINGS)
def test_what_is_seen_by_gradient(reading):
  """A token sees those before it, and the passages if it is of segment 1."""
  model, params = make(reading)
  segments = np.array([[1, 1, 1, 1, 2, 2]])

  @jax.jit
  @jax.jacrev
  def jacobian(table):
    embed = {'token_embed': {'embedding': table}}
    whole = params | {'inputs': params['inputs'] | embed}
    method = beside(TOKENS[:1], segments)
    logps, _ = model.apply({'params': whole}, method=method)
    return logps[0, :, 7]

  table = params['inputs']['token_embed']['embedding']
  seen = np.abs(jacobian(table)).max(-1) > 0
  own = np.tri(6, dtype=bool)
  own[4:, :4] = False
  np.testing.assert_array_equal(seen[:, :6], own)
  theirs = np.zeros((6, 8), bool)
  theirs[:4, :6] = True  # the last two are padding
  if reading == 'output':
    theirs[:, [3, 5]] = False  # states that nothing follows
  np.testing.assert_array_equal(seen[:, 6:14], theirs)
  assert not seen[:, 14:].any()


@pytest.mark.parametrize('reading', READINGS)
def test_writing_on_keeps_what_was_read_of_the_passages(reading):
  model, params = make(reading)

  @jax.jit
  def both(params):
    whole, gates = model.apply({'params': params}, method=beside(TOKENS))
    plain = model.apply(
      {'params': params},
      method=lambda m: jax.nn.log_softmax(m.logits(m(TOKENS))),
    )
    prompts = Prompts(
      jnp.pad(TOKENS[:, :3], [(0, 0), (1, 0)]), jnp.ones(2, jnp.int32),
      PASSAGES, IDS, ahead=4,
    )  # fmt: skip
    first, cache = model.begin(params, prompts)

    def step(cache, tokens):
      logits, cache = model.advance(params, tokens[:, None], cache)
      return cache, logits[:, 0]

    _, more = jax.lax.scan(step, cache, jnp.array(TOKENS.T[3:5]))
    steps = jnp.stack([first, *more], 1)
    return whole, plain, jax.nn.log_softmax(steps), gates

  whole, plain, steps, gates = both(params)
  np.testing.assert_allclose(steps, whole[:, 2:5], atol=1e-4)
  np.testing.assert_allclose(whole[1], plain[1], atol=1e-5)
  assert np.abs(whole[0] - plain[0]).max() > 1e-2
  if gates is not None:
    assert ((gates[0] > 0) & (gates[0] < 1)).all() and (gates[1] == 1).all()


@pytest.mark.parametrize(
  'options, wanted',
  [
    ({'passage_layers': (1, 5)}, 'has 5, and the layers are 1 to num_layers=1'),
    ({'scan_layers': True}, 'scan_layers makes all layers one'),
    ({'causal': False}, 'is causal'),
  ],
)
def test_what_cannot_be_read_is_said(options, wanted):
  with pytest.raises(ValueError, match=wanted):
    reader.Model(**(SHAPE | options))
