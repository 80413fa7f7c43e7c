"""GGUF files of LLaMA's family, as what Hugging Face has of the same model.

The package `gguf` parses and dequantises. llama.cpp's conversion turns each
head's query and key rows about (it rotates neighbours, x_2i and x_2i+1, where
Hugging Face rotates halves), which is undone here.
"""

import json
import re

import numpy as np

from ctxlm import files, ranges
from ctxlm.data.tokenizers import gguf as gguf_lib
from ctxlm.errors import UserError, reason

VERSION = 1  # raise it whenever `settings` writes something else
NAMES = {
  'token_embd': 'model.embed_tokens',
  'output_norm': 'model.norm',
  'output': 'lm_head',
  'attn_norm': 'input_layernorm',
  'attn_q': 'self_attn.q_proj',
  'attn_k': 'self_attn.k_proj',
  'attn_v': 'self_attn.v_proj',
  'attn_output': 'self_attn.o_proj',
  'ffn_norm': 'post_attention_layernorm',
  'ffn_gate': 'mlp.gate_proj',
  'ffn_up': 'mlp.up_proj',
  'ffn_down': 'mlp.down_proj',
}
NAME = re.compile(r'(?:blk\.(\d+)\.)?([a-z_]+)\.(weight|bias)', re.ASCII)
KINDS = {  # of the keys llama.NAME; others are not known
  'context_length': ranges.Count,
  'embedding_length': ranges.Count,
  'block_count': ranges.Whole,
  'feed_forward_length': ranges.Count,
  'attention.head_count': ranges.Count,
  'attention.head_count_kv': ranges.Count,
  'attention.key_length': ranges.Count,
  'attention.value_length': ranges.Count,
  'attention.layer_norm_rms_epsilon': ranges.ZeroOrMore,
  'rope.dimension_count': ranges.Count,
  'rope.freq_base': ranges.AboveZero,
  'vocab_size': ranges.Count,
}
MUST = (*list(KINDS)[:5], 'attention.layer_norm_rms_epsilon')
# Where they are one of these values they do nothing.
OTHERS = {
  'tensor_data_layout': ('', 'Meta AI original pth'),
  'expert_count': (0,),
  'expert_used_count': (0,),
  'rope.scaling.type': ('none',),
  'rope.scaling.factor': (0.0, 1.0),
  'rope.scale_linear': (1.0,),
}


def open_file(path):
  """Opens a file.

  Args:
    path: pathlib.Path.

  Returns:
    (pathlib.Path of a folder with its settings and tokenizer as Hugging Face
    has them, {their name: tensor}). A tensor has `shape`, and is dequantised
    where it is sliced, float32.

  Raises:
    UserError: an architecture, a quantisation or a tokenizer that is not
      supported, or a damaged file.
  """
  reader = gguf_lib.open_file(path)
  general = {'architecture': str, 'alignment': ranges.Count}
  kind = gguf_lib.values(reader, 'general.', general, path)['architecture']
  if kind != 'llama':
    raise UserError(
      f'{path}: the architecture {kind!r} is not supported; llama is'
    )
  if 'split.count' in reader.fields:
    raise UserError(
      f'{path} is a part of a model: join all with llama-gguf-split --merge'
    )
  config = _config(reader, path)
  tensors = _tensors(reader, config, path)
  config |= {
    'tie_word_embeddings': 'lm_head.weight' not in tensors,
    'attention_bias': any(n.endswith('q_proj.bias') for n in tensors),
    'mlp_bias': any(n.endswith('up_proj.bias') for n in tensors),
  }
  return _settings(reader, config, path), tensors


