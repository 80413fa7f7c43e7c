"""Adapters around models, ours and another's, against their formulas."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ctxlm import trees
from ctxlm.errors import UserError
from ctxlm.models import adapters, attention, decoder
from ctxlm.models.adapters import houlsby, lora

TOKENS = np.array([[3, 4, 5, 6], [7, 3, 9, 2]])
BLOCK = {
  'name': 'transformer',
  'hidden_size': 8,
  'num_layers': 2,
  'num_heads': 2,
  'vocab_size': 11,
  'max_length': 8,
}
BOTH = BLOCK | {'name': 'encoder_decoder', 'num_layers': 1}
LSTM = BLOCK | {'name': 'recurrent', 'num_heads': 1}


def run(model):
  tokens = jnp.asarray(TOKENS)
  if model.encoder_decoder:
    return model.logits(model(tokens, tokens))
  return model.logits(model(tokens))


def built(block, adapt):
  """Returns (adapted model, shapes and types of its parameters)."""
  model = adapters.build(block, adapt)
  return model, begun(model, jax.eval_shape)[1]


def begun(model, how=lambda f, key: jax.jit(f)(key)):
  """Returns (logits, fresh parameters)."""
  out, made = how(
    lambda k: model.init_with_output(k, method=run), jax.random.key(0)
  )
  return out, made['params']


def applied(model, params):
  """Returns logits."""
  return jax.jit(lambda p: model.apply({'params': p}, method=run))(params)


def redrawn(params, std=0.3):
  rng = np.random.default_rng(0)
  return trees.map_with_name(
    lambda name, x: rng.normal(size=x.shape).astype('float32') * std, params
  )


@pytest.mark.parametrize(
  ('block', 'adapt', 'path'),
  [
    (BLOCK, {'name': 'lora'}, 'stack/layers_1/attention/value/lora/b'),
    (
      BLOCK | {'scan_layers': True, 'remat': 'full'},
      {'name': 'lora', 'target': 'stack/'},
      'stack/layers/attention/out/lora/a',
    ),
    (BOTH, {'name': 'houlsby'}, 'decoder/layers_0/mlp/adapter/up/kernel'),
    (
      LSTM,
      {'name': 'lora', 'target': 'mixer/input'},
      'stack/layers_0/mixer/input/lora/a',
    ),
    (LSTM, {'name': 'houlsby'}, 'stack/layers_1/mixer/adapter/down/bias'),
  ],
)
def test_a_model_begins_as_what_it_was(block, adapt, path):
  model = adapters.build(block, adapt)
  out, params = begun(model)
  bare = adapters.bare(model)
  assert type(bare) is type(adapters.build(block))
  want, body = begun(bare)
  # Compiled, zeros that are added may change how the rest is rounded.
  np.testing.assert_allclose(out, want, atol=1e-7)
  found, body = trees.flatten(params), trees.flatten(body)
  for name, x in body.items():
    np.testing.assert_allclose(found[name], x, 1e-6, err_msg=name)
  assert path in found.keys() - body.keys()
  frozen = adapters.frozen(model.adapter, params)
  assert frozen <= body.keys() and path not in frozen
  if adapt['name'] == 'lora':
    assert frozen == body.keys()


class Own(nn.Module):
  """A model of a researcher's, of which nothing here knows."""

  width: int
  depth: int = 1

  @nn.compact
  def __call__(self, x, rows=None):
    del rows
    return nn.DenseGeneral((2, 3), name='wide')(nn.Dense(self.width)(x))


@pytest.mark.parametrize('rslora', [False, True])
def test_lora_by_hand_in_a_model_of_anothers(rslora):
  adapter = lora.Adapter(4, 6.0, rslora, target='')
  model = adapters.around(Own(width=5), adapter)
  x = np.random.default_rng(1).normal(size=(3, 4)).astype('float32')
  params = redrawn(model.init(jax.random.key(0), x)['params'])
  p, scale = trees.flatten(params), 6 / (2 if rslora else 4)
  first = (
    p['Dense_0/kernel'] + scale * p['Dense_0/lora/a'] @ p['Dense_0/lora/b']
  )
  a, b = p['wide/lora/a'], p['wide/lora/b'].reshape(4, 6)
  second = p['wide/kernel'].reshape(5, 6) + scale * a @ b
  hidden = x @ first + p['Dense_0/bias']
  want = hidden @ second + p['wide/bias'].reshape(6)
  found = model.apply({'params': params}, x)
  np.testing.assert_allclose(found.reshape(3, 6), want, rtol=1e-4)
  alone, own = adapters.merged(model, params)
  assert type(alone) is Own and alone.width == 5
  np.testing.assert_allclose(own['Dense_0']['kernel'], first, rtol=1e-5)
  found = alone.apply({'params': own}, x)
  np.testing.assert_allclose(found.reshape(3, 6), want, rtol=1e-4)


