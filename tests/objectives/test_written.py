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


@pytest.fixture
def cuts(monkeypatch):
  """[(parts, places of what has a gradient)] of each loss that was cut."""
  found, cut = [], written._cut

  def watched(numerators, parts, asked, *more):
    found.append((parts, asked))
    return cut(numerators, parts, asked, *more)

  monkeypatch.setattr(written, '_cut', watched)
  return found


def few(monkeypatch, rows):
  monkeypatch.setattr(written, 'ROWS', {None: rows})
  monkeypatch.setattr(written, 'LOGITS', {None: 1})


def both(
  monkeypatch,
  rows,
  mesh=None,
  frozen=(),
  within=False,
  smoothing=0.1,
  dtype=None,
):
  """Returns ((gradient, sums) at `rows` a part, (gradient, sums) at once).

  What is frozen is `within` what applies the model, as in training, or it is
  among the parameters.
  """
  few(monkeypatch, rows)
  model = Model(dtype or 'float32')
  whole = make_apply(model)
  params = model.init(jax.random.key(0), arrays()[0])['params']
  kept = {k: params[k] for k in frozen}
  own = {k: v for k, v in params.items() if k not in frozen}

  def apply(params, function):
    return whole(params | kept if within else params, function)

  def parts(params, hidden, targets, weights):
    return written.sums(apply, params, hidden, targets, weights, smoothing)

  def at_once(params, hidden, targets, weights):
    logits = apply(params, lambda m: m.logits(hidden))
    return losses.smoothed(logits, targets, weights, smoothing)

  def run(judge):
    def loss(own, tokens, targets, weights):
      params = own if within else own | kept
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
@pytest.mark.parametrize(
  'rows, parts', [(1, 48), (7, 7), (24, 2), (47, 2), (48, None)]
)
def test_parts_give_what_all_rows_give(
  rows, parts, smoothing, monkeypatch, cuts
):
  """Of 48 rows; 7 are 7 parts, the last one short."""
  check(*both(monkeypatch, rows, smoothing=smoothing))
  # Parameters are the bias and the table; then come hidden states.
  assert cuts == ([(parts, (0, 1, 2))] if parts else [])


@pytest.mark.parametrize(
  'frozen, asked',
  [
    (('table',), (0, 2)),
    (('bias',), (1, 2)),
    (('table', 'other'), (0,)),  # what hidden states are of is frozen too
    (('table', 'bias'), (2,)),
  ],
)
def test_what_is_frozen_has_no_gradient(frozen, asked, monkeypatch, cuts):
  check(*both(monkeypatch, 7, frozen=frozen))
  assert cuts == [(7, asked)]


@pytest.mark.parametrize('sizes', [None, {'data': 2, 'sequence': 2}])
@pytest.mark.parametrize(
  'frozen, asked',
  [(('table',), (0, 1)), (('table', 'bias'), (0,)), (('table', 'other'), (0,))],
)
def test_a_head_that_training_does_not_see(
  frozen, asked, sizes, monkeypatch, cuts
):
  mesh = sizes and Mesh(jax.devices()[:4], **sizes)
  check(*both(monkeypatch, 3, mesh, frozen=frozen, within=True))
  assert cuts == [(4 if sizes else 16, asked)]


def test_what_is_only_judged_has_none(monkeypatch, cuts):
  few(monkeypatch, 7)
  tokens, targets, weights = arrays()
  apply, params = make_apply(Model()), Model().init(jax.random.key(0), tokens)
  params = params['params']
  hidden = apply(params, lambda m: m(tokens))
  found = written.sums(apply, params, hidden, targets, weights)
  logits = apply(params, lambda m: m.logits(hidden))
  check(found, losses.smoothed(logits, targets, weights, 0.0))
  assert cuts == [(7, ())]


