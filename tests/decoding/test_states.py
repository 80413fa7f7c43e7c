"""LSTMs, GRUs and gated convolutions write what repeated full passes write."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ctxlm.decoding import generator
from ctxlm.errors import UserError
from ctxlm.models import convolution, lstm, recurrent
from ctxlm.models.decoder import Prompts
from tests.decoding import checkpoints
from tests.decoding.whole import Whole

VOCAB, EOS = 48, 1
MODELS = {
  'gru': lambda: lstm.Model(
    VOCAB, 24, cell='gru', tie_embeddings=True, init_range=0.5
  ),
  'scanned': lambda: recurrent.Model(
    num_layers=2, mlp_dim=24, scan_layers=True, **SHAPE
  ),
  'convolution': lambda: convolution.Model(num_layers=2, **SHAPE),
  'short kernels': lambda: convolution.Model(
    num_layers=2, kernel_sizes=(1, 4), position='learned', **SHAPE
  ),
}
SHAPE = dict(vocab_size=VOCAB, hidden_size=24, max_length=40, init_stddev=0.5)
# The second is longer than a bucket of 16; the last meets the context's end.
LENGTHS = (3, 19, 1, 36)


@pytest.fixture(scope='module', params=MODELS)
def both(request):
  """Returns (Writer of the model, Writer of whole passes)."""
  model = MODELS[request.param]()
  init = functools.partial(model.init, method=lambda m, x: m.logits(m(x)))
  params = jax.jit(init)(jax.random.key(0), jnp.zeros((1, 4), jnp.int32))
  params = params['params']
  # Logits are to differ by units, not by rounding, and by what was before.
  params = jax.tree.map(lambda x: 2 * x, params)
  return [
    generator.Writer(m, params, None, (EOS,), 0) for m in (model, Whole(model))
  ]


def prompts():
  rng = np.random.default_rng(0)
  return [rng.integers(2, VOCAB, n).tolist() for n in LENGTHS]


def write(writer, strategy, **options):
  config = checkpoints.config(strategy, max_new_tokens=8, **options)
  found = generator.Generator(writer, config)(prompts())
  return [[one['tokens'] for one in texts] for texts in found]


@pytest.mark.parametrize(
  'strategy, options',
  [
    ({'name': 'greedy'}, {}),
    ({'name': 'sample'}, {'num_samples': 3, 'seed': 5}),
    ({'name': 'beam', 'num_beams': 3, 'num_best': 2}, {}),
    ({'name': 'contrastive_search', 'top_k': 3}, {}),
    ({'name': 'greedy'}, {'guidance': 1.5}),
  ],
  ids=lambda x: '-'.join(map(str, x.values())),
)
def test_as_repeated_full_passes(both, strategy, options):
  ours, whole = both
  found = write(ours, strategy, **options)
  assert found == write(whole, strategy, **options)
  assert len({tuple(t) for texts in found for t in texts}) > 3
  most = ours.model.context_length
  lengths = [len(t) for texts in found for t in texts]
  assert max(lengths) == 8
  if most is not None:
    assert all(len(t) <= most - 36 + 1 for t in found[3])


def test_what_it_says_is_all_it_reads(both):
  """What stands before the prompt's first token changes nothing."""
  ours, _ = both
  tokens = np.random.default_rng(1).integers(2, VOCAB, (2, 12))
  tokens[1, 5:] = tokens[0, 5:]
  start = jnp.full(2, 5)
  model, params = ours.model.to_write(ours.params)
  begin = jax.jit(lambda t: model.begin(params, Prompts(t, start, ahead=4)))
  logits, cache = begin(jnp.asarray(tokens))
  np.testing.assert_array_equal(logits[0], logits[1])
  for x in jax.tree.leaves(cache.kept):
    np.testing.assert_array_equal(x[0], x[1])


def test_tokens_are_not_taken_back(both):
  with pytest.raises(UserError, match="'speculative' takes tokens back"):
    write(both[0], {'name': 'speculative'})
