"""BERT (Devlin et al. 2019), and sentence encoders of its shape."""

from ctxlm.families import rules
from ctxlm.families.family import Family

LAYER = 'encoder.layer.{}'


def table(layer=LAYER):
  """Returns {our module: their module} of an encoder of BERT's shape."""
  ours = 'stack/layers_{}'
  return {
    'inputs/token_embed': 'embeddings.word_embeddings',
    'inputs/position_embed': 'embeddings.position_embeddings',
    'inputs/type_embed': 'embeddings.token_type_embeddings',
    'inputs/norm': 'embeddings.LayerNorm',
    f'{ours}/attention/query': f'{layer}.attention.self.query',
    f'{ours}/attention/key': f'{layer}.attention.self.key',
    f'{ours}/attention/value': f'{layer}.attention.self.value',
    f'{ours}/attention/out': f'{layer}.attention.output.dense',
    f'{ours}/attention_norm': f'{layer}.attention.output.LayerNorm',
    f'{ours}/mlp/up': f'{layer}.intermediate.dense',
    f'{ours}/mlp/down': f'{layer}.output.dense',
    f'{ours}/mlp_norm': f'{layer}.output.LayerNorm',
  }


FIELDS = {
  'vocab_size': ('vocab_size', ...),
  'hidden_size': ('hidden_size', ...),
  'num_layers': ('num_hidden_layers', ...),
  'num_heads': ('num_attention_heads', ...),
  'mlp_dim': ('intermediate_size', ...),
  'activation': ('hidden_act', 'gelu'),
  'type_vocab_size': ('type_vocab_size', 2),
  'norm_epsilon': ('layer_norm_eps', 1e-12),
  'init_stddev': ('initializer_range', 0.02),
  'dropout': ('hidden_dropout_prob', 0.1),
  'attention_dropout': ('attention_probs_dropout_prob', 0.1),
  'tie_embeddings': ('tie_word_embeddings', True),
}
FIXED = {
  'causal': False,
  'norm_position': 'post',
  'final_norm': False,
  'embedding_norm': True,
}
NEEDS = {
  'is_decoder': False,
  'add_cross_attention': False,
  'position_embedding_type': 'absolute',
}
HARMLESS = ('classifier_dropout',)
POOLER = {'heads/pooler/dense': 'pooler.dense'}
IGNORED = (r'embeddings\.(position_ids|token_type_ids)$',)

FAMILY = Family(
  model_type='bert',
  fields=FIELDS | {'max_length': ('max_position_embeddings', 512)},
  fixed=FIXED,
  needs=NEEDS,
  harmless=HARMLESS,
  table=table(),
  heads={
    'pooler': POOLER,
    'mlm': {
      'heads/mlm/dense': 'cls.predictions.transform.dense',
      'heads/mlm/norm': 'cls.predictions.transform.LayerNorm',
      'heads/mlm': ('cls.predictions.decoder[bias]', 'cls.predictions[bias]'),
    },
    'lm': {'lm_head': 'cls.predictions.decoder'},
    'next_sentence': {'heads/next_sentence': 'cls.seq_relationship'},
    'classification': {'heads/classification/dense': 'classifier'},
    'tagging': {'heads/tagging/dense': 'classifier'},
    'multiple_choice': {'heads/multiple_choice/dense': 'classifier'},
    'span': rules.SPAN,
  },
  architectures=(
    (('classification', 'pooler'), 'BertForSequenceClassification'),
    (('tagging',), 'BertForTokenClassification'),
    (('multiple_choice', 'pooler'), 'BertForMultipleChoice'),
    (('span',), 'BertForQuestionAnswering'),
    (('mlm', 'pooler', 'next_sentence'), 'BertForPreTraining'),
    (('mlm',), 'BertForMaskedLM'),
    (('pooler', 'next_sentence'), 'BertForNextSentencePrediction'),
    ((), 'BertModel'),
  ),
  prefix='bert.',
  outside=('cls.', 'classifier.', 'qa_outputs.'),
  ignored=IGNORED,
)
