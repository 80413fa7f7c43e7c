"""Few-shot tasks: what is shown to which query, and what is told of it."""

import json
import types

import numpy as np
import pytest

import ctxlm
from ctxlm import plugins, recipes
from ctxlm.commands import evaluate
from ctxlm.errors import UserError
from ctxlm.evaluators import demonstrations, few_shot
from ctxlm.inference import judging
from tests.evaluators import tasks
from tests.evaluators.test_generation import bench_of


@pytest.fixture(scope='module')
def data(tmp_path_factory):
  """The block of a small source."""
  return tasks.source(tmp_path_factory.mktemp('few_shot'))


def evaluator(data, **options):
  block = tasks.FORMAT | {'data': data} | options
  block = {k: v for k, v in block.items() if v is not None}
  return plugins.build('evaluators', block)


def run(bench, data, **options):
  figures = evaluator(data, **options).run(bench)
  return figures, bench.examples['eval/']


def planned(data, bench=None, **options):
  """Returns (numbers of queries, of what each is shown, texts of the pool)."""
  judge = evaluator(data, **options)
  queries = judge._examples(judge.data, judge.split)
  pool = judge._examples(judge.data, judge.pool)
  return *judge._shown(bench, queries, pool), judge._texts(pool)


@pytest.fixture
def bench(runs):
  bench = bench_of(runs['causal'])
  bench._name, bench.examples = '', {}
  yield bench
  bench.vectors_by = None


@pytest.fixture
def made(bench, monkeypatch):
  """A Bench whose model's answers are made up."""
  monkeypatch.setattr(bench, 'continuations', lambda _: tasks.made_up)
  return bench


def test_all_queries_are_shown_one_draw(data):
  for options, labels in (
    ({'shots': 4, 'seed': 3}, None),
    ({'shots': 4, 'seed': 3, 'order': 5, 'balanced': True}, '012012012'),
  ):
    numbers, shown, texts = planned(data, **options)
    rng = np.random.default_rng([3])
    drawn = demonstrations.draw(9, 4, rng, labels and [*labels])
    drawn = demonstrations.ordered(drawn, options.get('order', 0), 3)
    assert numbers == [*range(10)] and shown == [drawn] * 10
    assert texts == [tasks.shown(row) for row in tasks.rows(9)]
  assert planned(data, shots=0)[1] == [[]] * 10


def test_no_query_is_shown(data):
  numbers, shown, texts = planned(data, pool='validation')
  ((one),) = {tuple(own) for own in shown}
  assert len(one) == 3 and len(texts) == 10
  assert sorted((*one, *numbers)) == [*range(10)]
  numbers, shown, texts = planned(data, pool='validation', limit=7)
  assert len(texts) == 7 and len(numbers) == 4


def test_other_labels_are_shown(data):
  shown = {'0': 'x', '1': 'y', '2': 'z'}
  *_, texts = planned(data, shown=shown)
  assert [text[-1] for text in texts] == [*'xyz'] * 3
  *_, texts = planned(data, shown=shown, labels='random')
  said = [text[-1] for text in texts]
  assert {*said} == {*'xyz'} and said != [*'xyz'] * 3
  assert texts[0][:-1] == 'fox fox 0: '
  *_, again = planned(data, labels='random')
  labels = dict(zip('xyz', tasks.LABELS))
  assert [x.partition(': ')[2] for x in again] == [labels[x] for x in said]
  *_, others = planned(data, shown=shown, labels='random', seed=1)
  assert others != texts


def test_what_has_no_room_is_left_out_from_the_far_end(made, data, capsys):
  figures, found = run(made, data, shots=4, limit=3)
  encode = made.tokenizer.encode
  train = [tasks.shown(row) for row in tasks.rows(9)]
  _, (drawn, *_), _ = planned(data, shots=4)
  for row in found:
    kept = row['demonstrations']
    assert kept == drawn[4 - len(kept) :]  # whole, and the near ones

    def size(k, text=row['prompt'].rpartition('. ')[2]):
      shown = [train[i] for i in drawn[4 - k :]]
      texts = ['. '.join([*shown, text + o]) for o in tasks.LABELS]
      return 1 + max(len(encode(x)) for x in texts) - 1  # bos; unread last

    assert size(len(kept)) <= 24 < size(len(kept) + 1)
  lost = 12 - sum(len(row['demonstrations']) for row in found)
  assert lost and figures['shots'] == 4 - lost / 3
  said = capsys.readouterr().err
  assert f'few_shot: {lost} demonstrations of 3 of 3 queries have no' in said


