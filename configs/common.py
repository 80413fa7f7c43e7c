"""What recipes share: the base config, and blocks of it.

Every key, with a line on what it is, stands in `ctxlm.config.base`.
"""

import dataclasses

from ctxlm.config import base
from ctxlm.errors import UserError
from ctxlm.training import initial

__all__ = [
  'base',
  'bert_shape',
  'finetune',
  'gpt2_shape',
  'llama_shape',
  'multi30k_pairs',
  'seq2seq',
  'snli_pairs',
  'sst2_texts',
  'start_from',
  'stsb_pairs',
  'task',
  'trec_questions',
  'vectors',
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
  c.adapt = opened.adapt or {}
  c.tokenizer.kind = 'file'
  c.tokenizer.path = str(opened.tokenizer_path.resolve())
  return opened


def vectors(folder, pooling='mean'):
  """Returns options of contrastive by which a folder makes vectors.

  Args:
    folder: see `start_from`.
    pooling: where the folder says nothing of it.
  """
  own = initial.open_folder(folder).sentence
  if own is None:
    return {'pooling': pooling}
  maps = tuple(map(dataclasses.asdict, own.dense))
  return {'pooling': own.pooling, 'dense': maps}


def finetune(folders, data, max_length, num_steps, learning_rate):
  """Begins a recipe that trains on from a checkpoint, judged three times.

  Args:
    folders: 'CHECKPOINT', or 'CHECKPOINT,FOLDER' of its data.
    data: folder of the data where none is said.
    max_length: tokens in a row, if the model has as many.
    num_steps: of 32 examples.
    learning_rate: the highest; it falls to 0 in a line.

  Returns:
    (config, folder of the data, steps between judgements).
  """
  checkpoint, _, folder = folders.partition(',')
  c = base()
  opened = start_from(c, checkpoint)
  c.max_length = min(opened.block['max_length'], max_length)
  c.batch_size, c.num_steps = 32, num_steps
  c.optimizer.learning_rate = learning_rate
  c.optimizer.schedule = 'linear'
  c.optimizer.warmup_steps = num_steps // 10
  c.checkpoint.every_steps = -(-num_steps // 3)
  return c, folder or data, c.checkpoint.every_steps


def seq2seq(folders, data):
  """Begins a recipe of an encoder-decoder, from scratch or from a checkpoint.

  With GPT-2's 0.02 the queries and keys of a narrow model are near 0: that
  each word is another one, of the place beside, it had not learned in 500 steps
  (4.9 nats), and with this it had in 180 (0.3).

  Args:
    folders: 'CHECKPOINT', or 'CHECKPOINT,FOLDER' of its data; without a
      checkpoint it is a small one, whose tokenizer is trained too.
    data: folder of the data where none is said.

  Returns:
    (config, folder of the data).
  """
  checkpoint, _, folder = folders.partition(',')
  c = base()
  if checkpoint:
    start_from(c, checkpoint)
  else:
    c.model = {
      'name': 'encoder_decoder',
      'hidden_size': 192,
      'num_layers': 3,
      'num_heads': 4,
      # BART's shape, so that transformers can load it.
      'norm_position': 'post',
      'final_norm': False,
      'embedding_norm': True,
      'position_offset': 2,
      'activation': 'gelu',
      'dropout': 0.1,
      'init_stddev': 192**-0.5,
    }
    c.tokenizer.vocab_size = 6000
  return c, folder or data


def sst2_texts(folder):
  """Returns the block of SST-2's sentences and their labels, 0 or 1."""
  return {
    'name': 'files',
    'split_patterns': {
      'train': f'{folder}/train.tsv',
      'validation': f'{folder}/dev.tsv',
    },
    'columns': ('text', 'label'),
  }


def trec_questions(folder):
  """Returns the block of TREC's questions and their labels, such as NUM."""
  return {
    'name': 'files',
    'split_patterns': {
      'train': f'{folder}/train.txt',
      'validation': f'{folder}/test.txt',
    },
    'line': '{label}:{fine} {text}',
    'encoding': 'latin-1',
  }


def multi30k_pairs(folder):
  """Returns the block of Multi30k's captions, English and German."""
  return {
    'name': 'files',
    'split_patterns': {
      split: {
        'text_a': f'{folder}/{name}.en.gz',
        'text_b': f'{folder}/{name}.de.gz',
      }
      for split, name in (('train', 'train'), ('validation', 'val'))
    },
  }


def snli_pairs(folder):
  """Returns the block of SNLI's pairs; a premise is in one split."""
  return {
    'name': 'files',
    'pattern': f'{folder}/snli.txt.gz',
    'format': 'tsv',
    'columns': ('premise', 'hypothesis', 'label'),
    'fields': {
      'context': 'premise',  # which the split goes by
      'text_a': 'premise',
      'text_b': 'hypothesis',
      'label': 'label',
    },
  }


def stsb_pairs(folder):
  """Returns the block of STS benchmark's pairs and their scores."""
  return {
    'name': 'files',
    'split_patterns': {
      'train': f'{folder}/stsb-en-train.csv',
      'validation': f'{folder}/stsb-en-dev.csv',
    },
    'columns': ('text_a', 'text_b', 'score'),
  }


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
