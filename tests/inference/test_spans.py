"""Answers to questions from end to end: learned, judged, asked, converted."""

import json
import sys

import numpy as np
import pytest

from ctxlm import files
from ctxlm.inference import conversion, judging, loading, predict
from ctxlm.training import loop
from tests import tiny

pytestmark = pytest.mark.slow
WORDS = ('the', 'a', 'cat', 'dog', 'moon', 'sees', 'warm', 'cold')


def rows(rng, count):
  """Returns questions where gold is, which a fifth of the contexts lack."""
  found = []
  for i in range(count):
    words = rng.choice(WORDS, 20).tolist()
    answers = {'text': [], 'answer_start': []}
    if i % 5:
      at, word = int(rng.integers(20)), f'gold{rng.integers(10)}'
      words[at] = word
      start = ' '.join(words).index(word)
      answers = {'text': [word], 'answer_start': [start]}
    row = {'id': str(i), 'question': 'where is gold?', 'answers': answers}
    found.append(row | {'context': ' '.join(words)})
  return found


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
  """The folder of a run, its recipe, the split that judged it and how."""
  folder, rng = tmp_path_factory.mktemp('spans'), np.random.default_rng(0)
  patterns = {}
  for split, count in (('train', 200), ('validation', 30)):
    patterns[split] = str(folder / f'{split}.jsonl')
    lines = (json.dumps(row) + '\n' for row in rows(rng, count))
    (folder / f'{split}.jsonl').write_text(''.join(lines))
  recipe = folder / 'recipe.py'
  recipe.write_text(
    'from tests import tiny\n'
    'def get_config():\n'
    "  c = tiny.get_config('mlm')\n"
    "  del c.tasks['mlm']\n"
    '  c.num_steps, c.checkpoint.every_steps = 60, 0\n'
    '  c.optimizer.learning_rate = 1e-2\n'
    '  c.model.update(norm_position="post", final_norm=False, '
    'embedding_norm=True, type_vocab_size=2)\n'
    '  c.tasks.qa = {"data": {"name": "files", "split_patterns": '
    f'{patterns}}}, "objective": {{"name": "span", "overlap": 6}}, '
    '"weight": 1.0}\n'
    '  c.evaluators.dev = {"name": "span"}\n'
    '  return c\n'
  )
  from ctxlm import recipes

  judged = loop.train(recipes.load(str(recipe)), folder / 'run')
  return folder, judged


def test_predictions_are_what_was_judged(trained, optimized):
  folder, judged = trained
  records = rows_of(folder / 'validation.jsonl')
  predictor = predict.open_predictor(folder / 'run')
  assert predictor.objective.unanswerable is True
  answers = predictor(records)
  right = [
    a['answer'] == ''.join(r['answers']['text'])
    for a, r in zip(answers, records)
  ]
  assert judged['eval/dev/squad_exact'] == pytest.approx(100 * np.mean(right))
  assert np.mean(right) > 0.9
  for one, record in zip(answers, records):
    if one['answer']:
      assert record['context'][one['start'] : one['end']] == one['answer']


def test_a_converted_folder_is_judged_and_asked_alike(trained, optimized):
  folder, judged = trained
  _, left_out = conversion.convert(folder / 'run', to_hf=folder / 'hf')
  assert left_out == []
  settings = files.read_json(folder / 'hf' / 'config.json')
  assert settings['architectures'] == ['BertForQuestionAnswering']
  assert loading.load(folder / 'hf').task == {'name': 'span'}
  found = judging.judge(folder / 'hf', recipe=str(folder / 'recipe.py'))
  for name, value in judged.items():
    assert found.metrics[name] == pytest.approx(value, abs=1e-3), name


def test_lines_piped(trained):
  folder, _ = trained
  lines = 'where is gold?\tthe cat sees gold7 a moon\nwhere is gold?\ta cat\n'
  (folder / 'lines').write_text(lines)
  model = str(folder / 'run')
  argv = [sys.executable, '-m', 'ctxlm', 'predict', '--model', model]
  process = tiny.fork(
    [*argv, '--input', str(folder / 'lines')],
    1,
    folder / 'errors',
    haste=True,
  )
  process.join(300)
  assert not process.exitcode, (folder / 'errors').read_text()
  found = [row['answer'] for row in rows_of(folder / 'errors.out')]
  assert [one['answer'] for one in found] == ['gold7', '']
  assert (found[0]['start'], found[0]['end']) == (13, 18)
  (folder / 'lines').write_text(lines + 'where is gold?\n')
  process = tiny.fork(
    [*argv, '--input', str(folder / 'lines')],
    1,
    folder / 'errors',
    haste=True,
  )
  process.join(300)
  said = (folder / 'errors').read_text()
  assert process.exitcode and said.count('\n') == 1
  assert 'record' in said or 'line 3' in said
  assert 'has no question' in said


def rows_of(path):
  """Returns the rows of a jsonl."""
  return [json.loads(line) for line in path.read_text().splitlines()]
