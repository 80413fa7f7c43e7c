"""Every head of every family: transformers' logits, in, out, in its pipeline.

One small model of each of the reference's classes is read, answers, and is
written again: the same tensors, the same names, nothing missing or left over.
"""

import dataclasses
import json

import jax
import numpy as np
import pytest
import tokenizers
import torch
import transformers as tr
from tokenizers import models, pre_tokenizers, processors

import ctxlm
from ctxlm.errors import UserError
from ctxlm.inference import conversion, loading, predict
from ctxlm.models import variables
from ctxlm.parallel import pmap
from tests.families import reference

WORDS = ('the', 'cat', 'and', 'a', 'dog', 'see', 'moon', 'likes', 'bread')
LABELS = ('bad', 'good', 'so so')
TEXTS = ('the cat', 'a moon and the dog see', 'bread')
SIZES = dict(
  hidden_size=12,
  num_hidden_layers=1,
  num_attention_heads=2,
  intermediate_size=20,
  max_position_embeddings=24,
)
BOTH = dict(
  d_model=12,
  encoder_layers=1,
  decoder_layers=1,
  encoder_attention_heads=2,
  decoder_attention_heads=2,
  encoder_ffn_dim=20,
  decoder_ffn_dim=20,
  max_position_embeddings=24,
  decoder_start_token_id=2,
)
T5 = dict(d_model=12, d_kv=6, d_ff=20, num_layers=1, num_heads=2)
T5 |= dict(decoder_start_token_id=0)
GPT2 = dict(n_embd=12, n_layer=1, n_head=2, n_positions=24)
# Of each family: its config, its special tokens from id 0, what they are for,
# and what stands around one text and between two.
FAMILIES = {
  'Bert': (
    SIZES,
    ('[PAD]', '[CLS]', '[SEP]', '[UNK]'),
    dict(pad=0, cls=1, sep=2, unk=3),
    ('[CLS] $A [SEP]', '[CLS] $A [SEP] $B:1 [SEP]:1'),
  ),
  'Roberta': (
    SIZES,
    ('<s>', '<pad>', '</s>', '<unk>'),
    dict(bos=0, pad=1, eos=2, unk=3, cls=0, sep=2),
    ('<s> $A </s>', '<s> $A </s> </s> $B </s>'),
  ),
  'GPT2': (GPT2, ('<|endoftext|>',), dict(bos=0, eos=0, unk=0), None),
  'Llama': (
    SIZES,
    ('<unk>', '<s>', '</s>'),
    dict(unk=0, bos=1, eos=2),
    ('<s> $A', '<s> $A <s> $B'),
  ),
  'Mistral': (
    SIZES | {'num_key_value_heads': 1},
    ('<unk>', '<s>', '</s>'),
    dict(unk=0, bos=1, eos=2),
    ('<s> $A', '<s> $A <s> $B'),
  ),
  'Bart': (
    BOTH,
    ('<s>', '<pad>', '</s>', '<unk>'),
    dict(bos=0, pad=1, eos=2, unk=3, cls=0, sep=2),
    ('<s> $A </s>', '<s> $A </s> </s> $B </s>'),
  ),
  'T5': (
    T5,
    ('<pad>', '</s>', '<unk>'),
    dict(pad=0, eos=1, unk=2),
    ('$A </s>', '$A </s> $B </s>'),
  ),
}
SEQUENCE = 'ForSequenceClassification'
QUESTIONS = 'ForQuestionAnswering'
CASES = [
  ('Bert', SEQUENCE),
  ('Roberta', SEQUENCE),
  ('GPT2', SEQUENCE),
  ('Llama', SEQUENCE),
  ('Mistral', SEQUENCE),
  ('Bart', SEQUENCE),
  ('T5', SEQUENCE),
  ('Bert', 'ForTokenClassification'),
  ('Roberta', 'ForTokenClassification'),
  ('GPT2', 'ForTokenClassification'),
  ('Llama', 'ForTokenClassification'),
  ('Mistral', 'ForTokenClassification'),
  ('T5', 'ForTokenClassification'),
  ('Bert', 'ForMultipleChoice'),
  ('Roberta', 'ForMultipleChoice'),
  *((family, QUESTIONS) for family in FAMILIES),
]
QUICK = [('GPT2', SEQUENCE), ('Bart', SEQUENCE), ('Bert', QUESTIONS)]


