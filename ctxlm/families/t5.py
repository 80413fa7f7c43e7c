"""T5 1.0 (Raffel et al. 2020) and 1.1, whose MLP is gated and head untied."""

from ctxlm import ranges
from ctxlm.errors import UserError
from ctxlm.families import bart, rules
from ctxlm.families.family import ACTIVATIONS, Family, activation, start_of

RATES = ('dropout', 'attention_dropout', 'mlp_dropout', 'output_dropout')


def _stack(stack, kinds, own=''):
  own = own or stack
  ours, theirs = f'{own}/layers_{{}}', f'{stack}.block.{{}}.layer'
  last = f'{theirs}.{len(kinds)}'
  table = {
    f'{own}/relative_position': (
      f'{stack}.block.0.layer.0.SelfAttention.relative_attention_bias'
    ),
    f'{own}/final_norm': f'{stack}.final_layer_norm',
    f'{ours}/mlp/gate': f'{last}.DenseReluDense.wi_0',
    f'{ours}/mlp/down': f'{last}.DenseReluDense.wo',
    f'{ours}/mlp_norm': f'{last}.layer_norm',
  }
  for i, (kind, name) in enumerate(kinds):
    table |= {
      f'{ours}/{kind}/query': f'{theirs}.{i}.{name}.q',
      f'{ours}/{kind}/key': f'{theirs}.{i}.{name}.k',
      f'{ours}/{kind}/value': f'{theirs}.{i}.{name}.v',
      f'{ours}/{kind}/out': f'{theirs}.{i}.{name}.o',
      f'{ours}/{kind}_norm': f'{theirs}.{i}.layer_norm',
    }
  return table


def _more(o, stacks=(('encoder', 1, 'encoder'), ('decoder', 2, 'decoder'))):
  # The MLP's first map is split in two where it has a gate.
  up = 'wi_1' if o['gated'] else 'wi'
  return {
    f'{own}/layers_{{}}/mlp/up': (
      f'{stack}.block.{{}}.layer.{last}.DenseReluDense.{up}'
    )
    for stack, last, own in stacks
  }


def _read(settings):
  if settings.get('is_encoder_decoder') is False:
    raise UserError(
      'config.json: is_encoder_decoder=False, and the class has a decoder: '
      f'architectures={settings.get("architectures")}'
    )
  return _read_encoder(settings) | {
    # As transformers has it: 1.1's files say that embeddings are not tied.
    'logits_scale': settings.get(
      'scale_decoder_outputs', settings.get('tie_word_embeddings') is not False
    ),
    'decoder_start': start_of(settings, 'pad', {'pad': 0, 'eos': 1}),
  }


def _read_encoder(settings):
  kind = settings.get('feed_forward_proj') or 'relu'
  gated, _, name = kind.rpartition('-')
  if kind == 'gated-gelu':
    name = 'gelu_new'  # it stands for the tanh form
  # The keys that the reference derives from it win where a file has them.
  gated = settings.get('is_gated_act', gated == 'gated')
  name = settings.get('dense_act_fn', name)
  rate = settings.get('dropout_rate', 0.1)
  return {
    'gated': gated,
    'activation': activation(name),
    # Whatever config.json says, a file without a head of its own has none.
    'tie_embeddings': True,
    **dict.fromkeys(RATES, rate),
  }


def _write_encoder(o):
  name = next(k for k, v in ACTIVATIONS.items() if v == o['activation'])
  kind = f'gated-{name}' if o['gated'] else name
  if kind == 'gated-gelu':
    raise ValueError("activation='gelu' and gated, not 'gelu_tanh'")
  return {
    'dense_act_fn': name,
    'is_gated_act': o['gated'],
    'feed_forward_proj': 'gated-gelu' if kind == 'gated-gelu_new' else kind,
    'tie_word_embeddings': o['tie_embeddings'],
    'dropout_rate': o['dropout'],
    'is_encoder_decoder': False,
  }


def _write(o):
  return _write_encoder(o) | {
    'scale_decoder_outputs': o['logits_scale'],
    'is_encoder_decoder': True,
  }


FIELDS = {
  'vocab_size': ('vocab_size', ...),
  'hidden_size': ('d_model', ...),
  'num_layers': ('num_layers', ...),
  'num_heads': ('num_heads', ...),
  'head_dim': ('d_kv', 64),
  'mlp_dim': ('d_ff', ...),
  'norm_epsilon': ('layer_norm_epsilon', 1e-6),
  't5_buckets': ('relative_attention_num_buckets', 32),
  't5_max_distance': ('relative_attention_max_distance', 128),
  'max_length': ('n_positions', 512),  # no bound; what it was trained on
}
FIXED = {
  'norm': 'rmsnorm',
  'position': 't5',
  'bias': False,
  'attention_scale': 1.0,
}
READS = {
  'decoder_start_token_id': int,
  'dense_act_fn': str,
  'dropout_rate': ranges.BelowOne,
  'feed_forward_proj': str,
  'is_encoder_decoder': bool,
  'is_gated_act': bool,
  'scale_decoder_outputs': bool,
  'tie_word_embeddings': bool,
}
HARMLESS = ('classifier_dropout', 'initializer_factor')
# The encoder alone, as a model of its own.
ENCODER = Family(
  model_type='t5',
  fields=FIELDS,
  fixed=FIXED | {'causal': False},
  needs={'is_decoder': False},
  reads=READS,
  harmless=(*HARMLESS, 'num_decoder_layers'),
  read=_read_encoder,
  write=_write_encoder,
  own=('gated', 'activation', 'tie_embeddings'),
  table={
    'inputs/token_embed': ('shared', 'encoder.embed_tokens'),
    **_stack('encoder', [('attention', 'SelfAttention')], 'stack'),
  },
  more=lambda o: _more(o, [('encoder', 1, 'stack')]),
  heads={
    'lm': {'lm_head': 'lm_head'},
    'tagging': {'heads/tagging/dense': 'classifier'},
  },
  architectures=(
    (('tagging',), 'T5ForTokenClassification'),
    ((), 'T5EncoderModel'),
  ),
  prefixes={'T5ForTokenClassification': 'transformer.'},
  outside=('classifier.',),
)
FAMILY = Family(
  model_type='t5',
  model='encoder_decoder',
  fields=FIELDS | {'num_decoder_layers': ('num_decoder_layers', 0)},
  fixed=FIXED,
  needs={'is_decoder': False},
  reads=READS,
  harmless=HARMLESS,
  read=_read,
  write=_write,
  own=('gated', 'activation', 'logits_scale', 'tie_embeddings'),
  table={
    'inputs/token_embed': (
      'shared',
      'encoder.embed_tokens',
      'decoder.embed_tokens',
    ),
    **_stack('encoder', [('attention', 'SelfAttention')]),
    **_stack(
      'decoder',
      [('attention', 'SelfAttention'), ('cross_attention', 'EncDecAttention')],
    ),
  },
  more=_more,
  heads={
    'lm': {'lm_head': 'lm_head'},
    'classification': bart.CLASSIFICATION,
    'span': rules.SPAN,
  },
  architectures=(
    (('classification',), 'T5ForSequenceClassification'),
    (('span',), 'T5ForQuestionAnswering'),
    ((), 'T5ForConditionalGeneration'),
  ),
  prefixes={'T5ForSequenceClassification': 'transformer.'},
  encoder=ENCODER,
  outside=('classification_head.', 'qa_outputs.'),
  ignored=(r'EncDecAttention\.relative_attention_bias\.weight$',),
)
