"""Heads that answer: transformers' logits, its names, and folders for it."""

import json

import numpy as np
import pytest
import torch
import transformers as tr
from safetensors.numpy import load_file, save_file

import ctxlm
from ctxlm import plugins
from ctxlm.data import framing
from ctxlm.data.tokenizers import tokenizer as tokenizer_lib
from ctxlm.errors import UserError
from ctxlm.families import answers as answers_lib
from ctxlm.families import export
from ctxlm.inference import conversion, loading
from tests.families import reference

NAMES = ('bad', 'good', 'so so')
KINDS = {
  'class': 'single_label_classification',
  'classes': 'multi_label_classification',
  'score': 'regression',
}
TEXTS = ('the cat', 'a moon and the dog see')


@pytest.fixture(scope='module')
def tokenizer():
  """One that both of the families can have: its padding id is 0."""
  texts = ['the cat and the dog see a moon'] * 9
  return tokenizer_lib.train('wordpiece', 300, texts)


def make(family, kind, tokenizer, folder):
  """Writes a reference's folder, with a tokenizer; returns the model."""
  names = NAMES if kind != 'score' else NAMES[:1]
  config = getattr(tr, f'{family}Config')(
    vocab_size=tokenizer.vocab_size,
    hidden_size=12,
    num_hidden_layers=1,
    num_attention_heads=2,
    intermediate_size=20,
    max_position_embeddings=24,
    pad_token_id=tokenizer.pad_id,
    id2label=dict(enumerate(names)),
    label2id={name: i for i, name in enumerate(names)},
    problem_type=KINDS[kind],
  )
  model = getattr(tr, f'{family}ForSequenceClassification')(config)
  reference.randomise(model)
  model.eval().save_pretrained(folder)
  ours = plugins.build(
    'models', {'name': 'transformer', 'vocab_size': 9, 'causal': False}
  )
  export.write_tokenizer(folder, tokenizer, ours)
  return model


def answers(loaded, text):
  """Returns the head's logits, and the answer."""
  o = plugins.build(
    'objectives', loaded.task, tokenizer=loaded.tokenizer, max_length=16
  )
  row = framing.padded(o.ask({'text': text})[0], 16, 0)
  batch = {k: v[None] for k, v in row.items()}
  logits = loaded.passes(
    lambda apply, _: apply(lambda model: o.outputs(model, batch)),
    [{'tokens': [1]}],
  )[0]
  return logits, o.answer({'text': text}, [logits])


@pytest.mark.parametrize(
  'family, kind',
  [
    ('Bert', 'class'),
    pytest.param('Bert', 'classes', marks=pytest.mark.slow),
    pytest.param('Bert', 'score', marks=pytest.mark.slow),
    ('Roberta', 'class'),
  ],
)
def test_a_head_goes_in_and_out(family, kind, tokenizer, tmp_path):
  theirs = make(family, kind, tokenizer, tmp_path / 'theirs')
  conversion.convert(tmp_path / 'theirs', tmp_path / 'ours')
  _, left_out = conversion.convert(tmp_path / 'ours', to_hf=tmp_path / 'back')
  assert left_out == []
  loaded = loading.load(tmp_path / 'ours')
  assert loaded.task['kind'] == kind
  if kind != 'score':
    assert tuple(loaded.task['labels']) == NAMES
  back, info = type(theirs).from_pretrained(
    tmp_path / 'back', output_loading_info=True
  )
  assert not any(info.values())
  assert back.config.id2label == theirs.config.id2label
  assert back.config.problem_type == theirs.config.problem_type
  for name, x in theirs.state_dict().items():
    assert torch.equal(x, back.state_dict()[name]), name
  pipe = tr.pipeline('text-classification', model=str(tmp_path / 'back'))
  for text in TEXTS:
    logits, answer = answers(loaded, text)
    ids = torch.tensor([pipe.tokenizer(text)['input_ids']])
    with torch.no_grad():
      wanted = theirs(ids).logits[0]
    np.testing.assert_allclose(logits, wanted, atol=1e-4)
    said = {one['label']: one['score'] for one in pipe(text, top_k=None)}
    found = answer.get('probabilities') or {NAMES[0]: answer['score']}
    assert found == pytest.approx(said, abs=1e-4)


