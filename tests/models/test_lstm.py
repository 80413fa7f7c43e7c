"""The LSTM and the GRU equal torch's; dropout is where the papers have it."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from ctxlm import plugins
from ctxlm.errors import UserError
from ctxlm.models import cache, lstm

V = 13
TORCH = {'lstm': torch.nn.LSTM, 'gru': torch.nn.GRU}


def of_layer(theirs, number):
  """Returns our parameters of one of torch's layers."""
  w = {
    name: theirs.get_parameter(f'{name}_l{number}').detach().numpy()
    for name in ('weight_ih', 'weight_hh', 'bias_ih', 'bias_hh')
  }
  params = {'recurrent': w['weight_hh'].T}
  bias = w['bias_ih'] + w['bias_hh']
  if isinstance(theirs, torch.nn.GRU):
    m = theirs.hidden_size  # the candidate's is within the reset gate
    bias[2 * m :] = w['bias_ih'][2 * m :]
    params['recurrent_bias'] = w['bias_hh'][2 * m :]
  return params | {'input': {'kernel': w['weight_ih'].T, 'bias': bias}}


def numbers(shape, seed=0):
  return np.random.default_rng(seed).standard_normal(shape, np.float32)


@pytest.mark.parametrize('cell, tied', [('lstm', False), ('gru', True)])
def test_is_torchs_in_pieces_whose_states_are_carried(cell, tied):
  e, m, b = 6, 6 if tied else 9, 3
  model = lstm.Model(
    vocab_size=V, hidden_size=m, embedding_size=e, cell=cell,
    tie_embeddings=tied,
  )  # fmt: skip
  theirs = TORCH[cell](e, m, num_layers=2, batch_first=True)
  table, out, bias = numbers((V, e)), numbers((m, V), 1), numbers(V, 2)
  params = {'token_embed': {'embedding': table}}
  params |= {f'layers_{i}': of_layer(theirs, i) for i in (0, 1)}
  head = {'output_bias': bias}
  if not tied:
    head = {'lm_head': {'kernel': out, 'bias': bias}}
  params |= head
  tokens = np.random.default_rng(3).integers(0, V, (b, 21))

  @jax.jit
  def read(params, kept, tokens):
    def forward(m):
      return m.logits(m(tokens, places=cache.Places(1)))

    variables = {'params': params} | ({'cache': kept} if kept else {})
    logits, kept = model.apply(variables, method=forward, mutable=['cache'])
    return logits, kept['cache']

  made = jax.eval_shape(lambda: init(model))
  assert jax.tree.map(jnp.shape, made) == jax.tree.map(jnp.shape, params)
  kept, ours = None, []
  for piece in np.split(tokens, 3, axis=1):
    logits, kept = read(params, kept, jnp.asarray(piece))
    ours.append(logits)
  hidden = theirs(torch.tensor(table[tokens]))[0].detach().numpy()
  wanted = hidden @ (table.T if tied else out) + bias
  np.testing.assert_allclose(np.concatenate(ours, 1), wanted, atol=1e-5)


@functools.cache
def build(**options):
  """Returns a small model and its parameters."""
  model = lstm.Model(
    vocab_size=V, hidden_size=16, num_layers=2, init_range=0.5, **options
  )
  return model, jax.jit(lambda: init(model))()


def init(model):
  """Returns a model's parameters, those of its softmax too."""
  return model.init(
    jax.random.key(0),
    jnp.zeros((1, 2), jnp.int32),
    method=lambda m, x: m.logits(m(x)),
  )['params']


def layer_outputs(model, params, tokens, rows):
  """Returns what a model gives with dropout, and {layer: (input, output)}."""
  seen = {}

  def spy(call, args, kwargs, context):
    out = call(*args, **kwargs)
    if isinstance(context.module, lstm.Layer):
      seen[context.module.name] = args[0], out
    return out

  @jax.jit
  def run(params, tokens, rows):
    keys = {'dropout': jax.random.key(1)}
    with nn.intercept_methods(spy):
      out = model.apply({'params': params}, tokens, rows=rows, rngs=keys)
    return out, seen

  return jax.device_get(run(params, tokens, rows))


@pytest.mark.parametrize('variational', [False, True])
def test_dropout_is_between_layers(variational):
  rates = dict(dropout=0.5, input_dropout=0.2, hidden_dropout=0.35)
  model, params = build(variational=variational, **rates)
  tokens = np.tile(np.arange(V), (40, 1))
  out, seen = layer_outputs(model, params, tokens, np.arange(40))
  table = params['token_embed']['embedding']
  pairs = [
    (0.2, table[tokens], seen['layers_0'][0]),
    (0.35, seen['layers_0'][1], seen['layers_1'][0]),
    (0.5, seen['layers_1'][1], out),
  ]
  for rate, before, after in pairs:
    dropped = np.asarray(after) == 0
    # 40 * 13 * 16 draws, or 40 * 16 of a row's: five standard deviations.
    draws = dropped.size / (V if variational else 1)
    spread = 5 * (rate * (1 - rate) / draws) ** 0.5
    assert abs(dropped.mean() - rate) < spread
    kept = ~dropped
    np.testing.assert_allclose(
      np.asarray(after)[kept], np.asarray(before)[kept] / (1 - rate), rtol=1e-5
    )
    same = (dropped == dropped[:, :1]).all()
    assert same == variational
    assert (dropped[0] != dropped[1]).any()  # each row its own


def test_words_and_weights_are_dropped_once_a_batch():
  model, params = build(word_dropout=0.4, weight_dropout=0.5)
  tokens = np.tile(np.arange(V), (2, 2))
  _, seen = layer_outputs(model, params, tokens, np.array([3, 8]))
  read, given = seen['layers_0']
  gone = (read == 0).all(-1)
  assert 0 < gone.sum() < gone.size
  assert (gone == gone[0]).all() and (gone[0, :V] == gone[0, V:]).all()
  table = np.asarray(params['token_embed']['embedding'])
  np.testing.assert_allclose(read[~gone], table[tokens][~gone] / 0.6, rtol=1e-5)
  # What has no gradient is dropped: at all steps and in all rows, or it had.
  own = params['layers_0']
  layer = lstm.Layer(16, weight_dropout=0.5)

  @jax.jit
  def gradient(params):
    def total(params):
      out = layer.apply(
        {'params': params}, read, rows=jnp.array([3, 8]),
        rngs={'dropout': jax.random.key(2)},
      )  # fmt: skip
      return (out**2).sum(), out

    grads, out = jax.grad(total, has_aux=True)(params)
    whole = params | {
      'recurrent': jnp.where(grads['recurrent'], 2 * params['recurrent'], 0)
    }
    return grads['recurrent'], out, layer.apply({'params': whole}, read)

  grads, out, wanted = gradient(own)
  assert 0.4 < (grads == 0).mean() < 0.6
  np.testing.assert_allclose(out, wanted, atol=1e-6)
  # What the rows are called changes nothing, as this batch's are equal.
  np.testing.assert_allclose(given[0], given[1], atol=1e-6)


@pytest.mark.parametrize(
  'option, value', [('num_layers', 0), ('dropout', 1.0), ('cell', 'rnn')]
)
def test_options_that_cannot_be_are_one_line(option, value):
  with pytest.raises(UserError, match=f'{option}={value!r} must be'):
    plugins.check('models', {'name': 'lstm', option: value})
