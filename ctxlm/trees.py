"""Trees of parameters: their leaves by path."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util


def path_name(path):
  """Returns 'layers_0/attention/query/kernel' for a jax tree path."""
  return jax.tree_util.keystr(path, simple=True, separator='/')


def flatten(tree):
  """Returns {'a/b': leaf} of {'a': {'b': leaf}}, or of any pytree.

  >>> flatten({'dense': {'kernel': 1, 'bias': 2}})
  {'dense/bias': 2, 'dense/kernel': 1}
  """
  leaves = jax.tree_util.tree_leaves_with_path(tree)
  return {path_name(path): leaf for path, leaf in leaves}


def nest(flat):
  """Returns {'a': {'b': x}} of {'a/b': x}: the inverse of `flatten`.

  >>> nest({'dense/bias': 2, 'dense/kernel': 1})
  {'dense': {'bias': 2, 'kernel': 1}}
  """
  return traverse_util.unflatten_dict(flat, sep='/')


def split(tree, names):
  """Returns (the tree without some leaves, these leaves {path: leaf}).

  >>> split({'dense': {'kernel': 1, 'bias': 2}}, {'dense/bias'})
  ({'dense': {'kernel': 1}}, {'dense/bias': 2})
  """
  if not names:
    return tree, {}
  flat = flatten(tree)
  kept = {name: x for name, x in flat.items() if name not in names}
  return nest(kept), {name: flat[name] for name in flat.keys() - kept.keys()}


def join(tree, leaves):
  """Returns the tree that `split` has taken apart."""
  return nest(flatten(tree) | leaves) if leaves else tree


def map_with_name(function, tree, *rest):
  """Returns the tree of `function(path name, leaf, ...)`."""
  return jax.tree_util.tree_map_with_path(
    lambda path, *leaves: function(path_name(path), *leaves), tree, *rest
  )


def abstract(shapes, shardings):
  """Returns the tree of jax.ShapeDtypeStruct that knows its shardings."""

  def one(x, sharding):
    return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding)

  return jax.tree.map(one, shapes, shardings)


def of_leaves(leaves, on_devices, on_host):
  """Returns {path: on_host(array)} of {path: array}, however they are placed.

  Few numbers are brought here: a program for them takes longer to compile.

  Args:
    leaves: arrays.
    on_devices: compiled, gives the same of all of them, where they are.
    on_host: function of a numpy array.
  """
  near = all(getattr(x, 'is_fully_addressable', True) for x in leaves.values())
  if near and sum(x.size for x in leaves.values()) <= FEW:
    return {name: on_host(x) for name, x in jax.device_get(leaves).items()}
  return jax.device_get(on_devices(leaves))


FEW = 2**20  # numbers


def non_finite(tree):
  """Returns the path of the first leaf with a NaN or an infinity, or None.

  However the leaves are placed.
  """
  floats = {
    name: x
    for name, x in flatten(tree).items()
    if jnp.issubdtype(x.dtype, jnp.floating)
  }
  finite = of_leaves(floats, _finite, lambda x: np.isfinite(x).all())
  return next((name for name in floats if not finite[name]), None)


@jax.jit
def _finite(leaves):
  # One program for all: simulated devices can dead-lock on several at once.
  return {name: jnp.isfinite(x).all() for name, x in leaves.items()}
