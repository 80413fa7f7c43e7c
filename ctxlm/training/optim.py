"""Optimizers and schedules, from optax, by the config's names."""

import re

import jax.numpy as jnp
import numpy as np
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


def factors(config, params):
  """Returns {path: learning-rate factor}, a number, or one a stacked layer.

  Args:
    config: the block `config.optimizer`.
    params: the whole tree, or its shapes.

  Raises:
    UserError: if a pattern meets no parameter, a factor is negative, or
      layer_decay finds no layers.
  """
  patterns = [tuple(p) for p in config.factors]
  met = set()

  def one(name):
    for pattern, factor in patterns:
      if re.search(pattern, name):
        met.add(pattern)
        return float(factor)
    return 1.0

  found = {name: one(name) for name in trees.flatten(params)}
  for pattern, factor in patterns:
    if pattern not in met:
      raise UserError(
        f'config.optimizer.factors: {pattern!r} meets no parameter'
      )
    if factor < 0:
      raise UserError(f'config.optimizer.factors: {pattern!r} has factor < 0')
  if config.layer_decay < 1.0:
    for name, count in heights(params, 'layer_decay').items():
      found[name] = found[name] * config.layer_decay**count
  return found


def frozen(config, params):
  """Returns the paths whose factor is 0; see `factors`."""
  found = factors(config, params).items()
  return {name for name, factor in found if not np.any(factor)}


def heights(params, option):
  """Returns {path: layers between it and its stack's output}, itself counted.

  0 is of heads and of a final norm, 1 of the last layer, and one more than
  layers of what lies below them: embeddings, and relative positions. Each
  stack of an encoder-decoder is counted by itself. Of stacked layers it is
  an array int [layers, 1, ...].

  Args:
    params: the whole tree, or its shapes.
    option: of config.optimizer, that a mistake names.

  Raises:
    UserError: the model has no layers_0, layers_1, ..., or stacked `layers`.
  """
  flat = trees.flatten(params)
  depth, found = {}, {}
  for name, x in flat.items():
    if match := LAYER.search(name):
      count = int(match[2]) + 1 if match[2] else x.shape[0]
      stack = name[: match.start()]
      depth[stack] = max(depth.get(stack, 0), count)
  if not depth:
    raise UserError(
      f'config.optimizer.{option} needs layers, and no parameter of the model '
      'lies below layers_0, layers_1, ...'
    )
  for name, x in flat.items():
    match = LAYER.search(name)
    if match and match[2]:
      found[name] = depth[name[: match.start()]] - int(match[2])
    elif match:
      count = np.arange(x.shape[0], 0, -1)
      found[name] = count.reshape(-1, *[1] * (len(x.shape) - 1))
    else:
      below = BELOW.search(name) and not name.startswith('heads/')
      found[name] = max(depth.values()) + 1 if below else 0
  return found


LAYER = re.compile(r'(^|/)layers(?:_(\d+))?/')
BELOW = re.compile(r'inputs/|embed|relative_position/')


def decayed(params):
  """Returns a tree of bools: which parameters weight decay applies to."""

  def one(name, x):
    axes = x.ndim - ('layers/' in name)  # without that of stacked layers
    return axes > 1 and not name.endswith(NOT_DECAYED)

  return trees.map_with_name(one, params)


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

  It is of the tree, or of a part of it: what is frozen is left out.

  Args:
    config: the block `config.optimizer`.
    num_steps: where the schedule ends.
    params: the whole tree, or its shapes, to resolve the patterns.

  Raises:
    UserError: see `factors`; or unfreeze_every can't be.
  """
  rate = schedule(config, num_steps)
  chain, every = [], config.unfreeze_every
  by_name = factors(config, params)
  if every:
    height = heights(params, 'unfreeze_every')
    if any(np.ndim(count) for count in height.values()):
      raise UserError(
        'config.optimizer.unfreeze_every is of layers one by one: set '
        'config.model.scan_layers=False'
      )
    begins = {name: count * every for name, count in height.items()}
    # Those that are frozen still don't count in the clipped norm.
    chain.append(_begun(begins))
  if config.clip_norm:
    chain.append(optax.clip_by_global_norm(config.clip_norm))
  if every:

    def descent(start):
      # Its own count of steps, and so its moments, begin when it does.
      tx = _descent(config, lambda count: rate(count + start))
      return optax.conditionally_mask(tx, lambda step: step >= start)

    groups = {str(start): descent(start) for start in set(begins.values())}

    def labels(tree):
      return trees.map_with_name(lambda name, _: str(begins[name]), tree)

    chain.append(optax.partition(groups, labels))
  else:
    chain.append(_descent(config, rate))
  if any(np.any(factor != 1.0) for factor in by_name.values()):
    chain.append(_scale_each(by_name))
  return optax.chain(*chain)


def _descent(c, rate):
  # What a step goes by, before factors.
  decay = c.weight_decay
  if c.name == 'adamw':
    return optax.adamw(
      rate, c.b1, c.b2, c.eps, weight_decay=decay, mask=decayed
    )
  if c.name == 'lion':
    return optax.lion(rate, c.b1, c.b2, weight_decay=decay, mask=decayed)
  if c.name == 'adafactor':
    # optax.adafactor decays after the rate has been applied, so by the whole
    # of `decay` a step.
    return _decayed_at(rate, decay, optax.adafactor(None))
  if c.name == 'muon':
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
    return _decayed_at(rate, decay, muon)
  return optax.chain(
    optax.add_decayed_weights(decay, decayed),
    optax.sgd(rate, c.momentum or None),
  )


def _decayed_at(rate, decay, descent):
  # `descent` gives updates of rate 1; AdamW's decay is times the rate too.
  return optax.chain(
    descent,
    optax.add_decayed_weights(-decay, decayed),
    optax.scale_by_learning_rate(rate, flip_sign=False),
  )


def _begun(begins):
  def update(updates, step, params=None):
    del params
    updates = trees.map_with_name(
      lambda name, u: jnp.where(step >= begins[name], u, 0), updates
    )
    return updates, step + 1

  return optax.GradientTransformation(
    lambda _: jnp.zeros((), jnp.int32), update
  )


def _scale_each(named):
  def update(updates, state, params=None):
    del params
    # By name: where parameters are frozen, `updates` is a part of the tree.
    return trees.map_with_name(lambda name, u: u * named[name], updates), state

  return optax.GradientTransformation(lambda _: optax.EmptyState(), update)
