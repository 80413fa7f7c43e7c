"""Attention among devices that have a part of each row; keys go around.

Ring attention (Liu et al. 2023, arXiv:2310.01889): each device works with the
keys and values that it has and sends them on, so none has all of them. Kept
for the backward pass are the output and the log of the softmax's sum, as in
FlashAttention-2 (Dao 2023, arXiv:2307.08691). Causal rows are cut into halves
of the devices' parts, of which device i of n has the i-th and the one that is
i-th from the end, so that each has as much to do (Dubey et al. 2024,
arXiv:2407.21783, section 3.3.2).

Letters: those of ctxlm.models.attention; x and y are places of a device's
queries and keys, s its parts, 2 of causal rows and else 1.
"""

import functools

import jax
import jax.numpy as jnp

AXIS = 'sequence'
MASKED = -1e30
PIECE = 512  # queries of which scores are in memory at once, at most


@functools.partial(jax.custom_vjp, nondiff_argnums=(4, 5))
def attention(q, k, v, ids, causal, window):
  """Returns attention's output [b, x, h, d] of a device's queries.

  Called by each device of `AXIS`, which have the rows' parts in order.

  Args:
    q: [b, x, h, d], scaled.
    k, v: [b, x, g, d]; h is a multiple of g.
    ids: int [b, x]; a query sees keys of its own segment only.
    causal: whether a query sees no later key; x is even then.
    window: it sees keys less than this many places away; None is all.
  """
  return _forward(q, k, v, ids, causal, window)[0]


def _forward(q, k, v, ids, causal, window):
  shape, groups = q.shape, k.shape[2]
  q, k, v, ids = (_parts(x, causal) for x in (q, k, v, ids))
  q = q.reshape(*q.shape[:3], groups, -1, q.shape[-1])
  s, b, x, g, r, d = q.shape
  sums = (
    jnp.zeros((s, b, g, r, x, d), jnp.float32),
    jnp.full((s, b, g, r, x), MASKED),
  )

  def work(sums, keys, i, j, mask):
    k, v, y_ids = (part[j] for part in keys)

    def piece(args):
      q, x_ids, start = args
      scores = _scores(q, k, mask(start, x_ids, y_ids))
      top = scores.max(-1, keepdims=True)
      weights = jnp.exp(scores - top)
      total = weights.sum(-1)
      out = jnp.einsum(
        'bgrxy,bygd->bgrxd',
        weights.astype(v.dtype),
        v,
        preferred_element_type=jnp.float32,
      )
      return out / total[..., None], top[..., 0] + jnp.log(total)

    starts, size = _starts(x)
    pieces = _cut(q[i], 1, size), _cut(ids[i], 1, size), starts
    out, log = (_join(part, 3) for part in jax.lax.map(piece, pieces))
    old_out, old_log = sums[0][i], sums[1][i]
    new = jnp.logaddexp(old_log, log)
    share, own = jnp.exp(old_log - new), jnp.exp(log - new)
    out = old_out * share[..., None] + out * own[..., None]
    return sums[0].at[i].set(out), sums[1].at[i].set(new)

  out, log = _around(work, sums, (k, v, ids), x, causal, window)[0]
  whole = _whole(jnp.moveaxis(out, 4, 2), causal).reshape(shape)
  return whole.astype(v.dtype), (q, k, v, ids, out, log)


def _backward(causal, window, kept, cotangent):
  q, k, v, ids, out, log = kept
  s, b, x, g, r, d = q.shape
  given = _parts(cotangent, causal).reshape(s, b, x, g, r, d)
  given = jnp.moveaxis(given, 2, 4)  # as `out` lies
  inner = (given.astype(jnp.float32) * out).sum(-1)
  zeros = functools.partial(jnp.zeros, dtype=jnp.float32)

  def work(dq, keys, i, j, mask):
    k, v, y_ids = (part[j] for part in keys[:3])

    def piece(sums, args):
      q, x_ids, given, log, inner, start = args
      scores = _scores(q, k, mask(start, x_ids, y_ids))
      weights = jnp.exp(scores - log[..., None])
      dv = jnp.einsum(
        'bgrxy,bgrxd->bygd', weights, given, preferred_element_type=jnp.float32
      )
      back = jnp.einsum(
        'bgrxd,bygd->bgrxy', given, v, preferred_element_type=jnp.float32
      )
      back = (weights * (back - inner[..., None])).astype(k.dtype)
      dk = jnp.einsum(
        'bgrxy,bxgrd->bygd', back, q, preferred_element_type=jnp.float32
      )
      dq = jnp.einsum(
        'bgrxy,bygd->bxgrd', back, k, preferred_element_type=jnp.float32
      )
      return (sums[0] + dk, sums[1] + dv), dq

    starts, size = _starts(x)
    pieces = _cut(q[i], 1, size), _cut(ids[i], 1, size)
    pieces += tuple(_cut(part[i], 3, size) for part in (given, log, inner))
    sums = keys[3][j], keys[4][j]
    (dk, dv), own = jax.lax.scan(piece, sums, (*pieces, starts))
    keys = (*keys[:3], keys[3].at[j].set(dk), keys[4].at[j].set(dv))
    return dq.at[i].add(_join(own, 1)), keys

  keys = (k, v, ids, zeros(k.shape), zeros(v.shape))
  dq, keys = _around(
    work, zeros(q.shape), keys, x, causal, window, changed=True
  )
  dq = _whole(dq, causal).reshape(cotangent.shape)
  dk, dv = (_whole(part, causal) for part in keys[3:])
  return dq.astype(q.dtype), dk.astype(k.dtype), dv.astype(v.dtype), None


