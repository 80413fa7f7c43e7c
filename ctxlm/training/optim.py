"""Optimizers and schedules, from optax, by the config's names."""

import re

import jax
import jax.numpy as jnp
import optax

from ctxlm import trees
from ctxlm.errors import UserError

NOT_DECAYED = ('bias', 'scale')


def schedule(config, num_steps):
  """Returns the learning rate as a function of the step.

  Linear warm-up from 0, then cosine or linear decay to
  `final_fraction * learning_rate` at `num_steps`, inverse square root
  (Vaswani et al. 2017, section 5.3, scaled to the peak rate), or constant.

  Args:
    config: the block `config.optimizer`.
    num_steps: where it ends.

  >>> from ctxlm import config
  >>> rate = schedule(config.base().optimizer, num_steps=1000)
  >>> [round(float(rate(step)), 6) for step in (0, 99, 550, 1000)]
  [1e-05, 0.001, 0.0005, 0.0]
  """
  peak, warmup = config.learning_rate, config.warmup_steps
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

  def one(name, _):
    for pattern, factor in patterns:
      if re.search(pattern, name):
        met.add(pattern)
        return float(factor)
    return 1.0

  tree = trees.map_with_name(one, params)
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
  return trees.map_with_name(
    lambda name, _: name.split('/')[-1] not in NOT_DECAYED, params
  )


def _muon_dimensions(params):
  """Says which axes of a kernel are its rows and columns; None is AdamW's.

  Muon is for the hidden matrices; embeddings, and what maps to tokens or
  labels, are left to AdamW (Jordan et al. 2024). A head's matrix from hidden
  states to hidden states is one of the former. A leading axis of stacked
  layers is a batch axis.
  """
  Dims = optax.contrib.MuonDimensionNumbers

  def one(name, x):
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

  return trees.map_with_name(one, params)


def make(config, num_steps, params):
  """Returns the optax transformation of `config.optimizer`.

  Args:
    config: the block `config.optimizer`.
    num_steps: where the schedule ends.
    params: parameters or their shapes, to resolve the patterns.
  """
  rate = schedule(config, num_steps)
  c, decay = config, config.weight_decay
  if c.name == 'adamw':
    tx = optax.adamw(rate, c.b1, c.b2, c.eps, weight_decay=decay, mask=decayed)
  elif c.name == 'lion':
    tx = optax.lion(rate, c.b1, c.b2, weight_decay=decay, mask=decayed)
  elif c.name == 'adafactor':
    # optax.adafactor decays after the rate has been applied, so by the whole
    # of `decay` a step.
    tx = _decayed_at(rate, decay, optax.adafactor(None))
  elif c.name == 'muon':
    # optax's decays the norms and biases, which it leaves to AdamW.
    muon = optax.contrib.muon(
      1.0,
      weight_decay=0.0,
      adam_b1=c.b1,
      adam_b2=c.b2,
      muon_weight_dimension_numbers=_muon_dimensions,
      # Update's size as AdamW's, so that one learning rate serves both.
      consistent_rms=0.2,
    )
    tx = _decayed_at(rate, decay, muon)
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


def _decayed_at(rate, decay, descent):
  # `descent` gives updates of rate 1; AdamW's decay is times the rate too.
  return optax.chain(
    descent,
    optax.add_decayed_weights(-decay, decayed),
    optax.scale_by_learning_rate(rate, flip_sign=False),
  )


def _scale_each(tree):
  named = trees.flatten(tree)

  def update(updates, state, params=None):
    del params
    # By name: where parameters are frozen, `updates` is a part of the tree.
    return trees.map_with_name(lambda name, u: u * named[name], updates), state

  return optax.GradientTransformation(lambda _: optax.EmptyState(), update)
