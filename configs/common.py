"""What recipes share: the base config, and blocks of it.

Every key, with a line on what it is, stands in `ctxlm.config.base`.
"""

from ctxlm.config import base

__all__ = ['base', 'bert_shape', 'gpt2_shape', 'task']


def task(data, objective, weight=1.0):
  """Returns a block of `config.tasks`."""
  return {'data': data, 'objective': objective, 'weight': weight}


def gpt2_shape(hidden_size, num_layers, num_heads, **more):
  """Returns `config.model` of a decoder in the shape of GPT-2."""
  return {
    'name': 'transformer',
    'hidden_size': hidden_size,
    'num_layers': num_layers,
    'num_heads': num_heads,
  } | more


def bert_shape(hidden_size, num_layers, num_heads, **more):
  """Returns `config.model` of an encoder in the shape of BERT."""
  return {
    'name': 'transformer',
    'hidden_size': hidden_size,
    'num_layers': num_layers,
    'num_heads': num_heads,
    'causal': False,
    'norm_position': 'post',
    'final_norm': False,
    'embedding_norm': True,
    'norm_epsilon': 1e-12,
    'activation': 'gelu',
    'type_vocab_size': 2,
  } | more