def test_a_pooler_that_nothing_reads(tokenizer, tmp_path):
  """Files of earlier releases have RoBERTa's beside its head."""
  theirs = make('Roberta', 'class', tokenizer, tmp_path)
  weights = load_file(tmp_path / 'model.safetensors')
  more = {
    f'roberta.pooler.dense.{leaf}': np.ones_like(weights[name])
    for leaf in ('weight', 'bias')
    for name in [f'classifier.dense.{leaf}']
  }
  metadata = {'format': 'pt'}
  save_file(weights | more, tmp_path / 'model.safetensors', metadata)
  _, params, _ = ctxlm.load(tmp_path)
  wanted = theirs.classifier.dense.weight.detach().numpy().T
  found = params['heads']['pooler']['dense']['kernel']
  np.testing.assert_array_equal(found, wanted)


def test_a_head_that_the_reference_lacks(tokenizer, tmp_path, capsys):
  """The body is written, and a line says what is not."""
  theirs = make('Bert', 'class', tokenizer, tmp_path / 'theirs')
  loaded = loading.load(tmp_path / 'theirs')
  loaded.task['pooling'] = 'mean'
  (tmp_path / 'body').mkdir()
  left_out = conversion.write_hf(loaded, tmp_path / 'body')
  assert left_out == [
    'heads/classification/dense/bias',
    'heads/classification/dense/kernel',
  ]
  body, info = tr.AutoModel.from_pretrained(
    tmp_path / 'body', output_loading_info=True
  )
  assert type(body) is tr.BertModel and not any(info.values())
  wanted = theirs.bert.state_dict()
  assert all(torch.equal(x, wanted[k]) for k, x in body.state_dict().items())


def test_a_class_without_a_name_is_a_number(tokenizer, tmp_path):
  make('Bert', 'class', tokenizer, tmp_path)
  path = tmp_path / 'config.json'
  names = {'id2label': {'0': None, '1': 'b', '2': None}}
  path.write_text(json.dumps(json.loads(path.read_text()) | names))
  labels = ['LABEL_0', 'b', 'LABEL_2']
  assert loading.load(tmp_path).task['labels'] == labels
  keys = answers_lib.write(
    {'name': 'span'}, {'id2label': {'0': None, '1': None}}
  )
  assert keys['id2label'] == {'0': 'LABEL_0', '1': 'LABEL_1'}


@pytest.mark.parametrize(
  'keys, wanted',
  [
    ({'id2label': {'0': 'a', '1': 'b'}}, 'names 2 classes, and the head has 3'),
    ({'id2label': {'0': 'a', 'x': 'b', '2': 'c'}}, 'names no classes'),
    ({'id2label': ['a', 'b', 'c']}, 'names no classes'),
    ({'problem_type': 'ranking'}, "problem_type='ranking' is not supported"),
    ({'problem_type': ['regression']}, 'problem_type=.* must be a text'),
    (
      {'architectures': ['BertForMultipleChoice']},
      'the head of choices has 3 outputs, and not 1',
    ),
  ],
)
def test_what_the_outputs_mean_must_be_said(keys, wanted, tokenizer, tmp_path):
  make('Bert', 'class', tokenizer, tmp_path)
  path = tmp_path / 'config.json'
  path.write_text(json.dumps(json.loads(path.read_text()) | keys))
  with pytest.raises(UserError, match=wanted):
    loading.load(tmp_path)


def test_a_head_without_its_pooler(tokenizer, tmp_path):
  make('Bert', 'class', tokenizer, tmp_path)
  weights = load_file(tmp_path / 'model.safetensors')
  weights = {k: x for k, x in weights.items() if 'pooler' not in k}
  save_file(weights, tmp_path / 'model.safetensors', {'format': 'pt'})
  with pytest.raises(UserError, match='has no pooler, which its head reads'):
    loading.load(tmp_path)