def make(family, head, folder, **settings):
  """Writes a reference's folder, with a tokenizer; returns the model."""
  sizes, special, roles, frames = FAMILIES[family]
  vocabulary = {w: i for i, w in enumerate((*special, *WORDS))}
  backend = tokenizers.Tokenizer(models.WordLevel(vocabulary, special[-1]))
  backend.pre_tokenizer = pre_tokenizers.Whitespace()
  backend.post_processor = processors.ByteLevel()
  if frames:
    pairs = [(token, i) for i, token in enumerate(special)]
    backend.post_processor = processors.TemplateProcessing(
      single=frames[0], pair=frames[1], special_tokens=pairs
    )
  names = {f'{role}_token': special[i] for role, i in roles.items()}
  tr.PreTrainedTokenizerFast(tokenizer_object=backend, **names).save_pretrained(
    folder
  )
  if family == 'Bert':  # as its own tokenizers give them
    path = folder / 'tokenizer_config.json'
    inputs = ['input_ids', 'token_type_ids', 'attention_mask']
    said = json.loads(path.read_text()) | {'model_input_names': inputs}
    path.write_text(json.dumps(said))
  labels = LABELS[:2] if head == QUESTIONS else LABELS
  ids = {'pad_token_id': None} | {f'{r}_token_id': roles[r] for r in roles}
  ids = {k: v for k, v in ids.items() if k[:3] in ('pad', 'bos', 'eos')}
  config = getattr(tr, f'{family}Config')(
    vocab_size=len(vocabulary),
    id2label=dict(enumerate(labels)),
    label2id={name: i for i, name in enumerate(labels)},
    **(sizes | ids | settings),
  )
  model = getattr(tr, family + head)(config)
  reference.randomise(model)
  model.eval().save_pretrained(folder)
  return model


def predictor(folder):
  """Returns a predict.Predictor of a folder, on one device."""
  placement = pmap.Pmap(jax.devices()[:1])
  loaded = loading.load(folder, placement)
  return predict.Predictor(loaded, placement, batch_size=4)


@pytest.mark.parametrize(
  'family, head',
  [
    pytest.param(*case, marks=() if case in QUICK else pytest.mark.slow)
    for case in CASES
  ],
)
def test_a_head_goes_in_and_out(family, head, tmp_path):
  theirs = make(family, head, tmp_path / 'theirs')
  conversion.convert(tmp_path / 'theirs', tmp_path / 'ours')
  _, left_out = conversion.convert(tmp_path / 'ours', to_hf=tmp_path / 'back')
  assert left_out == []
  back, info = type(theirs).from_pretrained(
    tmp_path / 'back', output_loading_info=True
  )
  assert not any(info.values()), info
  assert back.config.id2label == theirs.config.id2label
  assert back.config.label2id == theirs.config.label2id
  state = back.state_dict()
  assert state.keys() == theirs.state_dict().keys()
  for name, x in theirs.state_dict().items():
    assert torch.equal(x, state[name]), name
  ASKED[head](predictor(tmp_path / 'ours'), theirs, tmp_path / 'back')


