"""What recipes share: the base config, and blocks of it.

Every key, with a line on what it is, stands in `ctxlm.config.base`.
"""

from ctxlm.config import base
from ctxlm.errors import UserError
from ctxlm.training import initial

__all__ = [
  'base',
  'bert_shape',
  'gpt2_shape',
  'llama_shape',
  'start_from',
  'task',
]


def task(data, objective, weight=1.0):
  """Returns a block of `config.tasks`."""
  return {'data': data, 'objective': objective, 'weight': weight}


def start_from(c, folder):
  """Makes a recipe start from a folder: its parameters, model and tokenizer.

  Args:
    c: the recipe's config.
    folder: of Hugging Face or sentence-transformers, a model folder that
      `ctxlm convert` wrote, or a run folder.

  Returns:
    families.opened.Opened, which knows what else the folder holds.
  """
  opened = initial.open_folder(folder)
  if opened.tokenizer is None:
    raise UserError(f'{folder} has no tokenizer: put its files there')
  c.init_from = str(folder)
  c.model = opened.block
  c.tokenizer.kind = 'file'
  c.tokenizer.path = str(opened.tokenizer_path.resolve())
  return opened


def gpt2_shape(hidden_size, num_layers, num_heads, **more):
  """Returns `config.model` of a decoder in the shape of GPT-2."""
  return {
    'name': 'transformer',
    'hidden_size': hidden_size,
    'num_layers': num_layers,
    'num_heads': num_heads,
  } | more


def llama_shape(hidden_size, num_layers, num_heads, **more):
  """Returns `config.model` of a decoder in the shape of LLaMA."""
  return {
    'name': 'transformer',
    'hidden_size': hidden_size,
    'num_layers': num_layers,
    'num_heads': num_heads,
    'activation': 'silu',
    'gated': True,
    'norm': 'rmsnorm',
    'position': 'rotary',
    'bias': False,
    'tie_embeddings': False,
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
