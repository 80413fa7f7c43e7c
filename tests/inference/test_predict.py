"""Answers for records: as the evaluator judges them, in files and lines."""

import json

import jax
import numpy as np
import pytest
import transformers

import ctxlm
from ctxlm import cli
from ctxlm.decoding import build
from ctxlm.errors import UserError
from ctxlm.inference import conversion, loading, predict
from ctxlm.parallel import pmap as pmap_lib
from ctxlm.training import loop, run_folder
from tests import tiny

WORDS = {'bad': ['cold', 'dull'], 'good': ['warm', 'bright']}


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
  """A run folder of two classes, its dev file, and what was judged there."""
  folder = tmp_path_factory.mktemp('classes')
  rng = np.random.default_rng(0)
  for name, count in (('train', 60), ('dev', 21)):
    rows = []
    for _ in range(count):
      label = str(rng.choice(list(WORDS)))
      words = [*rng.choice(WORDS[label], 2), *rng.choice(['a', 'the'], 3)]
      rows.append({'text': ' '.join(rng.permutation(words)), 'label': label})
    text = ''.join(json.dumps(row) + '\n' for row in rows)
    (folder / f'{name}.jsonl').write_text(text)
  c = tiny.get_config('mlm')
  c.num_steps, c.checkpoint.every_steps = 12, 0
  c.optimizer.learning_rate = 1e-2
  patterns = {
    'train': str(folder / 'train.jsonl'),
    'validation': str(folder / 'dev.jsonl'),
  }
  del c.tasks['mlm']
  c.tasks.mood = {
    'data': {'name': 'files', 'split_patterns': patterns},
    'objective': {'name': 'classification', 'class_weights': 'balanced'},
    'weight': 1.0,
  }
  c.evaluators.dev = {'name': 'classification'}
  judged = loop.train(c, folder / 'run')
  return folder / 'run', folder / 'dev.jsonl', judged


@pytest.fixture(scope='module')
def predictor(trained):
  return predict.open_predictor(trained[0])


def rows(path):
  return [json.loads(line) for line in path.read_text().splitlines()]


def test_the_folder_knows_its_labels(trained):
  config = run_folder.load_config(trained[0])
  objective = config.tasks.mood.objective
  assert tuple(objective.labels) == ('bad', 'good')
  assert objective.pair is False and len(objective.class_weights) == 2
  assert loading.load(trained[0]).task == objective.to_dict()


def test_answers_are_those_that_were_judged(trained, predictor):
  _, dev, judged = trained
  records = rows(dev)
  answers = predictor(records)
  right = [a['label'] == r['label'] for a, r in zip(answers, records)]
  assert judged['eval/dev/accuracy'] == pytest.approx(np.mean(right))
  assert np.mean(right) > 0.8
  for record, answer in zip(records, answers):
    assert list(answer['probabilities']) == ['bad', 'good']
    assert sum(answer['probabilities'].values()) == pytest.approx(1, abs=1e-5)
    (alone,) = predictor([record])
    assert alone['probabilities'] == pytest.approx(
      answer['probabilities'], abs=1e-5
    )