@pytest.mark.parametrize('pool', ['train', 'validation'])
def test_the_nearest_are_shown_to_each_query(data, pool):
  first, count = (0, 9) if pool == 'train' else (9, 10)
  vectors = np.random.default_rng(0).normal(size=(10 + count, 5))
  if pool == 'validation':
    vectors[10:] = vectors[:10]
  asked = []

  def vectors_by(folder, texts):
    asked.append((folder, texts))
    return vectors.astype(np.float32)

  own = types.SimpleNamespace(vectors_by=vectors_by)
  numbers, shown, _ = planned(data, own, encoder='it', shots=2, pool=pool)
  ((folder, texts),) = asked
  both = tasks.rows(10, 9) + tasks.rows(count, first)
  assert folder == 'it' and texts == [row['text'] for row in both]
  unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
  cosine = unit[:10] @ unit[10:].T
  if pool == 'validation':
    cosine -= 9 * np.eye(10)  # not the query itself
  assert numbers == [*range(10)]
  assert shown == np.argsort(cosine, 1)[:, -2:].tolist()
  # An order is of each query's own.
  _, turned, _ = planned(
    data, own, encoder='it', shots=2, pool=pool, order=1, seed=4
  )
  assert turned == [demonstrations.ordered(x, 1, 4) for x in shown] != shown
  _, even, _ = planned(
    data, own, encoder='it', shots=3, pool=pool, balanced=True
  )
  assert all({i % 3 for i in x} == {0, 1, 2} for x in even)


def test_texts_that_are_written(bench, data, loaded):
  settings = {'max_new_tokens': 6, 'stop': ('z',)}
  options = dict(
    score='generate', shots=0, limit=4, decoding=settings, parse=r'\S+'
  )
  text = {'verbalisers': {}, 'target': 'text', 'metrics': ('exact_match',)}
  figures, found = run(bench, data, **options | text)
  lm = ctxlm.load(loaded['causal'].folder)
  prompts = [f'{row["text"]}:' for row in tasks.rows(4, 9)]
  texts = lm.generate(prompts, strategy='greedy', **settings)
  assert [row['written'] for row in found] == [x.strip() for x in texts]
  parsed = [row['parsed'] for row in found]
  assert parsed == [row['written'].split()[0] for row in found]
  assert figures['exact_match'] == 0 and figures['examples'] == 4
  # What is written may be the name of an option.
  names = {'0': parsed[0].upper(), '1': 'qqq', '2': 'rrr'}
  figures, found = run(bench, data, verbalisers=names, **options)
  numbers = [0 if x == parsed[0] else -1 for x in parsed]
  assert [row['found'] for row in found] == numbers
  assert figures['none'] == np.mean([n < 0 for n in numbers])
  hits = [n == row['right'] for n, row in zip(numbers, found, strict=True)]
  assert figures['accuracy'] == np.mean(hits)


@pytest.mark.parametrize(
  'parse, text, wanted',
  [
    ('', 'the a', 'the a'),
    ('the .', 'x the a', 'the a'),
    ('the (.) (.)', 'the a b, the c d', 'a'),
    ('the( a)?', 'the b', ''),
    ('the', 'a', ''),
  ],
)
def test_what_is_parsed(data, parse, text, wanted):
  judge = evaluator(data, score='generate', parse=parse)
  assert judge._parsed(text) == wanted


def test_options_are_known_by_their_text():
  options = 'The', ' lazy dog', 'a'
  found = [few_shot._number(x, options) for x in ('the ', 'LAZY Dog', 'lazy')]
  assert found == [0, 1, -1]


def test_mistakes_of_options(data):
  for options, wanted in (
    ({'verbalisers': {'0': 'a', '1': ' '}}, "of the label '1' is empty"),
    ({'template': '{text}'}, 'needs {answer} in one place'),
    ({'target': 'text|upper'}, 'behind | may stand capitalize'),
    ({'template': '{answer} {text}'}, 'an answer that ends the template'),
    ({'options': 'texts'}, 'verbalisers or options, and not both'),
    ({'shown': {'0': 'a'}}, 'shown must have the labels'),
    ({'clean': (('(', ''),)}, 'clean: '),
    ({'score': 'generate'}, None),
    ({'score': 'generate', 'verbalisers': {}}, 'needs metrics, or verb'),
    ({'score': 'byte', 'verbalisers': {}}, "score='byte' needs verbalisers"),
    ({'balanced': True, 'verbalisers': {}}, 'balanced needs verbalisers'),
    ({'metrics': ('bleu',)}, "are for score='generate'"),
    ({'shots': -1}, 'shots=-1 must be 0 or more'),
    ({'score': 'logp'}, "score='logp' must be 'sum', 'token'"),
  ):
    if wanted is None:
      assert isinstance(evaluator(data, **options), few_shot.Evaluator)
      continue
    with pytest.raises(UserError) as e:
      evaluator(data, **options)
    assert wanted in str(e.value), (options, e.value)


