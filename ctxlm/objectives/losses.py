"""Sums that objectives share: cross-entropy and accuracy with weights."""

import jax
import jax.numpy as jnp


def cross_entropy(logits, targets, weights, smoothing=0.0):
  """Returns (sum of weights * -log p(target), sum of weights).

  Args:
    logits: float [..., v].
    targets: int [...].
    weights: float [...].
    smoothing: e; the label is (1 - e) of the target and e / v of each token.

  >>> cross_entropy(jnp.zeros((2, 4)), jnp.array([0, 3]), jnp.array([1.0, 0.0]))
  (Array(1.3862944, dtype=float32), Array(1., dtype=float32))
  """
  logits = logits.astype(jnp.float32)
  at = jnp.take_along_axis(logits, targets[..., None], axis=-1)[..., 0]
  if smoothing:
    at = (1 - smoothing) * at + smoothing * logits.mean(-1)
  nats = jax.nn.logsumexp(logits, axis=-1) - at
  weights = weights.astype(jnp.float32)
  return (nats * weights).sum(), weights.sum()


def each_cross_entropy(logits, targets, weights):
  """Returns sums of weights * nats of yes or no, each number by itself.

  Args:
    logits: float [..., n], log-odds.
    targets: float [..., n], from 0 to 1.
    weights: float, of a shape that is broadcast to theirs.

  >>> each_cross_entropy(jnp.zeros((1, 2)), jnp.array([[0, 1.0]]), jnp.ones(1))
  (Array(1.3862944, dtype=float32), Array(2., dtype=float32))
  """
  logits = logits.astype(jnp.float32)
  weights = jnp.broadcast_to(weights.astype(jnp.float32), logits.shape)
  nats = jax.nn.softplus(logits) - logits * targets
  return (nats * weights).sum(), weights.sum()


def accuracy(logits, targets, weights):
  """Returns (sum of weights where the largest logit is right, weights).

  >>> accuracy(jnp.eye(4)[:2], jnp.array([0, 3]), jnp.ones(2))
  (Array(1., dtype=float32), Array(2., dtype=float32))
  """
  weights = weights.astype(jnp.float32)
  right = (logits.argmax(-1) == targets).astype(jnp.float32)
  return (right * weights).sum(), weights.sum()


def smoothed(logits, targets, weights, smoothing):
  """Returns the sums of a loss by labels that may be smoothed.

  Args:
    logits, targets, weights, smoothing: see `cross_entropy`.

  Returns:
    {'loss', 'accuracy'}, and with smoothed labels 'nats', of the plain ones:
    (numerator, denominator) each.
  """
  sums = {
    'loss': cross_entropy(logits, targets, weights, smoothing),
    'accuracy': accuracy(logits, targets, weights),
  }
  if smoothing:
    sums['nats'] = cross_entropy(logits, targets, weights)
  return sums


def symmetric_kl(a, b):
  """Returns (KL(p | q) + KL(q | p)) / 2 of logits a and b [..., n]: [...]."""
  p, q = (jax.nn.log_softmax(x.astype(jnp.float32)) for x in (a, b))
  return ((jnp.exp(p) - jnp.exp(q)) * (p - q)).sum(-1) / 2


def jensen_shannon(a, b):
  """Returns their divergence, (KL(p | m) + KL(q | m)) / 2, m = (p + q) / 2.

  Args:
    a, b: logits [..., n] of p and q.
  """
  p, q = (jax.nn.log_softmax(x.astype(jnp.float32)) for x in (a, b))
  middle = jnp.logaddexp(p, q) - jnp.log(2.0)
  return sum((jnp.exp(x) * (x - middle)).sum(-1) for x in (p, q)) / 2


def weighted(values, weights):
  """Returns (sum of weights * values, sum of weights).

  Args:
    values: float [...].
    weights: float, of a shape that is broadcast to theirs.
  """
  weights = jnp.broadcast_to(weights.astype(jnp.float32), values.shape)
  return (values * weights).sum(), weights.sum()


def rows(batch, rng):
  """Returns the rows that dropout is drawn by; None without a key."""
  return None if rng is None else batch['index']