def test_a_file_that_is_stopped_goes_on(trained, predictor, tmp_path):
  whole, broken = tmp_path / 'whole.jsonl', tmp_path / 'broken.jsonl'
  predict.write_all(predictor, trained[1], whole, 4)
  found = rows(whole)
  given = rows(trained[1])
  assert [{k: r[k] for k in ('text', 'label')} for r in found] == given
  assert [r['answer']['label'] for r in found] == [
    a['label'] for a in predictor(given)
  ]
  content = whole.read_bytes()
  note = f'{whole.name}.settings.json'
  (tmp_path / f'{broken.name}.settings.json').write_bytes(
    (tmp_path / note).read_bytes()
  )
  broken.write_bytes(content[: len(content) // 2])
  predict.write_all(predictor, trained[1], broken, 4)
  assert broken.read_bytes() == content
  other = tmp_path / 'other.jsonl'
  other.write_text(json.dumps({'text': 'the warm', 'label': 'bad'}) + '\n')
  with pytest.raises(UserError, match='is of other records than --input'):
    predict.write_all(predictor, other, broken, 4)
  assert broken.read_bytes() == content


def test_no_answer_stands_in_place_of_a_field(predictor, tmp_path):
  path = tmp_path / 'in.jsonl'
  path.write_text('{"text": "the warm", "answer": "mine"}\n')
  with pytest.raises(UserError, match="record 1 has a field 'answer' itself"):
    predict.write_all(predictor, path, tmp_path / 'out.jsonl', 4)
  assert list(tmp_path.iterdir()) == [path]


def test_files_of_every_kind(predictor, tmp_path):
  texts = ['a warm', 'the cold']
  wanted = predict.answers(predictor, texts)
  forms = {
    'a.jsonl': ''.join(json.dumps({'text': t}) + '\n' for t in texts),
    'a.json': json.dumps([{'text': t} for t in texts]),
    'a.csv': 'text\n' + '\n'.join(texts),
    'a.tsv': 'id\ttext\n' + '\n'.join(f'1\t{t}' for t in texts),
    'a.txt': '\n'.join(texts),
  }
  for name, content in forms.items():
    (tmp_path / name).write_text(content)
    found = [a for _, a in predict.each(predictor, tmp_path / name)]
    assert found == wanted, name


def test_a_file_may_have_the_fields_that_the_run_learned_from(trained):
  loaded = loading.load(trained[0])
  with loaded.run.config.unlocked():
    loaded.run.config.tasks.mood.data.fields = {'text': 'review', 'label': 'x'}
  found = predict.of_loaded(loaded, pmap_lib.Pmap(jax.devices()[:1]))
  (answer,) = predict.numbered(found, [{'text': 'a warm'}])
  assert predict.numbered(found, [{'review': 'a warm', 'x': ''}]) == [answer]
  with pytest.raises(UserError, match="lacks the field 'text'"):
    predict.numbered(found, [{'body': 'a warm'}])


def test_what_is_cut_is_said(predictor, capsys):
  predict.answers(predictor, ['a warm', 'a ' * 30])
  told = capsys.readouterr().err
  assert '1 of 2 records fill max_length=24 tokens' in told
  predict.answers(predictor, ['a warm'])
  assert not capsys.readouterr().err


@pytest.mark.parametrize(
  'name, content, wanted',
  [
    ('a.jsonl', '{"text": "a"}\n{"words": "a"}', "record 2: .*field 'text'"),
    ('a.jsonl', '{"text": "a"}\n{"text": 3}', 'record 2: .*no text'),
    ('a.jsonl', '{"text": "a"}\n{"text', 'line 2, is not JSON'),
    ('a.txt', 'a\n\na', "record 2: .*no text in 'text': ''"),
    ('a.txt', 'a\tb', "record 1: .*lacks the field 'text'"),
    ('a.txt', '', 'is empty'),
  ],
)
def test_records_without_an_answer(predictor, tmp_path, name, content, wanted):
  (tmp_path / name).write_text(content)
  with pytest.raises(UserError, match=wanted):
    predict.write_all(predictor, tmp_path / name, tmp_path / 'out.jsonl', 4)
  assert [p.name for p in tmp_path.iterdir()] == [name]


def test_a_folder_without_a_head(runs):
  with pytest.raises(UserError, match='no head that answers, and writes no'):
    predict.open_predictor(runs['mlm'].workdir)


def test_more_tokens_than_the_model_takes(trained):
  with pytest.raises(UserError, match='--max_length 99 is more than the 24'):
    predict.open_predictor(trained[0], max_length=99)


def test_the_command(trained, predictor, capsys):
  argv = ['ctxlm', 'predict', '--model', str(trained[0])]
  with pytest.raises(SystemExit) as e:
    cli.main([*argv, '--text', 'a warm'])
  assert not e.value.code
  (wanted,) = predict.answers(predictor, ['a warm'])
  assert json.loads(capsys.readouterr().out) == wanted
  with pytest.raises(SystemExit) as e:
    cli.main([*argv, '--output', 'x.jsonl'])
  assert e.value.code == 2
  assert 'needs --input FILE' in capsys.readouterr().err
  with pytest.raises(SystemExit) as e:
    cli.main([*argv, '--text', 'a warm', '--input', str(trained[1])])
  assert e.value.code == 2
  assert 'and not both' in capsys.readouterr().err


def test_in_python(trained, predictor):
  """The verb's answers, of a text, a record, or a list of either."""
  lm = ctxlm.load(trained[0])
  texts = ['a warm', 'the cold dull']
  wanted = predict.answers(predictor, texts)
  for found in (
    lm.predict(texts),
    lm.predict([{'text': text} for text in texts]),
    [lm.predict(texts[0]), lm.predict({'text': texts[1]})],
  ):
    for one, theirs in zip(found, wanted, strict=True):
      assert one['label'] == theirs['label']
      p = theirs['probabilities']
      assert one['probabilities'] == pytest.approx(p, abs=1e-5)
  assert lm.predict([]) == []
  for records, said in (
    (['a', 7], 'record 1 is no text and no dict: 7'),
    (7, 'record 0 is no text and no dict: 7'),
    ([{'text': 'a'}, {'words': 'a'}], "record 1: .* lacks the field 'text'"),
    ('a\tb', "record 0: .* lacks the field 'text'"),
  ):
    with pytest.raises(UserError, match=said):
      lm.predict(records)


@pytest.mark.slow
@pytest.mark.parametrize('kind', ['class', 'classes', 'score'])
def test_a_decoder_trained_here_answers_in_a_pipeline(kind, tmp_path):
  """Framed and padded as it was trained, with the same numbers."""
  rng = np.random.default_rng(0)
  rows = []
  for _ in range(40):
    label = str(rng.choice(list(WORDS)))
    words = [' '.join(rng.choice(WORDS[label], 2)), 'the a']
    answer = {'score': float(label == 'good')} if kind == 'score' else {}
    rows.append(
      {'text_a': words[0], 'text_b': words[1], 'label': label} | answer
    )
  path = tmp_path / 'train.jsonl'
  path.write_text(''.join(json.dumps(row) + '\n' for row in rows))
  c = tiny.get_config('causal')
  c.num_steps, c.checkpoint.every_steps = 5, 0
  del c.tasks['causal']
  c.tasks.mood = {
    'data': {'name': 'files', 'pattern': str(path)},
    'objective': {'name': 'classification', 'kind': kind},
    'weight': 1.0,
  }
  loop.train(c, tmp_path / 'run')
  conversion.convert(tmp_path / 'run', to_hf=tmp_path / 'hf')
  pipe = transformers.pipeline(
    'text-classification', model=str(tmp_path / 'hf'), batch_size=3
  )
  assert type(pipe.model) is transformers.GPT2ForSequenceClassification
  # Of several lengths, so that they are padded.
  asked = [
    {'text': f'{row["text_a"]} cold' * n, 'text_pair': row['text_b']}
    for n, row in enumerate(rows[:3], 1)
  ]
  said = [pipe(one, top_k=None) for one in asked]
  lm = ctxlm.load(tmp_path / 'run')
  for one, theirs in zip(asked, said, strict=True):
    record = {'text_a': one['text'], 'text_b': one['text_pair']}
    found = lm.predict(record)
    if kind == 'score':  # cut to the range, which the reference has none of
      (wanted,) = theirs
      wanted = min(max(wanted['score'], 0), 1)
      assert found['score'] == pytest.approx(wanted, abs=1e-5)
    else:
      wanted = {each['label']: each['score'] for each in theirs}
      assert found['probabilities'] == pytest.approx(wanted, abs=1e-5)


@pytest.mark.parametrize(
  'settings, strategy, idle',
  [
    ({}, 'greedy', False),
    ({'temperature': 9.0}, 'sample', False),
    ({'temperature': 9.0, 'strategy': 'greedy'}, 'greedy', True),
  ],
)
def test_a_filter_asks_for_draws(runs, capsys, settings, strategy, idle):
  loaded = loading.load(runs['causal'].workdir)
  place = pmap_lib.Pmap(jax.devices()[:1])
  config = build.config_of({'max_new_tokens': 2} | settings)
  predict.of_loaded(loaded, place, config=config)
  assert config.strategy['name'] == strategy
  told = capsys.readouterr().err
  assert ('temperature: greedy draws nothing' in told) == idle
