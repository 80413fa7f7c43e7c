"""Sums of the tokens that a head writes, some rows of hidden states at a time.

Logits of all rows are a step's largest array. Where they are many, the gradient
of some rows is made as soon as their logits are, which nothing then keeps: as
many products of matrices, and memory that doesn't grow with rows.
"""

import functools
import math

import jax
import jax.numpy as jnp
from jax.extend import core
from jax.sharding import PartitionSpec as P

from ctxlm.objectives import losses
from ctxlm.parallel import layout

# A device's part: rows at least, since with each the head's whole gradient is
# read and written, and more where its logits are fewer than these. By platform:
# a cache is small, and to cut 1 GiB of logits in 4 moves 6 % more on a TPU.
ROWS = {'cpu': 512, None: 2048}
LOGITS = {'cpu': 2**22, None: 2**29}
CUT = (*layout.ROWS, *layout.PLACES)


def next_tokens(model, hidden):
  """Returns a model's logits float32 [..., v] of hidden [..., m]."""
  return model.logits(hidden)


def sums(
  apply, params, hidden, targets, weights, smoothing=0.0, write=next_tokens
):
  """Returns losses.smoothed of what is written of hidden states.

  Only 'loss' has a gradient, by parameters and hidden states.

  Args:
    apply: see ctxlm.models.variables.make_apply.
    params: parameters; None where they come into being.
    hidden: [b, l, m].
    targets: int [b, l].
    weights: float [b, l].
    smoothing: see losses.cross_entropy.
    write: (bound model, hidden [..., m]) -> logits float32 [..., v], of each
      row by itself, without dropout.
  """

  def judged(params, hidden, targets, weights):
    logits = apply(params, lambda model: write(model, hidden))
    return losses.smoothed(logits, targets, weights, smoothing)

  parts = 1
  if params is not None:
    leaves, tree = jax.tree.flatten(params)
    vocab_size, used = _trace(
      lambda *x: apply(tree.unflatten(x), lambda m: write(m, hidden[:1, :1])),
      leaves,
    )
    if vocab_size > hidden.shape[-1]:  # else logits are no larger
      parts = _parts(targets.shape, vocab_size)
  if parts == 1:
    return judged(params, hidden, targets, weights)

  def numerators(own, *part):
    given = dict(zip(used, own, strict=True))
    whole = tree.unflatten([given.get(i) for i in range(len(leaves))])
    out = judged(whole, *part)
    return {name: n for name, (n, _) in out.items()}

  cut = functools.partial(_cut, numerators, parts)
  own = [leaves[i] for i in used]
  found = _differentiable(cut)(own, hidden, targets, weights)
  total = weights.astype(jnp.float32).sum()
  return {name: (n, total) for name, n in found.items()}


def _trace(function, leaves):
  # The size of what is given back, and which of the arguments it is made of.
  jaxpr = jax.make_jaxpr(function)(*leaves).jaxpr
  ends = [v for e in jaxpr.eqns for v in e.invars] + jaxpr.outvars
  found = {v for v in ends if isinstance(v, core.Var)}
  (out,) = jaxpr.outvars
  return out.aval.shape[-1], [
    i for i, v in enumerate(jaxpr.invars) if v in found
  ]


def _parts(shape, vocab_size):
  # 1 where logits are cut by tokens, or rows not evenly.
  b, length = shape
  across, along = (layout.devices(x) for x in (layout.ROWS, layout.PLACES))
  if layout.devices(('tensor',)) > 1 or b % across or length % along:
    return 1
  rows, logits = (
    table.get(layout.platform(), table[None]) for table in (ROWS, LOGITS)
  )
  here = b * length // (across * along)
  return math.ceil(here / max(rows, logits // vocab_size))


def _differentiable(cut):
  # custom_vjp of (own, hidden, targets, weights) -> numerators.
  @jax.custom_vjp
  def run(own, *rows):
    return _spread(cut, (), own, *rows)[0]

  def forward(own, hidden, targets, weights):
    if weights.perturbed:
      raise TypeError('no gradient by the weights of a sum of tokens')
    given = [*own, hidden]
    asked = tuple(i for i, x in enumerate(given) if x.perturbed)
    values = [x.value for x in own], hidden.value, targets.value, weights.value
    found, grads = _spread(cut, asked, *values)
    like = [jnp.zeros((), x.value.dtype) for x in given]
    return found, (dict(zip(asked, grads, strict=True)), like)

  def backward(kept, cotangents):
    grads, like = kept
    scale = cotangents['loss']
    out = [
      (scale * grads[i]).astype(x.dtype) if i in grads else None
      for i, x in enumerate(like)
    ]
    return out[:-1], out[-1], None, None

  run.defvjp(forward, backward, symbolic_zeros=True)
  return run


def _spread(cut, asked, own, *rows):
  # On each device by itself, where rows lie on several.
  if layout.devices(CUT) == 1:
    return cut(asked, own, *rows)
  whole, where = P(), P(layout.ROWS, layout.PLACES)
  by_hidden = len(own) in asked

  def local(own, *rows):
    found, grads = cut(asked, own, *rows)
    summed = grads[:-1] if by_hidden else grads
    found, summed = jax.lax.psum((found, summed), CUT)
    return found, [*summed, grads[-1]] if by_hidden else summed

  run = jax.shard_map(
    local,
    in_specs=(whole, where, where, where),
    out_specs=(whole, [whole] * (len(asked) - by_hidden) + [where] * by_hidden),
    check_vma=False,
  )
  return run(own, *rows)


def _cut(numerators, parts, asked, own, hidden, targets, weights):
  # Numerators, and gradients of 'loss' by those asked for of (*own, hidden).
  last, shape = len(own), hidden.shape
  n = targets.size
  size = math.ceil(n / parts)

  def split(x):
    x = x.reshape(n, *x.shape[2:])
    x = jnp.pad(x, [(0, parts * size - n)] + [(0, 0)] * (x.ndim - 1))
    return x.reshape(parts, size, *x.shape[1:])

  def one(total, part):
    hidden, *rest = part
    given = dict(enumerate([*own, hidden]))

    def loss(*some):
      *own, hidden = (given | dict(zip(asked, some, strict=True))).values()
      found = numerators(own, hidden, *rest)
      return found['loss'], found

    _, back, found = jax.vjp(loss, *(given[i] for i in asked), has_aux=True)
    grads = dict(zip(asked, back(jnp.ones(())), strict=True))
    by_hidden = grads.pop(last, None)
    return jax.tree.map(jnp.add, total, (found, [*grads.values()])), by_hidden

  rows = jax.tree.map(split, (hidden, targets, weights))
  names = jax.eval_shape(numerators, own, *(x[0] for x in rows))
  zeros = [jnp.zeros(own[i].shape, jnp.float32) for i in asked if i != last]
  begin = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), names), zeros
  (found, grads), by_hidden = jax.lax.scan(one, begin, rows)
  if by_hidden is not None:
    flat = by_hidden.reshape(parts * size, -1)[:n]
    grads = [*grads, flat.reshape(shape)]
  return found, grads