def test_houlsby_by_hand_in_a_model_of_anothers():
  adapter = houlsby.Adapter(2, 'relu', target='Dense_0$')
  model = adapters.around(Own(width=5), adapter)
  x = np.random.default_rng(1).normal(size=(3, 4)).astype('float32')
  params = redrawn(model.init(jax.random.key(0), x)['params'])
  p = trees.flatten(params)
  at = 'Dense_0/adapter'
  h = x @ p['Dense_0/kernel'] + p['Dense_0/bias']
  low = np.maximum(h @ p[f'{at}/down/kernel'] + p[f'{at}/down/bias'], 0)
  h = h + low @ p[f'{at}/up/kernel'] + p[f'{at}/up/bias']
  want = h @ p['wide/kernel'].reshape(5, 6) + p['wide/bias'].reshape(6)
  found = model.apply({'params': params}, x).reshape(3, 6)
  np.testing.assert_allclose(found, want, rtol=1e-4, atol=1e-5)
  with pytest.raises(UserError, match="'adapter' can't be merged"):
    adapters.merged(model, params)


@pytest.mark.parametrize('scan', [False, True])
def test_merged_equals_unmerged(scan):
  model, params = built(
    BLOCK | {'scan_layers': scan}, {'name': 'lora', 'target': 'stack/'}
  )
  params = redrawn(params, 0.2)
  want = applied(model, params)
  alone, own = adapters.merged(model, params)
  found = applied(alone, own)
  np.testing.assert_allclose(found, want, atol=1e-5)
  assert trees.flatten(own).keys() == {
    name for name in trees.flatten(params) if '/lora/' not in name
  }


