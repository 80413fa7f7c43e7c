"""Copies the weights of small random Hugging Face models into our tree."""

import numpy as np


def nest(flat):
  """Returns {'a': {'b': x}} of {'a/b': x}."""
  tree = {}
  for path, value in flat.items():
    *parents, last = path.split('/')
    node = tree
    for name in parents:
      node = node.setdefault(name, {})
    node[last] = np.asarray(value, np.float32)
  return tree


def arrays(model):
  """Returns a torch module's weights, randomised, biases and norms too."""
  import torch

  torch.manual_seed(0)
  with torch.no_grad():
    for name, p in model.named_parameters():
      norm = 'norm' in name.lower() or 'ln_' in name
      p.normal_(1.0 if norm and name.endswith('weight') else 0.0, 0.1)
  return {k: v.detach().numpy().copy() for k, v in model.state_dict().items()}


def linear(weights, ours, theirs):
  """Returns kernel and bias of a torch Linear, which is [out, in]."""
  found = {f'{ours}/kernel': weights[f'{theirs}.weight'].T}
  if f'{theirs}.bias' in weights:
    found[f'{ours}/bias'] = weights[f'{theirs}.bias']
  return found


def norm(weights, ours, theirs):
  """Returns scale and bias of a LayerNorm or RMSNorm."""
  found = {f'{ours}/scale': weights[f'{theirs}.weight']}
  if f'{theirs}.bias' in weights:
    found[f'{ours}/bias'] = weights[f'{theirs}.bias']
  return found


def attention(weights, ours, names, head_dim):
  """Returns query, key, value [m, h, d] and out [h, d, m].

  Args:
    weights: see arrays.
    ours: path of the module.
    names: the four torch Linears.
    head_dim: d.
  """
  found = {}
  for name, theirs in zip(('query', 'key', 'value'), names[:3], strict=True):
    for key, x in linear(weights, f'{ours}/{name}', theirs).items():
      found[key] = x.reshape(*x.shape[:-1], -1, head_dim)
  for key, x in linear(weights, f'{ours}/out', names[3]).items():
    found[key] = x.reshape(-1, head_dim, x.shape[1]) if x.ndim == 2 else x
  return found
