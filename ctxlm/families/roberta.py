"""RoBERTa (Liu et al. 2019): BERT's stack; positions begin after padding's."""

from ctxlm import ranges
from ctxlm.families import bert, rules
from ctxlm.families.family import Family

READS = {'pad_token_id': ranges.Whole, 'max_position_embeddings': ranges.Count}


def _read(settings):
  # create_position_ids_from_input_ids: padding id + 1, + 2, ...
  pad, rows = (settings.get(key) for key in READS)
  offset = 1 + (1 if pad is None else pad)
  return {
    'position_offset': offset,
    'max_length': (512 if rows is None else rows) - offset,
  }


def _write(o):
  if not o['position_offset']:
    raise ValueError('position_offset=0, not 1 or more')
  if o['activation'] != 'gelu':
    raise ValueError(f'activation={o["activation"]!r}, not {"gelu"!r}')
  return {
    'pad_token_id': o['position_offset'] - 1,
    'max_position_embeddings': o['max_length'] + o['position_offset'],
  }


FAMILY = Family(
  model_type='roberta',
  fields=bert.FIELDS,
  fixed=bert.FIXED,
  needs=bert.NEEDS | {'hidden_act': 'gelu'},  # its MLM head's is always gelu
  harmless=bert.HARMLESS,
  reads=READS,
  read=_read,
  write=_write,
  own=('position_offset', 'max_length'),
  table=bert.table(),
  heads={
    # Its head's first map does what BERT's pooler does.
    'classification': {
      'heads/pooler/dense': 'classifier.dense',
      'heads/classification/dense': 'classifier.out_proj',
    },
    'tagging': {'heads/tagging/dense': 'classifier'},
    'multiple_choice': {'heads/multiple_choice/dense': 'classifier'},
    'span': rules.SPAN,
    'pooler': bert.POOLER,
    'mlm': {
      'heads/mlm/dense': 'lm_head.dense',
      'heads/mlm/norm': 'lm_head.layer_norm',
      'heads/mlm': ('lm_head.decoder[bias]', 'lm_head[bias]'),
    },
    'lm': {'lm_head': 'lm_head.decoder'},
  },
  architectures=(
    (('classification',), 'RobertaForSequenceClassification'),
    (('tagging',), 'RobertaForTokenClassification'),
    (('multiple_choice', 'pooler'), 'RobertaForMultipleChoice'),
    (('span',), 'RobertaForQuestionAnswering'),
    (('mlm',), 'RobertaForMaskedLM'),
    ((), 'RobertaModel'),
  ),
  prefix='roberta.',
  outside=('lm_head.', 'classifier.', 'qa_outputs.'),
  ignored=bert.IGNORED,
)
