"""GPT-2 (Radford et al. 2019), and DialoGPT (Zhang et al. 2020), its twin."""

from ctxlm import ranges
from ctxlm.families import rules
from ctxlm.families.family import Family

OURS, THEIRS = 'stack/layers_{}', 'h.{}'


def _read(settings):
  scaled = settings.get('scale_attn_weights', True)
  embedding = settings.get('embd_pdrop', 0.1)
  same = embedding in (None, settings.get('resid_pdrop', 0.1))
  return {
    'attention_scale': 0.0 if scaled else 1.0,
    'embedding_dropout': -1.0 if same else embedding,
  }


def _write(o):
  if o['attention_scale'] not in (0.0, 1.0):
    raise ValueError(f'attention_scale={o["attention_scale"]!r}, not 0.0')
  return {
    # None is four times the hidden size.
    'n_inner': None if o['mlp_dim'] == 4 * o['hidden_size'] else o['mlp_dim'],
    'scale_attn_weights': o['attention_scale'] == 0.0,
    'embd_pdrop': o['embedding_dropout'],
  }


FAMILY = Family(
  model_type='gpt2',
  fields={
    'vocab_size': ('vocab_size', ...),
    'hidden_size': ('n_embd', ...),
    'num_layers': ('n_layer', ...),
    'num_heads': ('n_head', ...),
    'mlp_dim': ('n_inner', 0),
    'max_length': ('n_positions', 1024),
    'activation': ('activation_function', 'gelu_new'),
    'norm_epsilon': ('layer_norm_epsilon', 1e-5),
    'init_stddev': ('initializer_range', 0.02),
    'dropout': ('resid_pdrop', 0.1),
    'attention_dropout': ('attn_pdrop', 0.1),
    'tie_embeddings': ('tie_word_embeddings', True),
  },
  needs={
    'add_cross_attention': False,
    'scale_attn_by_inverse_layer_idx': False,
  },
  reads={'scale_attn_weights': bool, 'embd_pdrop': ranges.BelowOne},
  harmless=(
    'reorder_and_upcast_attn',
    'summary_activation',
    'summary_first_dropout',
    'summary_proj_to_labels',
    'summary_type',
    'summary_use_proj',
  ),
  read=_read,
  write=_write,
  own=('attention_scale',),
  table={
    'inputs/token_embed': 'wte',
    'inputs/position_embed': 'wpe',
    'stack/final_norm': 'ln_f',
    f'{OURS}/attention_norm': f'{THEIRS}.ln_1',
    f'{OURS}/attention/query': f'{THEIRS}.attn.c_attn[0/3]',
    f'{OURS}/attention/key': f'{THEIRS}.attn.c_attn[1/3]',
    f'{OURS}/attention/value': f'{THEIRS}.attn.c_attn[2/3]',
    f'{OURS}/attention/out': f'{THEIRS}.attn.c_proj',
    f'{OURS}/mlp_norm': f'{THEIRS}.ln_2',
    f'{OURS}/mlp/up': f'{THEIRS}.mlp.c_fc',
    f'{OURS}/mlp/down': f'{THEIRS}.mlp.c_proj',
  },
  heads={
    'lm': {'lm_head': 'lm_head'},
    'classification': {'heads/classification/dense': 'score[weight]'},
    'tagging': {'heads/tagging/dense': 'classifier'},
    'span': rules.SPAN,
  },
  architectures=(
    (('classification',), 'GPT2ForSequenceClassification'),
    (('tagging',), 'GPT2ForTokenClassification'),
    (('span',), 'GPT2ForQuestionAnswering'),
    (('lm',), 'GPT2LMHeadModel'),
    ((), 'GPT2Model'),
  ),
  prefix='transformer.',
  pooling='last',
  outside=('lm_head.', 'score.', 'classifier.', 'qa_outputs.'),
  ignored=(r'\.attn\.(masked_)?bias$',),  # causal masks
  conv1d=True,
)