def test_keys_before_the_others_by_hand():
  """softmax over the trained keys and those that the masks let through."""
  rng = np.random.default_rng(0)
  q, k, v = (rng.normal(size=(1, 3, 2, 4)).astype('float32') for _ in 'qkv')
  first = tuple(rng.normal(size=(2, 2, 4)).astype('float32') for _ in 'kv')
  bias = rng.normal(size=(1, 2, 3, 3)).astype('float32')
  ids = np.array([[1, 1, 2]])
  found = attention.attention(
    q, k, v, bias=bias, causal=True, before=first,
    q_segment_ids=ids, kv_segment_ids=ids,
  )  # fmt: skip
  for h in range(2):
    for i, seen in enumerate([[0], [0, 1], [2]]):
      keys = np.concatenate([first[0][:, h], k[0, seen, h]])
      values = np.concatenate([first[1][:, h], v[0, seen, h]])
      scores = keys @ q[0, i, h] / 2 + np.r_[0, 0, bias[0, h, i, seen]]
      weights = np.exp(scores) / np.exp(scores).sum()
      np.testing.assert_allclose(found[0, i, h], weights @ values, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize('name', ['prefix', 'houlsby', 'lora'])
def test_a_step_at_a_time_equals_a_whole_pass(name):
  """With keys that are kept, of a padded row too, and as `to_write` has it."""
  block = BLOCK | {'num_kv_heads': 1, 'position': 'rotary'}
  model, params = built(block, {'name': name})
  params = redrawn(params)
  want = applied(model, params)
  model, params = model.to_write(params)
  assert isinstance(model, adapters.Adapted) == (name != 'lora')
  padded = np.pad(TOKENS[:, :3], [(0, 0), (2, 0)])
  prompts = decoder.Prompts(padded, jnp.full(2, 2), ahead=1)
  logits, cache = jax.jit(model.begin)(params, prompts)
  np.testing.assert_allclose(logits, want[:, 2], atol=1e-4)
  logits, _ = jax.jit(model.advance)(params, TOKENS[:, 3:], cache)
  np.testing.assert_allclose(logits[:, 0], want[:, 3], atol=1e-4)


@pytest.mark.slow
def test_an_encoder_decoder_writes_with_a_prefix():
  model, params = built(BOTH, {'name': 'prefix', 'length': 3})
  params = redrawn(params)
  assert 'cross_attention' in str(trees.flatten(params).keys())
  want = applied(model, params)
  ones = np.ones_like(TOKENS)
  prompts = decoder.Prompts(TOKENS[:, :1], jnp.zeros(2, int), TOKENS, ones, 3)
  logits, cache = jax.jit(model.begin)(params, prompts)
  np.testing.assert_allclose(logits, want[:, 0], atol=1e-4)
  logits, _ = jax.jit(model.advance)(params, TOKENS[:, 1:2], cache)
  np.testing.assert_allclose(logits[:, 0], want[:, 1], atol=1e-4)


def test_a_prompt_is_vectors_before_the_text():
  block = BLOCK | {'position': 'alibi', 'causal': False}
  model, params = built(block, {'name': 'prompt', 'length': 3})
  params = redrawn(params)
  first = params['stack']['prompt']['vectors']
  bare = adapters.bare(model)

  def by_hand(model):
    embedded = model.inputs(TOKENS, jnp.arange(4)[None], None, None)
    both = jnp.concatenate([jnp.stack([first, first]), embedded], 1)
    return model.stack(both)[:, 3:]

  want = jax.jit(lambda p: bare.apply({'params': p}, method=by_hand))(params)

  @jax.jit
  def hidden(tokens, used=None):
    return model.apply({'params': params}, tokens, segment_ids=used)

  np.testing.assert_allclose(hidden(TOKENS), want, atol=1e-5)
  padded, used = (
    np.pad(x, [(0, 0), (0, 2)]) for x in (TOKENS, np.ones_like(TOKENS))
  )
  found = hidden(padded, used)
  np.testing.assert_allclose(found[:, :4], want, atol=1e-5)
  with pytest.raises(UserError, match="write token by token: 'prefix' is"):
    model.begin(params, decoder.Prompts(TOKENS, jnp.zeros(2, int)))


def test_dropout_is_drawn_by_row():
  model, params = built(BLOCK, {'name': 'lora', 'dropout': 0.5})
  params, key = redrawn(params), jax.random.key(3)

  @jax.jit
  def hidden(tokens, rows):
    return model.apply(
      {'params': params}, tokens, rows=rows, rngs={'dropout': key}
    )

  both, other = (hidden(TOKENS, np.array([n, 8])) for n in (5, 6))
  alone = hidden(TOKENS[1:], np.array([8]))[0]
  np.testing.assert_allclose(alone, both[1], atol=1e-6)
  assert abs(other[0] - both[0]).max() > 1e-3
  none = hidden(TOKENS, None)
  np.testing.assert_array_equal(none, hidden(TOKENS, None))
  assert abs(none - both).max() > 1e-3


def test_half_precision_is_that_of_the_model():
  adapt = {'name': 'lora', 'dropout': 0.5}
  model, params = built(BLOCK | {'dtype': 'bfloat16'}, adapt)
  assert {x.dtype for x in jax.tree.leaves(params)} == {jnp.dtype('float32')}
  hidden = jax.eval_shape(lambda p: model.apply({'params': p}, TOKENS), params)
  assert hidden.dtype == jnp.bfloat16


@pytest.mark.parametrize(
  ('block', 'adapt', 'wanted'),
  [
    (BLOCK, {'name': 'lora', 'rank': 0}, 'rank=0 must be 1 or more'),
    (BLOCK, {'name': 'lora', 'target': '('}, 'must be a regular expression'),
    (BLOCK, {'name': 'lora', 'target': 'qeury'}, 'stack/layers_N/mlp/up'),
    (BLOCK, {'name': 'lora', 'target': 'token_'}, 'an embedding, and LoRA'),
    (LSTM, {'name': 'prefix'}, 'meets no attention of ours'),
    (LSTM, {'name': 'lora'}, "'(query|value)$' meets no linear map"),
    (BLOCK, {'name': 'probe'}, 'the objective has no head, perhaps'),
    (BLOCK, {'name': 'prompt', 'length': 8}, 'length=8 must be less than'),
    (BLOCK, {'name': 'lorra'}, "Did you mean 'lora'?"),
  ],
)  # fmt: skip
def test_what_cannot_be_is_one_line(block, adapt, wanted):
  with pytest.raises(UserError) as e:
    model, params = built(block, adapt)
    adapters.frozen(model.adapter, params)
  assert wanted in str(e.value)
  assert '\n' not in str(e.value)


def test_what_is_trained_by_each():
  heads = {'heads': {'classification': {'dense': {'kernel': np.ones(2)}}}}
  for name, wanted in {
    'probe': [],
    'bitfit': ['stack/layers_0/mlp/up/bias', 'stack/final_norm/bias'],
    'houlsby': ['stack/layers_1/mlp_norm/scale', 'stack/final_norm/bias'],
  }.items():
    model, params = built(BLOCK, {'name': name})
    trained = trees.flatten(params | heads).keys() - adapters.frozen(
      model.adapter, params | heads
    )
    assert 'heads/classification/dense/kernel' in trained
    for path in wanted:
      assert path in trained, path
    assert not any(p.endswith('mlp/up/kernel') for p in trained)
    assert 'inputs/token_embed/embedding' not in trained
