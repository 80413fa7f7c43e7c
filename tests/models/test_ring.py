"""Attention over parts of rows, beside attention over whole rows."""

import sys

import jax
import numpy as np
import pytest

from ctxlm.models import attention as attention_lib
from ctxlm.models import ring
from ctxlm.parallel import work
from ctxlm.parallel.mesh import Mesh

N, B, L, H, G, D = 4, 4, 32, 4, 2, 8


def arrays(dtype=np.float32):
  rng = np.random.default_rng(0)
  q = rng.normal(size=(B, L, H, D)).astype(dtype)
  k, v = (rng.normal(size=(B, L, G, D)).astype(dtype) for _ in range(2))
  given = rng.normal(size=(B, L, H, D)).astype(dtype)
  ids = np.cumsum(rng.random((B, L)) < 0.1, 1).astype(np.int32)
  return q, k, v, ids, given


def results(backend, mesh, causal, window, segments):
  """Returns (the output, gradients of q, k and v)."""

  def attend(q, k, v, ids):
    ids = ids if segments else None
    more = dict(q_segment_ids=ids, kv_segment_ids=ids, backend=backend)
    return attention_lib.attention(
      q, k, v, causal=causal, window=window, **more
    )

  @jax.jit
  def both(q, k, v, ids, given):
    out, back = jax.vjp(lambda *x: attend(*x, ids), q, k, v)
    return out, back(given)

  if mesh is None:
    return both(*arrays())
  with jax.set_mesh(mesh.mesh):
    return both(*mesh.put(arrays()))


MESH = {'data': 2, 'sequence': N}
HOW = [
  (True, None, False),
  (True, None, True),
  (True, 5, True),
  (False, None, False),
  (False, 5, True),
]


@pytest.mark.parametrize('how', HOW)
@pytest.mark.parametrize('backend', ['ring', 'auto'])
def test_parts_of_rows_give_what_whole_rows_do(backend, how, monkeypatch):
  # Queries are worked with in two pieces, of which half of a part has 4.
  monkeypatch.setattr(ring, 'PIECE', 2)
  mesh = Mesh(jax.devices()[:8], **MESH)
  found, wanted = results(backend, mesh, *how), results('xla', None, *how)
  for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(wanted)):
    np.testing.assert_allclose(one, other, atol=3e-6)


@pytest.mark.parametrize('heads, groups', [(6, 2), (12, 3), (8, 2), (4, 1)])
def test_any_heads_and_groups(heads, groups, monkeypatch):
  """6 can't be cut in 4; of 3 groups each is repeated 4 times, of 2 twice."""
  module = sys.modules[__name__]
  monkeypatch.setattr(module, 'H', heads)
  monkeypatch.setattr(module, 'G', groups)
  mesh = Mesh(jax.devices()[:8], **MESH)
  how = True, None, True
  found, wanted = results('auto', mesh, *how), results('xla', None, *how)
  for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(wanted)):
    np.testing.assert_allclose(one, other, atol=3e-6)


def compiled(backend, causal, n, length=L, gradient=False):
  mesh = Mesh(jax.devices()[:n], sequence=n)
  shapes = [
    jax.ShapeDtypeStruct((1, length, heads, D), np.float32)
    for heads in (H, G, G)
  ]

  def run(q, k, v):
    return attention_lib.attention(q, k, v, causal=causal, backend=backend)

  if gradient:
    out, run = run, jax.grad(lambda *args: out(*args).sum(), (0, 1, 2))
  with jax.set_mesh(mesh.mesh):
    return jax.jit(run).lower(*mesh.put_shapes(shapes)).compile(), mesh


@pytest.mark.parametrize('n', [2, 4])
def test_of_causal_rows_no_device_works_with_what_is_masked(n):
  half = L // n // 2
  for causal, blocks in ((True, 2 * n + 1), (False, 4 * n)):
    program, mesh = compiled('ring', causal, n)
    flops = work.of_text(program.as_text(), dict(mesh.mesh.shape)).flops
    assert flops == 2 * 2 * blocks * half**2 * H * D


def test_the_memory_of_a_device_falls_with_their_number(monkeypatch):
  monkeypatch.setattr(ring, 'PIECE', 16)
  found = []
  for n in (4, 8):
    program, _ = compiled('ring', True, n, 4096, gradient=True)
    found.append(program.memory_analysis().temp_size_in_bytes)
  assert found[1] < 0.6 * found[0]


@pytest.mark.parametrize('backend', ['ring', 'auto'])
def test_what_is_sent(backend):
  program, mesh = compiled(backend, False, N)
  sent = work.of_text(program.as_text(), dict(mesh.mesh.shape)).sent
  part, own = L * D * 4 / N, {s.kind: s.size for s in sent}
  if backend == 'ring':  # keys and values, and segment ids, to each once
    assert own == {'collective-permute': N * (2 * G * part + L * 4 / N)}
  else:  # queries, keys, values and outputs, of which each keeps its own part
    assert set(own) == {'all-to-all'}
    # There are fewer groups than devices; sums of softmax go with outputs.
    size = (H + 2 * H + H) * part + L * H * 4 / N
    assert own['all-to-all'] == size * (N - 1) / N


def test_what_can_not_go_around_is_told():
  mesh = Mesh(jax.devices()[:2], sequence=2)
  q = k = np.zeros((1, 6, 2, 4), np.float32)
  with jax.set_mesh(mesh.mesh):
    with pytest.raises(ValueError, match='a multiple of 4 here'):
      attention_lib.attention(q, k, k, causal=True, backend='ring')
    bias = np.zeros((1, 2, 6, 6), np.float32)
    with pytest.raises(ValueError, match='no bias, mask'):
      attention_lib.attention(q, k, k, bias=bias, backend='ring')
