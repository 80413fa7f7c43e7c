"""Optimizers and schedules, from optax, by the config's names."""

import re

import jax
import jax.numpy as jnp
import optax

from ctxlm.errors import UserError
from ctxlm.trees import path_name

NOT_DECAYED = ('bias', 'scale')


def schedule(config, num_steps, learning_rate=None):
  """Returns the learning rate as a function of the step.

  Linear warm-up from 0, then cosine or linear decay to
  `final_fraction * learning_rate` at `num_steps`, inverse square root
  (Vaswani et al. 2017, section 5.3, scaled to the peak rate), or constant.

  Args:
    config: the block `config.optimizer`.
    num_steps: where it ends.
    learning_rate: the peak, in place of the config's; it may be traced.

  >>> from ctxlm import config
  >>> rate = schedule(config.base().optimizer, num_steps=1000)
  >>> [round(float(rate(step)), 6) for step in (0, 99, 550, 1000)]
  [1e-05, 0.001, 0.0005, 0.0]
  """
  peak, warmup = config.learning_rate, config.warmup_steps
  peak = peak if learning_rate is None else learning_rate
  final = peak * config.final_fraction
  rest = max(num_steps - warmup, 1)
  if config.schedule == 'cosine':
    after = optax.cosine_decay_schedule(peak, rest, config.final_fraction)
  elif config.schedule == 'linear':
    after = optax.linear_schedule(peak, final, rest)
  elif config.schedule == 'rsqrt':
    start = max(warmup, 1)

    def after(step):
      # Asked for steps below 0 too, during the warm-up.
      return peak * (start / (jnp.maximum(step, 0) + start)) ** 0.5

  else:
    after = optax.constant_schedule(peak)
  if not warmup:
    return after
  # Step 0 already learns: the rate of step n is (n + 1) / warmup of the peak.
  ramp = optax.linear_schedule(peak / warmup, peak, max(warmup - 1, 1))
  return optax.join_schedules([ramp, after], [warmup])


def factors(patterns, params):
  """Returns a tree of learning-rate factors, one number a parameter.

  Args:
    patterns: (regular expression, factor) pairs; the first found in a path
      counts, 1.0 where none is.
    params: the tree.

  Raises:
    UserError: if a pattern meets no parameter, or a factor is negative.
  """
  patterns = [tuple(p) for p in patterns]
  met = set()

  def one(path, _):
    name = path_name(path)
    for pattern, factor in patterns:
      if re.search(pattern, name):
        met.add(pattern)
        return float(factor)
    return 1.0

  tree = jax.tree_util.tree_map_with_path(one, params)
  for pattern, factor in patterns:
    if pattern not in met:
      raise UserError(
        f'config.optimizer.factors: {pattern!r} meets no parameter'
      )
    if factor < 0:
      raise UserError(f'config.optimizer.factors: {pattern!r} has factor < 0')
  return tree


def decayed(params):
  """Returns a tree of bools: which parameters weight decay applies to."""
  return jax.tree_util.tree_map_with_path(
    lambda path, _: path_name(path).split('/')[-1] not in NOT_DECAYED, params
  )


def _muon_dimensions(params):
  """Says which axes of a kernel are its rows and columns; None is AdamW's.

  Muon is for the hidden matrices; embeddings, and what maps to tokens or
  labels, are left to AdamW (Jordan et al. 2024). A head's matrix from hidden
  states to hidden states is one of the former. A leading axis of stacked
  layers is a batch axis.
  """
  Dims = optax.contrib.MuonDimensionNumbers

  def one(path, x):
    name = path_name(path)
    extra = 1 if 'layers/' in name else 0
    if not name.endswith('/kernel') or name.startswith('lm_head/'):
      return None
    if name.startswith('heads/') and x.shape[0] != x.shape[-1]:
      return None
    if re.search(r'(query|key|value)/kernel$', name) and x.ndim == 3 + extra:
      return Dims(extra, (extra + 1, extra + 2))
    if re.search(r'out/kernel$', name) and x.ndim == 3 + extra:
      return Dims((extra, extra + 1), extra + 2)
    return Dims(extra, extra + 1) if x.ndim == 2 + extra else None

  return jax.tree_util.tree_map_with_path(one, params)


def make(config, num_steps, params, learning_rate=None, weight_decay=None):
  """Returns the optax transformation of `config.optimizer`.

  Args:
    config: the block `config.optimizer`.
    num_steps: where the schedule ends.
    params: parameters or their shapes, to resolve the patterns.
    learning_rate, weight_decay: in place of the config's; they may be traced.
  """
  rate = schedule(config, num_steps, learning_rate)
  c = config
  decay = c.weight_decay if weight_decay is None else weight_decay
  if c.name == 'adamw':
    tx = optax.adamw(rate, c.b1, c.b2, c.eps, weight_decay=decay, mask=decayed)
  elif c.name == 'adafactor':
    tx = optax.adafactor(
      rate, weight_decay_rate=decay, weight_decay_mask=decayed
    )
  elif c.name == 'lion':
    tx = optax.lion(rate, c.b1, c.b2, weight_decay=decay, mask=decayed)
  elif c.name == 'muon':
    tx = optax.contrib.muon(
      rate,
      weight_decay=decay,
      weight_decay_mask=decayed,
      adam_b1=c.b1,
      adam_b2=c.b2,
      adam_weight_decay=decay,
      muon_weight_dimension_numbers=_muon_dimensions,
      # Update's size as AdamW's, so that one learning rate serves both.
      consistent_rms=0.2,
    )
  else:
    tx = optax.chain(
      optax.add_decayed_weights(decay, decayed),
      optax.sgd(rate, c.momentum or None),
    )
  chain = [optax.clip_by_global_norm(c.clip_norm)] if c.clip_norm else []
  chain.append(tx)
  tree = factors(c.factors, params)
  if any(f != 1.0 for f in jax.tree.leaves(tree)):
    chain.append(_scale_each(tree))
  tx = optax.chain(*chain)
  if all(f != 0.0 for f in jax.tree.leaves(tree)):
    return tx
  # Frozen parameters have no moments and don't count in the clipped norm.
  labels = jax.tree.map(lambda f: 'frozen' if f == 0.0 else 'trained', tree)
  return optax.partition({'trained': tx, 'frozen': optax.set_to_zero()}, labels)


def _scale_each(tree):
  leaves = {
    path_name(p): f for p, f in jax.tree_util.tree_leaves_with_path(tree)
  }

  def update(updates, state, params=None):
    del params

    def one(path, u):
      return u * leaves[path_name(path)]

    return jax.tree_util.tree_map_with_path(one, updates), state

  return optax.GradientTransformation(lambda _: optax.EmptyState(), update)
