"""Where arrays lie on a mesh, as what is compiled says."""

import jax
import numpy as np
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from ctxlm.parallel import layout
from ctxlm.parallel.mesh import Mesh

SIZES = {'data': 1, 'fsdp': 2, 'tensor': 2, 'sequence': 2}
ROWS = 'data', 'fsdp'


@pytest.mark.parametrize(
  'function, shape, wanted',
  [
    (layout.by_rows, (4, 6, 8), P(ROWS, 'sequence', None)),
    (layout.by_rows, (3, 6, 8), P(None, 'sequence', None)),  # 3 rows of 2
    (layout.by_rows, (4, 5, 8), P(ROWS, None, None)),
    (layout.by_heads, (4, 6, 8, 2), P(ROWS, None, ('tensor', 'sequence'))),
    (layout.by_heads, (4, 6, 2, 2), P(ROWS, None, None)),
    (layout.by_parts, (4, 6, 2, 2), P(ROWS, 'sequence', 'tensor')),
    (layout.by_entries, (6, 8), P('tensor', None)),
  ],
)
def test_arrays_lie_where_they_are_told(function, shape, wanted):
  mesh = Mesh(jax.devices()[:8], **SIZES).mesh
  cut = P(*(None for _ in shape[1:]), 'fsdp')  # along the last axis
  x = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
  with jax.set_mesh(mesh):
    found = jax.jit(function)(jax.device_put(x, NamedSharding(mesh, cut)))
  assert found.sharding.is_equivalent_to(NamedSharding(mesh, wanted), x.ndim)
  np.testing.assert_array_equal(found, x)


def test_one_device_has_all_of_them():
  x = np.ones((4, 6, 8), np.float32)
  assert layout.by_rows(x) is x and layout.devices(layout.ROWS) == 1
  assert layout.platform() == jax.default_backend()