def _config(reader, path):
  # config.json's keys, but for what the tensors tell.
  said = gguf_lib.values(reader, 'llama.', KINDS, path)
  for name in MUST:
    if said[name] is None:
      raise UserError(f'{path}: llama.{name} is missing')
  for name in reader.fields:
    key = name.removeprefix('llama.')
    if key == name or key in KINDS:
      continue
    value = reader.fields[name].contents()
    if value not in OTHERS.get(key, ()):
      raise UserError(f'{path}: {name}={value!r} is not supported')
  heads = said['attention.head_count']
  head_dim = said['attention.key_length'] or said['embedding_length'] // heads
  for key in ('attention.value_length', 'rope.dimension_count'):
    if said[key] not in (None, head_dim):
      raise UserError(
        f'{path}: llama.{key}={said[key]} is not supported where a head has '
        f'{head_dim} dimensions'
      )
  tokens = reader.fields.get(f'{gguf_lib.KEY}tokens')
  tokens = len(tokens.data) if tokens else 0
  if tokens > (said['vocab_size'] or tokens):
    raise UserError(
      f'{path}: {tokens} tokens are more than llama.vocab_size='
      f'{said["vocab_size"]}'
    )
  return {
    'model_type': 'llama',
    'architectures': ['LlamaForCausalLM'],
    'vocab_size': said['vocab_size'] or tokens,
    'hidden_size': said['embedding_length'],
    'num_hidden_layers': said['block_count'],
    'num_attention_heads': heads,
    'num_key_value_heads': said['attention.head_count_kv'] or heads,
    'head_dim': head_dim,
    'intermediate_size': said['feed_forward_length'],
    'max_position_embeddings': said['context_length'],
    'hidden_act': 'silu',
    'rms_norm_eps': _short(said['attention.layer_norm_rms_epsilon']),
    'rope_parameters': {
      'rope_type': 'default',
      'rope_theta': _short(said['rope.freq_base'] or 10000.0),
    },
  }


def _short(number):
  # A float32's shortest decimal: 1e-05, and not 9.999999747378752e-06.
  return float(str(np.float32(number)))


def _tensors(reader, config, path):
  tensors, kinds = {}, {}
  for tensor in reader.tensors:
    match = NAME.fullmatch(tensor.name)
    if not match or match[2] not in NAMES:
      raise UserError(
        f'{path}: {tensor.name} has no place in a llama model here'
      )
    layer, part, leaf = match.groups()
    kinds.setdefault(tensor.tensor_type, tensor)
    name = f'{NAMES[part]}.{leaf}'
    if layer is not None:
      name = f'model.layers.{int(layer)}.{name}'
    heads = {
      'attn_q': config['num_attention_heads'],
      'attn_k': config['num_key_value_heads'],
    }
    tensors[name] = Tensor(tensor, heads.get(part))
  for kind, tensor in kinds.items():
    try:
      gguf_lib.dequantize(tensor.data[:1], kind)
    except Exception as e:
      raise UserError(
        f'{path}: the quantisation {kind.name} is not supported: {reason(e)}'
      ) from e
  return tensors


class Tensor:
  """A tensor of a file, which is dequantised row by row when it is sliced."""

  def __init__(self, tensor, heads=None):
    """Takes a gguf.ReaderTensor, and of which heads its rows are, if any."""
    self._data, self._kind = tensor.data, tensor.tensor_type
    self.shape = tuple(int(n) for n in reversed(tensor.shape))
    self._order = None
    if heads and self.shape and self.shape[0] % (2 * heads) == 0:
      rows = np.arange(self.shape[0]).reshape(heads, -1, 2)
      self._order = rows.swapaxes(1, 2).reshape(-1)

  def __getitem__(self, slices):
    slices = slices if isinstance(slices, tuple) else (slices,)
    rows, rest = slices[0], slices[1:]
    if len(self.shape) == 1:  # a block may be longer than what is asked for
      data = gguf_lib.dequantize(self._data, self._kind)
      return data[rows if self._order is None else self._order[rows]]
    if self._order is not None:
      rows = self._order[rows]
    data = gguf_lib.dequantize(self._data[rows], self._kind)
    return data[(slice(None), *rest)]


def _settings(reader, config, path):
  tokenizer, about = gguf_lib.read(path)
  ids = gguf_lib.values(reader, gguf_lib.KEY, gguf_lib.KINDS, path)
  config |= {
    key.replace('_token', '_token_id'): ids[name]
    for key, name in gguf_lib.ROLES.items()
    if ids[name] is not None
  }
  ends = {ids['eos_token_id'], ids['eot_token_id']} - {None}
  generation = {'eos_token_id': sorted(ends)} if ends else {}
  template = gguf_lib.chat_template(path)
  contents = {
    'config.json': config,
    'generation_config.json': generation,
  }
  if tokenizer:
    about |= {'model_max_length': config['max_position_embeddings']}
    about |= {'chat_template': template} if template is not None else {}
    contents['tokenizer_config.json'] = about
    contents['tokenizer.json'] = json.loads(tokenizer.to_str())

  def build(folder):
    for name, content in contents.items():
      text = json.dumps(content, indent=2, ensure_ascii=False) + '\n'
      (folder / name).write_text(text, encoding='utf-8')

  key = files.digest(VERSION, json.dumps(contents))
  return files.folder('gguf', key, build)