attention.defvjp(_forward, _backward)


def _around(work, sums, keys, x, causal, window, changed=False):
  """Lets keys go once around, and work with them at each device.

  Args:
    work: (sums, keys, i, j, mask) -> sums, or where `changed` (sums, keys): of
      queries of part i and keys of part j.
    sums: what stays.
    keys: what goes around, by part.
    x: places of a part.
    causal, window: see attention.
    changed: whether work changes what goes around.

  Returns:
    (sums, keys), the keys at home again.
  """
  n, device = jax.lax.axis_size(AXIS), jax.lax.axis_index(AXIS)

  def begin(owner, part):  # its first place in the row
    return x * jnp.where(part == 0, owner, 2 * n - 1 - owner)

  def step(sums, keys, owner, pairs):
    for i, j in pairs:

      def mask(start, x_ids, y_ids, i=i, j=j):
        own = begin(device, i) + start + jnp.arange(x_ids.shape[1])
        distance = own[:, None] - (begin(owner, j) + jnp.arange(x))
        seen = x_ids[:, :, None] == y_ids[:, None]
        if causal:
          seen &= distance >= 0
        if window is not None:
          seen &= jnp.abs(distance) < window
        return seen

      found = work(sums, keys, i, j, mask)
      sums, keys = found if changed else (found, keys)
    return sums, keys

  def send(keys):
    to = [(i, (i + 1) % n) for i in range(n)]
    return jax.tree.map(lambda part: jax.lax.ppermute(part, AXIS, to), keys)

  def turn(carry, t):
    sums, keys = carry
    owner = (device - t) % n
    # Of an earlier device both parts see the first one of its keys; of a later
    # one the second part, which is nearer to the end, sees both of them.
    near = jnp.where(owner < device, 0, 1)
    pairs = [(near, 0), (1, near)] if causal else [(0, 0)]
    ahead = keys if changed else send(keys)
    sums, keys = step(sums, keys, owner, pairs)
    return (sums, send(keys) if changed else ahead), None

  own = [(0, 0), (1, 0), (1, 1)] if causal else [(0, 0)]
  sums, keys = step(sums, keys, device, own)
  (sums, keys), _ = jax.lax.scan(turn, (sums, send(keys)), jnp.arange(1, n))
  return sums, keys


def _scores(q, k, seen):
  scores = jnp.einsum(
    'bxgrd,bygd->bgrxy', q, k, preferred_element_type=jnp.float32
  )
  return jnp.where(seen[:, None, None], scores, MASKED)


def _parts(part, causal):
  # [b, l / n, ...], a device's part of rows, to [s, b, x, ...].
  if not causal:
    return part[None]
  first, second = jnp.split(part, 2, axis=1)
  n, odd = jax.lax.axis_size(AXIS), jax.lax.axis_index(AXIS) % 2
  even, uneven = (
    jax.lax.ppermute(half, AXIS, [(i, _home(2 * i + p, n)) for i in range(n)])
    for p, half in ((0, first), (1, second))
  )
  # One half of a device has an even number, and the other an odd one.
  return jnp.where(odd, jnp.stack([uneven, even]), jnp.stack([even, uneven]))


def _whole(parts, causal):
  # The inverse of _parts.
  if not causal:
    return parts[0]
  n, odd = jax.lax.axis_size(AXIS), jax.lax.axis_index(AXIS) % 2
  even, uneven = jnp.where(odd, parts[::-1], parts)
  halves = [
    jax.lax.ppermute(half, AXIS, [(_home(2 * i + p, n), i) for i in range(n)])
    for p, half in ((0, even), (1, uneven))
  ]
  return jnp.concatenate(halves, axis=1)


def _home(half, n):
  # The device that works with one of 2 n halves of a row.
  return min(half, 2 * n - 1 - half)


def _starts(x):
  # (first places of the pieces of x, their size).
  size = PIECE if x % PIECE == 0 else x
  return jnp.arange(0, x, size), size


def _cut(part, axis, size):
  # Pieces of an axis, along a new one in front.
  shape = part.shape
  cut = (*shape[:axis], -1, size, *shape[axis + 1 :])
  return jnp.moveaxis(part.reshape(cut), axis, 0)


def _join(pieces, axis):
  # The inverse of _cut.
  part = jnp.moveaxis(pieces, 0, axis)
  shape = part.shape
  return part.reshape(*shape[:axis], -1, *shape[axis + 2 :])