def test_micro_batches_are_mapped_over(monkeypatch):
  few(monkeypatch, 7)
  tokens, *more = arrays()
  apply, params = make_apply(Model()), Model().init(jax.random.key(0), tokens)
  hidden = apply(params['params'], lambda m: m(tokens))

  def one(*part):
    return written.sums(apply, params['params'], *part)

  parts = [x.reshape(2, B // 2, *x.shape[1:]) for x in (hidden, *more)]
  each = jax.vmap(one)(*parts)
  check(jax.tree.map(lambda x: x.sum(0), each), one(hidden, *more))


def test_log_p_are_not_written_again(monkeypatch, cuts):
  """Of a model whose hidden states are log p, which no parameter changes."""
  few(monkeypatch, 1)
  said = jax.nn.log_softmax(jnp.ones((B, L, V)))
  apply = lambda params, fn: fn(params)  # noqa: E731
  _, targets, weights = arrays()
  found = written.sums(
    apply,
    {'table': jnp.ones((V, M))},
    said,
    targets,
    weights,
    write=lambda params, hidden: hidden,
  )
  check(found, losses.smoothed(said, targets, weights, 0.0))
  assert not cuts


@pytest.mark.parametrize(
  'sizes, parts',
  [
    ({'data': 4}, 6),
    ({'data': 2, 'fsdp': 2, 'sequence': 2}, 3),
    ({'data': 2, 'sequence': 4}, None),  # 6 places of 4
    ({'data': 2, 'tensor': 2}, None),
  ],
)
def test_a_mesh_gives_what_one_device_does(sizes, parts, monkeypatch, cuts):
  mesh = Mesh(jax.devices()[: int(np.prod([*sizes.values()]))], **sizes)
  check(*both(monkeypatch, 2, mesh))
  assert cuts == ([(parts, (0, 1, 2))] if parts else [])


def test_half_precision(monkeypatch, cuts):
  found, wanted = both(monkeypatch, 1, dtype='bfloat16')
  check(found, wanted, rtol=1e-2)
  assert cuts


def test_gradients_are_summed_in_single_precision(monkeypatch, cuts):
  """1,024 equal parts; a sum of equal bfloat16 stands still after 256."""
  few(monkeypatch, 1)
  table = jnp.zeros((V, M), jnp.bfloat16)
  shape = 4, 256
  hidden, targets = jnp.ones((*shape, M)), jnp.zeros(shape, jnp.int32)

  def loss(table):
    sums = written.sums(
      lambda params, fn: fn(params),
      table,
      hidden,
      targets,
      jnp.ones(shape),
      write=lambda table, hidden: hidden @ table.T.astype(jnp.float32),
    )
    return sums['loss'][0]

  found = jax.grad(loss)(table)
  assert found.dtype == jnp.bfloat16 and cuts[0][0] == 1024
  wanted = 1024 * (1 / V - (np.arange(V) == 0))
  np.testing.assert_allclose(
    found.astype(np.float32), wanted[:, None] * np.ones(M), rtol=1e-2
  )


def test_logits_are_not_kept(monkeypatch):
  """128k tokens, batch 64: 2 GB of logits in float32, or 1/32 of them."""
  v, m, shape = 131072, 8, (64, 64)
  few(monkeypatch, 128)
  apply = lambda params, fn: fn(params)  # noqa: E731

  def loss(params, hidden, targets, weights, parts):
    write = lambda table, hidden: hidden @ table.T  # noqa: E731
    if parts:
      told = params, hidden, targets, weights
      return written.sums(apply, *told, write=write)['loss'][0]
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
  few(monkeypatch, 1)
  tokens, targets, weights = arrays()
  model = Model()
  params = model.init(jax.random.key(0), tokens)['params']
  hidden = jnp.ones((B, L, M))

  def loss(weights):
    apply = make_apply(model)
    return written.sums(apply, params, hidden, targets, weights)['loss'][0]

  with pytest.raises(TypeError, match='no gradient by the weights'):
    jax.grad(loss)(weights)
