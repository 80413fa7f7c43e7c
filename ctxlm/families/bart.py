"""BART (Lewis et al. 2020)."""

from ctxlm import ranges
from ctxlm.errors import UserError
from ctxlm.families import rules
from ctxlm.families.family import Family, start_of

USUAL = {'bos': 0, 'pad': 1, 'eos': 2}  # ids
OFFSET = 2  # rows of its position tables before position 0's


def _stack(stack, inputs, kinds):
  ours, theirs = f'{stack}/layers_{{}}', f'{stack}.layers.{{}}'
  table = {
    f'{inputs}/position_embed': f'{stack}.embed_positions',
    f'{inputs}/norm': f'{stack}.layernorm_embedding',
    f'{ours}/mlp/up': f'{theirs}.fc1',
    f'{ours}/mlp/down': f'{theirs}.fc2',
    f'{ours}/mlp_norm': f'{theirs}.final_layer_norm',
  }
  for kind, name in kinds:
    table |= {
      f'{ours}/{kind}/query': f'{theirs}.{name}.q_proj',
      f'{ours}/{kind}/key': f'{theirs}.{name}.k_proj',
      f'{ours}/{kind}/value': f'{theirs}.{name}.v_proj',
      f'{ours}/{kind}/out': f'{theirs}.{name}.out_proj',
      f'{ours}/{kind}_norm': f'{theirs}.{name}_layer_norm',
    }
  return table


def _read(settings):
  for name, usual in (('ffn_dim', 4096), ('attention_heads', 16)):
    sizes = [settings.get(f'{s}_{name}', usual) for s in ('encoder', 'decoder')]
    if sizes[0] != sizes[1]:
      raise UserError(
        f'config.json: encoder_{name}={sizes[0]} and decoder_{name}={sizes[1]} '
        'differ, which is not supported'
      )
  return {'decoder_start': start_of(settings, 'eos', USUAL)}


def _write(o):
  return {
    'decoder_ffn_dim': o['mlp_dim'],
    'decoder_attention_heads': o['num_heads'],
    'is_encoder_decoder': True,
  }


# What reads the last token does as BERT's pooler at the first.
CLASSIFICATION = {
  'heads/pooler/dense': 'classification_head.dense',
  'heads/classification/dense': 'classification_head.out_proj',
}
FAMILY = Family(
  model_type='bart',
  model='encoder_decoder',
  fields={
    'vocab_size': ('vocab_size', ...),
    'hidden_size': ('d_model', ...),
    'num_layers': ('encoder_layers', ...),
    'num_decoder_layers': ('decoder_layers', ...),
    'num_heads': ('encoder_attention_heads', ...),
    'mlp_dim': ('encoder_ffn_dim', ...),
    'max_length': ('max_position_embeddings', 1024),
    'activation': ('activation_function', 'gelu'),
    'embedding_scale': ('scale_embedding', False),
    'init_stddev': ('init_std', 0.02),
    'dropout': ('dropout', 0.1),
    'attention_dropout': ('attention_dropout', 0.0),
    'mlp_dropout': ('activation_dropout', 0.0),
    'tie_embeddings': ('tie_word_embeddings', True),
  },
  fixed={
    'norm_position': 'post',
    'final_norm': False,
    'embedding_norm': True,
    'position_offset': OFFSET,
  },
  # Of the early releases, of which mBART and Pegasus have others.
  needs={
    'normalize_before': False,
    'normalize_embedding': True,
    'add_final_layer_norm': False,
    'add_bias_logits': False,
    'static_position_embeddings': False,
    'is_decoder': False,
  },
  reads={
    'decoder_ffn_dim': ranges.Count,
    'decoder_attention_heads': ranges.Count,
    'decoder_start_token_id': int,
  },
  harmless=(
    'classifier_dropout',
    'encoder_layerdrop',
    'decoder_layerdrop',
    'forced_eos_token_id',
  ),
  read=_read,
  write=_write,
  own=('logits_bias',),
  table={
    'inputs/token_embed': (
      'shared',
      'encoder.embed_tokens',
      'decoder.embed_tokens',
    ),
    **_stack('encoder', 'inputs', [('attention', 'self_attn')]),
    **_stack(
      'decoder',
      'decoder_inputs',
      [('attention', 'self_attn'), ('cross_attention', 'encoder_attn')],
    ),
  },
  heads={
    'bias': {'final_bias/bias': 'final_logits_bias[1]'},
    'lm': {'lm_head': 'lm_head'},
    'classification': CLASSIFICATION,
    'span': rules.SPAN,
  },
  architectures=(
    (('classification',), 'BartForSequenceClassification'),
    (('span',), 'BartForQuestionAnswering'),
    (('bias',), 'BartForConditionalGeneration'),
    ((), 'BartModel'),
  ),
  prefix='model.',
  outside=(
    'lm_head.',
    'final_logits_bias',
    'classification_head.',
    'qa_outputs.',
  ),
  ignored=(r'(encoder|decoder)\.version$',),
)