def sequence(own, theirs, folder):
  """Their logits, alone and padded on either side, and their pipeline's."""
  pipe = tr.pipeline('text-classification', model=str(folder))
  answers = own([{'text': text} for text in TEXTS])
  rows = [pipe.tokenizer(text)['input_ids'] for text in TEXTS]
  for text, row, answer in zip(TEXTS, rows, answers, strict=True):
    wanted = logits_of(theirs, torch.tensor([row])).softmax(-1)[0]
    found = list(answer['probabilities'].values())
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    said = {one['label']: one['score'] for one in pipe(text, top_k=None)}
    assert answer['probabilities'] == pytest.approx(said, abs=1e-5)
  pair = {'text_a': TEXTS[0], 'text_b': TEXTS[1]}
  (answer,) = own([pair])
  said = pipe({'text': TEXTS[0], 'text_pair': TEXTS[1]}, top_k=None)
  said = {one['label']: one['score'] for one in said}
  assert answer['probabilities'] == pytest.approx(said, abs=1e-5)
  together = pipe(list(TEXTS), batch_size=3, top_k=None)
  for answer, said in zip(answers, together, strict=True):
    said = {one['label']: one['score'] for one in said}
    assert answer['probabilities'] == pytest.approx(said, abs=1e-5)
  decoder = pipe.model.config.model_type in ('gpt2', 'llama', 'mistral')
  for left in (False, True) if decoder else (False,):
    ids, mask = padded(rows, pipe.model.config.pad_token_id, left)
    places = (mask.cumsum(1) - 1).clamp(0) if decoder else None
    wanted = logits_of(pipe.model, ids, mask, places).softmax(-1)
    found = [list(answer['probabilities'].values()) for answer in answers]
    np.testing.assert_allclose(found, wanted, atol=1e-5)


def logits_of(model, ids, mask=None, places=None):
  given = {} if places is None else {'position_ids': places}
  with torch.no_grad():
    return model(ids, attention_mask=mask, **given).logits


def padded(rows, pad, left):
  """Returns ids and mask int64 [b, l]."""
  ids = torch.full((len(rows), max(map(len, rows))), pad)
  mask = torch.zeros_like(ids)
  for i, row in enumerate(rows):
    at = slice(-len(row), None) if left else slice(len(row))
    ids[i, at], mask[i, at] = torch.tensor(row), 1
  return ids, mask


def tags(own, theirs, folder):
  pipe = tr.pipeline('token-classification', model=str(folder))
  for text, answer in zip(TEXTS, own([{'text': text} for text in TEXTS])):
    assert [one['entity'] for one in pipe(text)] == answer['tags']


def choices(own, theirs, folder):
  """No pipeline is for them: the logits of all choices together."""
  fast = tr.AutoTokenizer.from_pretrained(folder)
  (answer,) = own([{'text': 'the cat', 'choices': TEXTS}])
  both = fast(['the cat'] * 3, list(TEXTS), padding=True, return_tensors='pt')
  with torch.no_grad():
    logits = theirs(**{k: x[None] for k, x in both.items()}).logits[0]
  np.testing.assert_allclose(
    answer['probabilities'], logits.softmax(-1), atol=1e-5
  )
  assert answer['label'] == int(logits.argmax())


def questions(own, theirs, folder):
  """No pipeline is for them: run_qa.py's formula, and the reference's loss."""
  fast = tr.AutoTokenizer.from_pretrained(folder)
  record = {'question': 'the cat', 'context': TEXTS[1]}
  given = fast(*record.values(), return_tensors='pt')
  places = fast(*record.values(), return_offsets_mapping=True)
  ids, inside = given['input_ids'], places.sequence_ids(0)
  places, size = places['offset_mapping'], len(inside)
  targets = torch.tensor([[size - 4, size - 2]])
  ends = {'start_positions': targets[:, 0], 'end_positions': targets[:, 1]}
  with torch.no_grad():
    found = theirs(**given, **ends)
  logits = torch.stack([found.start_logits, found.end_logits], -1).numpy()
  scores = {
    (places[i][0], places[j][1]): logits[0, i, 0] + logits[0, j, 1]
    for i in range(size)
    for j in range(i, min(i + 30, size))
    if inside[i] == inside[j] == 1
  }
  best = sorted(scores, key=scores.get, reverse=True)[:20]
  p = np.exp([scores[s] - scores[best[0]] for s in best])
  (answer,) = own([record])
  (start, end), none = best[0], logits[0, 0].sum() - scores[best[0]]
  assert (answer['start'], answer['end']) == (start, end)
  assert answer['answer'] == TEXTS[1][start:end]
  assert answer['score'] == pytest.approx(1 / p.sum(), abs=1e-5)
  assert answer['no_answer'] == pytest.approx(none, abs=1e-4)
  batch = {
    'tokens': ids.numpy(),
    'segment_ids': np.ones_like(ids),
    'type_ids': given.get('token_type_ids', torch.zeros_like(ids)).numpy(),
    'targets': targets.numpy(),
    'valid': np.ones(1),
  }
  (row,) = own.objective.ask(record)
  assert row['tokens'] == ids[0].tolist()
  if 'token_type_ids' in given:
    assert row['type_ids'] == batch['type_ids'][0].tolist()
  loaded = loading.load(folder)
  apply = variables.make_apply(loaded.model)
  out = apply(loaded.params, lambda m: own.objective.outputs(m, batch))
  np.testing.assert_allclose(out, logits, atol=1e-4)
  n, d = own.objective.loss(apply, loaded.params, batch, None)['loss']
  assert float(n / d) == pytest.approx(float(found.loss), abs=1e-4)


