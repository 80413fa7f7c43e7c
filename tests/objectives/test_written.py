"""Sums of some rows at a time, beside those of all logits at once."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ctxlm.models.variables import make_apply
from ctxlm.objectives import losses, written
from ctxlm.parallel import layout
from ctxlm.parallel.mesh import Mesh

B, L, M, V = 8, 6, 4, 11


class Model(nn.Module):
  """A tied table, a bias, and what a head has no use for."""

  dtype: str = 'float32'

  def setup(self):
    self.table = self.param('table', nn.initializers.normal(1.0), (V, M))
    self.bias = self.param('bias', nn.initializers.normal(1.0), (V,))
    self.other = self.param('other', nn.initializers.ones, (3,))

  def __call__(self, tokens):
    return jnp.tanh(self.table[tokens] * self.other.sum()).astype(self.dtype)

  def logits(self, hidden):
    table = self.table.astype(hidden.dtype)
    return (hidden @ table.T).astype(jnp.float32) + self.bias


def arrays():
  rng = np.random.default_rng(0)
  tokens, targets = rng.integers(0, V, (2, B, L)).astype(np.int32)
  weights = (rng.random((B, L)) < 0.7).astype(np.float32) * 2
  return tokens, targets, weights


def both(monkeypatch, rows, mesh=None, frozen=(), smoothing=0.1, dtype=None):
  """Returns ((sums, gradient) at `rows` a part, (sums, gradient) at once)."""
  monkeypatch.setattr(written, 'ROWS', {None: rows})
  monkeypatch.setattr(written, 'LOGITS', {None: 1})
  model = Model(dtype or 'float32')
  apply = make_apply(model)
  params = model.init(jax.random.key(0), arrays()[0])['params']
  kept = {k: params[k] for k in frozen}
  own = {k: v for k, v in params.items() if k not in frozen}

  def parts(params, hidden, targets, weights):
    return written.sums(apply, params, hidden, targets, weights, smoothing)

  def at_once(params, hidden, targets, weights):
    logits = apply(params, lambda m: m.logits(hidden))
    return losses.smoothed(logits, targets, weights, smoothing)

  def run(judge):
    def loss(own, tokens, targets, weights):
      params = own | kept
      hidden = apply(params, lambda m: m(tokens))
      sums = judge(params, hidden, targets, weights)
      return 3 * sums['loss'][0] / sums['loss'][1], sums

    out = jax.jit(jax.grad(loss, has_aux=True))
    if mesh is None:
      return out(own, *arrays())
    with jax.set_mesh(mesh.mesh):
      return out(own, *mesh.put(arrays()))

  return run(parts), run(at_once)


def check(found, wanted, rtol=2e-6):
  assert jax.tree.structure(found) == jax.tree.structure(wanted)
  for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(wanted)):
    assert one.dtype == other.dtype
    np.testing.assert_allclose(one, other, atol=rtol, rtol=rtol)


@pytest.mark.parametrize('smoothing', [0.0, 0.1])
@pytest.mark.parametrize('rows', [1, 7, 24, 47, 48])
def test_parts_give_what_all_rows_give(rows, smoothing, monkeypatch):
  """Of 48 rows; 7 are 7 parts, the last one short."""
  check(*both(monkeypatch, rows, smoothing=smoothing))


@pytest.mark.parametrize('frozen', [('table',), ('bias',), ('bias', 'other')])
def test_what_is_frozen_has_no_gradient(frozen, monkeypatch):
  check(*both(monkeypatch, 7, frozen=frozen))


@pytest.mark.parametrize(
  'sizes, parts',
  [
    ({'data': 4}, True),
    ({'data': 2, 'fsdp': 2, 'sequence': 2}, True),
    ({'data': 2, 'sequence': 4}, False),  # 6 places of 4
    ({'data': 2, 'tensor': 2}, False),
  ],
)
def test_a_mesh_gives_what_one_device_does(sizes, parts, monkeypatch):
  count, cuts = int(np.prod([*sizes.values()])), []
  cut = written._cut
  monkeypatch.setattr(written, '_cut', lambda *x: cuts.append(x) or cut(*x))
  mesh = Mesh(jax.devices()[:count], **sizes)
  check(*both(monkeypatch, 2, mesh))
  assert bool(cuts) == parts


def test_half_precision(monkeypatch):
  found, wanted = both(monkeypatch, 1, dtype='bfloat16')
  check(found, wanted, rtol=1e-2)


def test_logits_are_not_kept(monkeypatch):
  """128k tokens, batch 64: 2 GB of logits in float32, or 1/32 of them."""
  v, m, shape = 131072, 8, (64, 64)
  monkeypatch.setattr(written, 'ROWS', {None: 128})
  monkeypatch.setattr(written, 'LOGITS', {None: 1})
  apply = lambda params, fn: fn(params)  # noqa: E731

  def loss(params, hidden, targets, weights, parts):
    write = lambda table, hidden: hidden @ table.T  # noqa: E731
    if parts:
      return written.sums(apply, params, hidden, targets, weights, write=write)[
        'loss'
      ][0]
    return losses.cross_entropy(write(params, hidden), targets, weights)[0]

  def temporaries(parts):
    grad = jax.jit(jax.grad(lambda *x: loss(*x, parts), argnums=(0, 1)))
    struct = jax.ShapeDtypeStruct
    like = (
      struct((v, m), jnp.float32),
      struct((*shape, m), jnp.float32),
      struct(shape, jnp.int32),
      struct(shape, jnp.float32),
    )
    return grad.lower(*like).compile().memory_analysis().temp_size_in_bytes

  logits = 4 * v * 64 * 64
  assert temporaries(False) >= logits
  assert temporaries(True) < logits / 8


@pytest.mark.parametrize(
  'platform, shape, vocab_size, parts',
  [
    # 512 rows at least, and 4M logits where that is more.
    ('cpu', (8, 256), 2, 1),
    ('cpu', (8, 256), 8192, 4),
    ('cpu', (8, 256), 8191, 4),
    ('cpu', (8, 256), 4096, 2),
    ('cpu', (8, 256), 65536, 4),
    # 2,048 rows at least, and 512M logits.
    ('tpu', (8, 1024), 32000, 1),
    ('tpu', (8, 1024), 65537, 2),
    ('gpu', (64, 1024), 131072, 16),
    ('gpu', (64, 1024), 2**19, 32),
  ],
)
def test_how_many_parts(platform, shape, vocab_size, parts, monkeypatch):
  monkeypatch.setattr(layout, 'platform', lambda: platform)
  assert written._parts(shape, vocab_size) == parts


def test_weights_have_no_gradient(monkeypatch):
  monkeypatch.setattr(written, 'ROWS', {None: 1})
  monkeypatch.setattr(written, 'LOGITS', {None: 1})
  tokens, targets, weights = arrays()
  model = Model()
  params = model.init(jax.random.key(0), tokens)['params']
  hidden = jnp.ones((B, L, M))

  def loss(weights):
    apply = make_apply(model)
    return written.sums(apply, params, hidden, targets, weights)['loss'][0]

  with pytest.raises(TypeError, match='no gradient by the weights'):
    jax.grad(loss)(weights)
