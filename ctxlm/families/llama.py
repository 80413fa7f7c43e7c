"""LLaMA (Touvron et al. 2023), and Mistral (Jiang et al. 2023) by its window.

Rotary positions, RMSNorm, gated SiLU MLP, grouped-query heads.
"""

import dataclasses

from ctxlm import ranges
from ctxlm.errors import UserError
from ctxlm.families import rules
from ctxlm.families.family import Family

OURS, THEIRS = 'stack/layers_{}', 'layers.{}'


def _read(settings):
  # The older key wins, as in the reference.
  rope = settings.get('rope_scaling') or settings.get('rope_parameters') or {}
  ranges.check_json(ROPE, rope, 'config.json: ')
  kind = rope.get('rope_type', rope.get('type', 'default'))
  if kind != 'default':
    raise UserError(f'config.json: rope_type {kind!r} is not supported')
  partial = rope.get(
    'partial_rotary_factor', settings.get('partial_rotary_factor', 1.0)
  )
  if partial not in (None, 1.0):
    raise UserError(
      f'config.json: partial_rotary_factor={partial} is not supported'
    )
  base = rope.get('rope_theta', settings.get('rope_theta'))
  return {'rotary_base': 10000.0 if base is None else float(base)}


def _write(o):
  rope = {'rope_type': 'default', 'rope_theta': o['rotary_base']}
  return {
    'rope_parameters': rope,
    'rope_scaling': None,
    'rope_theta': o['rotary_base'],
  }


def _read_mistral(settings):
  if settings.get('layer_types'):
    raise UserError('config.json: layer_types of mistral are not supported')
  return _read(settings) | {'window': settings.get('sliding_window', 4096) or 0}


def _write_mistral(o):
  return _write(o) | {'sliding_window': o['window'] or None}


def _classes(stem):
  return (
    (('classification',), f'{stem}ForSequenceClassification'),
    (('tagging',), f'{stem}ForTokenClassification'),
    (('span',), f'{stem}ForQuestionAnswering'),
    (('lm',), f'{stem}ForCausalLM'),
    ((), f'{stem}Model'),
  )


ROPE = {
  'rope_parameters': dict,
  'rope_scaling': dict,
  'rope_theta': ranges.AboveZero,
  'partial_rotary_factor': ranges.Finite,
}
BIASES = {
  'attention_bias': ('attention_bias', False),
  'mlp_bias': ('mlp_bias', False),
}
FAMILY = Family(
  model_type='llama',
  fields={
    'vocab_size': ('vocab_size', ...),
    'hidden_size': ('hidden_size', ...),
    'num_layers': ('num_hidden_layers', ...),
    'num_heads': ('num_attention_heads', ...),
    'num_kv_heads': ('num_key_value_heads', 0),
    'head_dim': ('head_dim', 0),
    'mlp_dim': ('intermediate_size', ...),
    'max_length': ('max_position_embeddings', 2048),
    'activation': ('hidden_act', 'silu'),
    'norm_epsilon': ('rms_norm_eps', 1e-6),
    'init_stddev': ('initializer_range', 0.02),
    'attention_dropout': ('attention_dropout', 0.0),
    'tie_embeddings': ('tie_word_embeddings', False),
    **BIASES,
  },
  fixed={
    'norm': 'rmsnorm',
    'position': 'rotary',
    'gated': True,
    'bias': False,
  },
  needs={'pretraining_tp': 1},
  reads=ROPE,
  read=_read,
  write=_write,
  own=('rotary_base',),
  table={
    'inputs/token_embed': 'embed_tokens',
    'stack/final_norm': 'norm',
    f'{OURS}/attention_norm': f'{THEIRS}.input_layernorm',
    f'{OURS}/attention/query': f'{THEIRS}.self_attn.q_proj',
    f'{OURS}/attention/key': f'{THEIRS}.self_attn.k_proj',
    f'{OURS}/attention/value': f'{THEIRS}.self_attn.v_proj',
    f'{OURS}/attention/out': f'{THEIRS}.self_attn.o_proj',
    f'{OURS}/mlp_norm': f'{THEIRS}.post_attention_layernorm',
    f'{OURS}/mlp/gate': f'{THEIRS}.mlp.gate_proj',
    f'{OURS}/mlp/up': f'{THEIRS}.mlp.up_proj',
    f'{OURS}/mlp/down': f'{THEIRS}.mlp.down_proj',
  },
  heads={
    'lm': {'lm_head': 'lm_head'},
    'classification': {'heads/classification/dense': 'score[weight]'},
    'tagging': {'heads/tagging/dense': 'score'},
    'span': rules.SPAN,
  },
  architectures=_classes('Llama'),
  prefix='model.',
  prefixes={'LlamaForQuestionAnswering': 'transformer.'},
  pooling='last',
  outside=('lm_head.', 'score.', 'qa_outputs.'),
  ignored=(r'rotary_emb\.inv_freq$',),
)
MISTRAL = dataclasses.replace(
  FAMILY,
  model_type='mistral',
  fields={k: v for k, v in FAMILY.fields.items() if k not in BIASES}
  | {
    'num_kv_heads': ('num_key_value_heads', 8),
    'max_length': ('max_position_embeddings', 131072),
  },
  reads=ROPE | {'sliding_window': ranges.Whole, 'layer_types': tuple},
  read=_read_mistral,
  write=_write_mistral,
  own=('rotary_base', 'window'),
  architectures=_classes('Mistral'),
  prefixes={},
)