def test_a_regression_of_several_numbers(tokenizer, tmp_path, capsys):
  make('Bert', 'class', tokenizer, tmp_path)
  path = tmp_path / 'config.json'
  keys = {'problem_type': 'regression'}
  path.write_text(json.dumps(json.loads(path.read_text()) | keys))
  assert loading.load(tmp_path).task is None
  assert 'a regression of 3 numbers answers nothing' in capsys.readouterr().err


def test_a_head_of_another_class(tokenizer, tmp_path):
  """What the outputs mean is not known, though the tensors are."""
  make('Bert', 'score', tokenizer, tmp_path)
  path = tmp_path / 'config.json'
  keys = {'architectures': ['BertForRanking'], 'problem_type': None}
  path.write_text(json.dumps(json.loads(path.read_text()) | keys))
  assert loading.load(tmp_path).task is None


def test_a_head_that_is_not_known(tokenizer, tmp_path, capsys):
  """The body is read, and a line names the head."""
  make('Bert', 'class', tokenizer, tmp_path)
  weights = load_file(tmp_path / 'model.safetensors')
  for leaf in ('weight', 'bias'):
    for name in ('first', 'second'):
      head = weights[f'classifier.{leaf}']
      weights[f'ranker.{name}.{leaf}'] = head
    del weights[f'classifier.{leaf}']
  save_file(weights, tmp_path / 'model.safetensors', {'format': 'pt'})
  loaded = loading.load(tmp_path)
  assert loaded.task is None and 'classification' not in loaded.params['heads']
  err = capsys.readouterr().err
  line = f'{tmp_path}: left out, as a head that is not known here: ranker\n'
  assert err.endswith(line)


def test_names_that_are_not_said(tokenizer, tmp_path):
  make('Bert', 'class', tokenizer, tmp_path)
  path = tmp_path / 'config.json'
  settings = json.loads(path.read_text())
  for key in ('id2label', 'label2id', 'problem_type'):
    settings.pop(key, None)
  path.write_text(json.dumps(settings))
  task = loading.load(tmp_path).task
  assert task['labels'] == ['LABEL_0', 'LABEL_1', 'LABEL_2']
  assert task['kind'] == 'class'


@pytest.mark.parametrize(
  'family', ['Bert', pytest.param('Roberta', marks=pytest.mark.slow)]
)
def test_tags_go_in_and_out(family, tokenizer, tmp_path):
  make(family, 'class', tokenizer, tmp_path / 'other')
  config = tr.AutoConfig.from_pretrained(tmp_path / 'other')
  config.problem_type = None
  theirs = getattr(tr, f'{family}ForTokenClassification')(config)
  reference.randomise(theirs)
  theirs.eval().save_pretrained(tmp_path / 'other')
  conversion.convert(tmp_path / 'other', tmp_path / 'ours')
  _, left_out = conversion.convert(tmp_path / 'ours', to_hf=tmp_path / 'back')
  assert left_out == []
  loaded = loading.load(tmp_path / 'ours')
  assert loaded.task == {'name': 'tagging', 'labels': list(NAMES)}
  back, info = type(theirs).from_pretrained(
    tmp_path / 'back', output_loading_info=True
  )
  assert not any(info.values())
  assert back.config.id2label == theirs.config.id2label
  for name, x in theirs.state_dict().items():
    assert torch.equal(x, back.state_dict()[name]), name
  pipe = tr.pipeline('token-classification', model=str(tmp_path / 'back'))
  logits, answer = answers(loaded, 'the moon and a cat')
  ids = torch.tensor([pipe.tokenizer('the moon and a cat')['input_ids']])
  with torch.no_grad():
    wanted = theirs(ids).logits[0]
  np.testing.assert_allclose(logits[: len(wanted)], wanted, atol=1e-4)
  said = pipe('the moon and a cat')
  words = [one['entity'] for one in said if not one['word'].startswith('##')]
  assert answer['tags'] == words


def test_a_head_of_questions_has_two_outputs(tokenizer, tmp_path):
  make('Bert', 'class', tokenizer, tmp_path)
  config = tr.AutoConfig.from_pretrained(tmp_path)
  tr.BertForQuestionAnswering(config).save_pretrained(tmp_path)
  with pytest.raises(UserError, match='of questions has 3 outputs, and not 2'):
    loading.load(tmp_path)