ASKED = {
  QUESTIONS: questions,
  SEQUENCE: sequence,
  'ForTokenClassification': tags,
  'ForMultipleChoice': choices,
}


@pytest.mark.parametrize('pad', ['<|endoftext|>', None])
def test_a_text_ends_with_its_padding(pad, tmp_path):
  """The last token is found by the padding's id; without one it is the last."""
  theirs = make(
    'GPT2', SEQUENCE, tmp_path, pad_token_id=None if pad is None else 0
  )
  path = tmp_path / 'tokenizer.json'
  backend = tokenizers.Tokenizer.from_file(str(path))
  backend.post_processor = processors.TemplateProcessing(
    single='$A <|endoftext|>', special_tokens=[('<|endoftext|>', 0)]
  )
  backend.save(str(path))
  path = tmp_path / 'tokenizer_config.json'
  settings = json.loads(path.read_text()) | {'pad_token': pad}
  path.write_text(json.dumps(settings))
  conversion.convert(tmp_path, to_hf=tmp_path / 'back')
  pipe = tr.pipeline('text-classification', model=str(tmp_path / 'back'))
  assert pipe.model.config.pad_token_id == theirs.config.pad_token_id
  for text, answer in zip(
    TEXTS, predictor(tmp_path)([{'text': t} for t in TEXTS])
  ):
    ids = pipe.tokenizer(text)['input_ids']
    assert ids[-1] == 0
    wanted = logits_of(theirs, torch.tensor([ids])).softmax(-1)[0]
    found = list(answer['probabilities'].values())
    np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_tags_by_the_encoder_of_both(tmp_path):
  """T5's tags need its encoder alone: the class has no decoder."""
  make('T5', 'ForConditionalGeneration', tmp_path / 'theirs')
  placement = pmap.Pmap(jax.devices()[:1])
  loaded = loading.load(tmp_path / 'theirs', placement)
  rng = np.random.default_rng(0)
  kernel, bias = rng.normal(size=(12, 3)), rng.normal(size=3)
  dense = {'kernel': kernel.astype('f'), 'bias': bias.astype('f')}
  loaded = dataclasses.replace(
    loaded,
    params=loaded.params | {'heads': {'tagging': {'dense': dense}}},
    task={'name': 'tagging', 'labels': LABELS},
  )
  (tmp_path / 'back').mkdir()
  left_out = conversion.write_hf(loaded, tmp_path / 'back')
  assert {name.split('/')[0] for name in left_out} == {'decoder'}
  back, info = tr.AutoModelForTokenClassification.from_pretrained(
    tmp_path / 'back', output_loading_info=True
  )
  assert type(back) is tr.T5ForTokenClassification and not any(info.values())
  own = predict.Predictor(loaded, placement, batch_size=4)
  tags(own, back, tmp_path / 'back')
  tags(predictor(tmp_path / 'back'), back, tmp_path / 'back')


def test_a_head_in_place_of_the_tokens(tmp_path):
  """A decoder of classes that has no logits of tokens says so."""
  make('Llama', SEQUENCE, tmp_path)
  lm = ctxlm.load(tmp_path)
  for asked in (lm.logits, lm.score, lm.generate):
    with pytest.raises(UserError, match='has no LM head'):
      asked('the cat')
