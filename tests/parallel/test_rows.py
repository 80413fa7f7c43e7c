"""Rows in batches are what each is alone."""

import jax
import jax.numpy as jnp
import numpy as np

from ctxlm.parallel import mesh, pmap, rows


def test_order_padding_and_devices_change_nothing():
  rng = np.random.default_rng(0)
  given = [
    {'tokens': (1 + rng.integers(9, size=n)).tolist(), 'kinds': [2] * n}
    for n in (3, 1, 9, 4, 12, 1, 7)
  ]
  widths = set()

  def function(params, batch):
    widths.add(batch['tokens'].shape[-1])
    used = batch['segment_ids']
    assert batch.keys() == {'tokens', 'kinds', 'segment_ids'}
    return {
      'sum': params * (batch['tokens'] * used).sum(1),
      'sizes': jnp.stack([used.sum(1), batch['kinds'].sum(1)], 1),
    }

  for placement in (
    pmap.Pmap(jax.devices()[:2]),
    mesh.Mesh(jax.devices()[:2]),
  ):
    ask = rows.Rows(placement, function, 3)  # made 4: of two devices
    found = ask(jnp.float32(2), given)
    for row, own in zip(given, found, strict=True):
      n = len(row['tokens'])
      assert own['sum'] == 2 * sum(row['tokens'])
      assert own['sizes'].tolist() == [n, 2 * n]
  assert widths == {8, 16}
  assert rows.Rows(placement, function, 4)(jnp.float32(1), []) == []