def test_mistakes_of_data(bench, data, runs, tmp_path):
  empty = tmp_path / 'empty.jsonl'
  empty.touch()
  one = tasks.write(tmp_path / 'one.jsonl', [{'text': 'a', 'label': 'odd'}])
  own = data['split_patterns']
  for options, patterns, wanted in (
    ({'shots': 10}, {}, 'shots=10 is more than the 9 examples'),
    ({'shots': 9, 'balanced': True, 'limit': 1}, {}, None),
    ({'shots': 10, 'pool': 'validation'}, {}, 'every example is a demonstr'),
    (
      {'template': '{txt} {answer}'},
      {},
      "it has no field 'txt'. It has: 'text'",
    ),
    ({'target': 'kind'}, {}, "it has no field 'kind'"),
    ({}, {'train': one}, "record 0 of the split 'train': the label 'odd' has"),
    ({}, {'validation': str(empty)}, 'empty.jsonl is empty'),
    ({'pool': 'other'}, {}, "no split 'other'"),
    ({'verbalisers': None, 'options': 'label'}, {}, 'lacks|no list'),
  ):
    block = data | {'split_patterns': own | patterns}
    made = evaluator(block, **options)
    if wanted is None:
      assert len(made._examples(made.data, 'validation')) == 1
      continue
    with pytest.raises(UserError, match=wanted):
      made.run(bench)
  with pytest.raises(UserError, match="task 'mlm' is not causal"):
    evaluator(data).run(bench_of(runs['mlm']))


def test_a_task_judges_a_run_folder(runs, data, tmp_path, capsys):
  """By the command's door, with an override, and the examples it gives."""
  path = tmp_path / 'mine.py'
  path.write_text(
    f'def get_task(limit):\n  return {tasks.FORMAT | {"data": data}!r} | '
    "{'limit': int(limit), 'shots': 0}\n"
  )
  run = runs['causal'].workdir
  for model, more, wanted in (
    (runs['mlm'].workdir, {}, 'causal=False'),
    (run, {'recipe': 'quickstart_causal'}, 'leave out --config RECIPE'),
    (run, {'context': ('neural_cache',)}, 'leave --context out'),
    (run, {'few_shot': 'quickstart_causal'}, 'no task named'),
    (run, {'few_shot': str(path)}, 'needs an argument: --few_shot NAME'),
  ):
    with pytest.raises(UserError, match=wanted):
      judging.judge(model, **{'few_shot': f'{path}:5'} | more)
  out = tmp_path / 'out.jsonl'
  given = dict.fromkeys(
    ('step', 'config', 'coordinator', 'num_processes', 'process_id')
  )
  given |= {
    'model': run,
    'context': (),
    'data': (),
    'few_shot': f'{path}:5',
    'output': out,
  }
  given['overrides'] = [('evaluators.mine.limit', '3')]
  evaluate.main(types.SimpleNamespace(**given | {'step': ''}))
  metrics = json.loads(capsys.readouterr().out.splitlines()[-1])
  assert metrics['step'] == 4 and metrics['eval/mine/examples'] == 3
  told = [json.loads(line) for line in out.read_text().splitlines()]
  assert [row['number'] for row in told] == [0, 1, 2]
  assert {row['evaluator'] for row in told} == {'eval/mine'}
  hits = [row['correct'] for row in told]
  assert metrics['eval/mine/accuracy'] == pytest.approx(np.mean(hits))
  with pytest.raises(UserError, match='is there already: name another'):
    evaluate.main(types.SimpleNamespace(**given))
  name, block = recipes.load_task(f'{path}:5')
  assert (name, block['limit']) == ('mine', 5)


def test_lambada_and_its_tokens(made, tmp_path):
  """A word is right if each of its tokens is, and perplexity is of words."""
  t = made.tokenizer
  texts = ['the cat sees the moon', 'a bird likes two stones', 'x y z zz']
  path = tasks.write(tmp_path / 'l.jsonl', [{'text': text} for text in texts])
  _, block = recipes.load_task(f'lambada:{path}')
  figures = plugins.build('evaluators', block).run(made)
  found = made.examples['eval/']
  assert [row['prompt'] for row in found] == [
    text.rpartition(' ')[0] + ' ' for text in texts
  ]
  assert [row['references'] for row in found] == [['moon'], ['stones'], ['zz']]
  sums = [row['logps'][0] for row in found]
  np.testing.assert_allclose(figures['perplexity'], np.exp(-np.mean(sums)))
  for row, text in zip(found, texts, strict=True):
    before = t.encode(row['prompt'].rstrip())
    assert row['tokens'] == [len(t.encode(text)) - len(before)]
