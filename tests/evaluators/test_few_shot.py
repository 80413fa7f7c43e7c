"""Few-shot tasks: lm-evaluation-harness's numbers, and each score by hand."""

import json
import types

import datasets
import numpy as np
import pytest
from lm_eval import evaluator as lm_evaluator
from lm_eval.api.task import ConfigurableTask
from lm_eval.models.huggingface import HFLM

from ctxlm import plugins, recipes
from ctxlm.commands import evaluate
from ctxlm.data.tokenizers import tokenizer as tokenizer_lib
from ctxlm.errors import UserError
from ctxlm.evaluators import bench as bench_lib
from ctxlm.evaluators import few_shot, ranking
from ctxlm.inference import judging
from ctxlm.training import initial
from tests.evaluators.test_generation import bench_of
from tests.inference import test_harness

WORDS = ('fox', 'dog', 'quick', 'lazy', 'brown', 'over')
RECIPE = """
from ctxlm.configs import common

def get_config(unused=''):
  c = common.base()
  c.batch_size, c.max_length = 64, 48
  c.tasks.text = common.task({text}, {{'name': 'causal'}})
  for name, more in {variants}.items():
    c.evaluators[name] = {block} | more
  return c
"""
FORMAT = {
  'name': 'few_shot',
  'template': '{text}: {answer}',
  'verbalisers': {'0': 'the', '1': 'lazy dog', '2': 'a'},
  'separator': '. ',
  'shots': 3,
}
CONTENT_FREE = ('N/A', 'x', '')
VARIANTS = {
  'sum': {'balanced': True},
  'token': {'score': 'token', 'seed': 1},
  'unconditional': {'score': 'unconditional', 'premise': 'fox:'},
  'whole': {'score': 'whole', 'template': '{answer} {text}', 'shots': 2},
  'calibrated': {'calibrated': True, 'order': 2, 'instruction': 'over the. '},
  'shown': {
    'shown': {'0': 'x', '1': 'y', '2': 'z'},
    'labels': 'random',
    'seed': 1,
    'shots': 3,
    'pool': 'validation',
  },
}


def rows(count, first=0):
  return [
    {'text': f'{WORDS[i % 6]} {WORDS[i // 6 % 6]} {i}', 'label': i % 3}
    for i in range(first, first + count)
  ]


def write(path, records):
  path.write_text(''.join(json.dumps(row) + '\n' for row in records))
  return str(path)


@pytest.fixture(scope='module')
def data(tmp_path_factory):
  """The block of a small source."""
  folder = tmp_path_factory.mktemp('few_shot')
  return {
    'name': 'files',
    'split_patterns': {
      'train': write(folder / 'train.jsonl', rows(9)),
      'validation': write(folder / 'validation.jsonl', rows(10, 9)),
    },
  }


@pytest.fixture(scope='module')
def judged(data, tmp_path_factory):
  """(lm_eval's model, our Judged) of one folder, of all VARIANTS."""
  folder = tmp_path_factory.mktemp('gpt2')
  test_harness.make(folder, 'gpt2')
  recipe = folder / 'recipe.py'
  block = FORMAT | {'data': data}
  recipe.write_text(RECIPE.format(text=data, variants=VARIANTS, block=block))
  with pytest.MonkeyPatch.context() as patch:
    # Theirs would read [MASK], which this tokenizer has, as a special token.
    patch.setattr(ranking, 'CONTENT_FREE', CONTENT_FREE)
    patch.setattr(bench_lib.Bench, 'rehearse', lambda *_: {})  # other shapes
    found = judging.judge(folder, recipe=str(recipe))
  theirs = HFLM(pretrained=str(folder), device='cpu', dtype='float32')
  return theirs, found


def of(judged, name):
  """Returns (HFLM, rows, metrics) of a variant."""
  theirs, found = judged
  start = f'eval/{name}/'
  metrics = {
    k.removeprefix(start): v
    for k, v in found.metrics.items()
    if k.startswith(start)
  }
  return theirs, found.examples[f'eval/{name}'], metrics


def logps(theirs, pairs):
  return [x for x, _ in test_harness.ask(theirs, 'loglikelihood', *pairs)]


def lengths(theirs, pairs):
  def count(text):
    return len(theirs.tok_encode(text))

  return [count(a + b) - count(a.rstrip()) for a, b in pairs]


def softmax(x):
  p = np.exp(np.array(x) - np.max(x))
  return p / p.sum()


def test_the_figures_are_those_of_lm_eval(judged):
  theirs, found, metrics = of(judged, 'sum')
  docs = datasets.Dataset.from_list(
    [{k: row[k] for k in ('prompt', 'options', 'right')} for row in found]
  )
  task = ConfigurableTask(
    config={
      'task': 'mine',
      'custom_dataset': lambda **_: {'test': docs},
      'test_split': 'test',
      'output_type': 'multiple_choice',
      'doc_to_text': '{{prompt}}',
      'doc_to_choice': '{{options}}',
      'doc_to_target': '{{right}}',
      'target_delimiter': '',
      'metric_list': [{'metric': 'acc'}, {'metric': 'acc_norm'}],
    }
  )
  want = lm_evaluator.evaluate(theirs, {'mine': task}, bootstrap_iters=0)
  figures = want['results']['mine']
  assert metrics['accuracy'] == figures['acc,none']
  assert metrics['accuracy_byte'] == figures['acc_norm,none']
  samples = {s['doc_id']: s['resps'] for s in want['samples']['mine']}
  for i, row in enumerate(found):
    own = [float(answer[0]) for (answer,) in samples[i]]
    np.testing.assert_allclose(row['logps'], own, atol=1e-4)
  right = [row['right'] for row in found]
  assert len({*right}) == 3 and 0 < metrics['accuracy'] < 1
  assert metrics['accuracy'] == np.mean([row['correct'] for row in found])


def test_demonstrations_stand_before_the_query(judged):
  _, found, metrics = of(judged, 'sum')
  shown = {tuple(row['demonstrations']) for row in found}
  ((one),) = shown
  assert len(one) == 3 == metrics['shots']
  train, queries = rows(9), rows(10, 9)
  labels = list(FORMAT['verbalisers'].values())
  assert {train[i]['label'] for i in one} == {0, 1, 2}
  parts = [f'{train[i]["text"]}: {labels[train[i]["label"]]}' for i in one]
  for row, query in zip(found, queries, strict=True):
    assert row['prompt'] == '. '.join([*parts, f'{query["text"]}: '])
    assert row['right'] == query['label']


@pytest.mark.parametrize('name', ['token', 'unconditional', 'whole'])
def test_scores_by_hand(judged, name):
  theirs, found, _ = of(judged, name)
  for row in found[::4]:
    options = row['options']
    pairs = [(row['prompt'], option) for option in options]
    if name == 'whole':
      text = rows(10, 9)[row['number']]['text']
      pairs = [(row['prompt'], f'{option} {text}') for option in options]
    want = np.array(logps(theirs, pairs))
    if name == 'unconditional':
      want = want - logps(theirs, [('fox: ', option) for option in options])
    else:
      want = want / lengths(theirs, pairs)
    np.testing.assert_allclose(row['scores'], want, atol=2e-4)
    np.testing.assert_allclose(row['probabilities'], softmax(want), atol=1e-4)
    assert row['found'] == want.argmax()


def test_calibration_divides_by_what_says_nothing(judged):
  theirs, found, _ = of(judged, 'calibrated')
  assert found[0]['prompt'].startswith('over the. ')
  for row in found[:2]:
    own = rows(10, 9)[row['number']]['text']
    asked = [row['prompt'].replace(f'{own}: ', f'{x}: ') for x in CONTENT_FREE]
    p, *without = (
      softmax(logps(theirs, [(prompt, o) for o in row['options']]))
      for prompt in (row['prompt'], *asked)
    )
    want = p / np.mean(without, 0)
    np.testing.assert_allclose(
      row['probabilities'], want / want.sum(), atol=1e-4
    )


def test_other_labels_and_queries_of_the_pool(judged):
  _, found, metrics = of(judged, 'shown')
  assert metrics['examples'] == 7  # three of ten are shown
  shown = {tuple(row['demonstrations']) for row in found}
  ((one),) = shown
  assert not {*one} & {row['number'] for row in found}
  assert sorted((*one, *(row['number'] for row in found))) == [*range(10)]
  said = [part[-1] for part in found[0]['prompt'].split('. ')[:-1]]
  assert {*said} <= {*'xyz'}
  assert said != ['xyz'[(9 + i) % 3] for i in one]  # they are random
  assert found[0]['options'] == ['the', 'lazy dog', 'a']


def evaluator(data, **options):
  block = FORMAT | {'data': data} | options
  block = {k: v for k, v in block.items() if v is not None}
  return plugins.build('evaluators', block)


def run(bench, data, **options):
  figures = evaluator(data, **options).run(bench)
  return figures, bench.examples['eval/']


@pytest.fixture
def bench(runs):
  bench = bench_of(runs['causal'])
  bench._name, bench.examples = '', {}
  return bench


def test_what_has_no_room_is_left_out_from_the_far_end(bench, data, capsys):
  figures, found = run(bench, data, shots=4, limit=3)
  t, options = bench.tokenizer, FORMAT['verbalisers'].values()
  train = [f'{r["text"]}: {[*options][r["label"]]}' for r in rows(9)]
  drawn = evaluator(data, shots=4)._shown(bench, rows(1), train)[1][0]
  for row in found:
    kept = row['demonstrations']
    assert kept == drawn[4 - len(kept) :]  # whole, and the near ones

    def size(k, text=row['prompt'].rpartition('. ')[2]):
      shown = [train[i] for i in drawn[4 - k :]]
      texts = ['. '.join([*shown, text + o]) for o in options]
      return 1 + max(len(t.encode(x)) for x in texts) - 1  # bos; unread last

    assert size(len(kept)) <= 24 < size(len(kept) + 1)
  lost = 12 - sum(len(row['demonstrations']) for row in found)
  assert lost and figures['shots'] == 4 - lost / 3
  said = capsys.readouterr().err
  assert f'few_shot: {lost} demonstrations of 3 of 3 queries have no' in said


def test_the_nearest_are_shown_to_each_query(bench, data, monkeypatch):
  vectors = np.random.default_rng(0).normal(size=(19, 5)).astype(np.float32)
  asked = []

  def vectors_by(folder, texts):
    asked.append((folder, texts))
    return vectors.copy()

  bench.vectors_by = vectors_by
  chosen = evaluator(data, encoder='it', shots=2)._shown(
    bench,
    *(
      [evaluator(data)._example(row) for row in own]
      for own in (rows(10, 9), rows(9))
    ),
  )
  ((folder, texts),) = asked
  assert folder == 'it' and texts[0] == rows(10, 9)[0]['text']
  unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
  cosine = unit[:10] @ unit[10:].T
  assert chosen[1] == np.argsort(cosine, 1)[:, -2:].tolist()
  bench.vectors_by = None


def test_vectors_are_those_of_the_encoder(runs):
  """Whose likeness is then of meaning, and not of the folder's first texts."""
  import jax

  import ctxlm
  from ctxlm.parallel import pmap

  folder = runs['contrastive'].workdir
  placement = pmap.Pmap(jax.devices()[:2])
  texts = ['the cat sees the moon', 'a bird likes two stones']
  found = initial.vectors_by(placement, folder, texts)
  np.testing.assert_allclose(found, ctxlm.load(folder).embed(texts), atol=1e-5)


def test_texts_that_are_written(bench, data, loaded):
  import ctxlm

  settings = {'max_new_tokens': 6, 'stop': ('z',)}
  options = dict(
    score='generate', shots=0, limit=4, decoding=settings, parse=r'\w+ (\w+)'
  )
  figures, found = run(
    bench, data, verbalisers={}, target='text', metrics=('exact_match',),
    **options,
  )  # fmt: skip
  lm = ctxlm.load(loaded['causal'].folder)
  prompts = [f'{row["text"]}:' for row in rows(4, 9)]
  texts = lm.generate(prompts, strategy='greedy', **settings)
  assert [row['written'] for row in found] == [x.strip() for x in texts]
  for row in found:
    words = row['written'].split()
    assert row['parsed'] in (*words, '') and row['parsed'] != words[0]
  assert figures['exact_match'] == 0 and figures['examples'] == 4
  # What is written may be the name of an option.
  first = found[0]['parsed'] or 'x'
  names = {'0': first.upper(), '1': 'qqq', '2': 'rrr'}
  figures, found = run(bench, data, verbalisers=names, **options)
  assert found[0]['found'] == 0 or first == 'x'
  numbers = [row['found'] for row in found]
  assert figures['none'] == np.mean([n < 0 for n in numbers])
  hits = [n == row['right'] for n, row in zip(numbers, found, strict=True)]
  assert figures['accuracy'] == np.mean(hits)


def test_mistakes_of_options(data):
  for options, wanted in (
    ({'verbalisers': {'0': 'a', '1': ' '}}, "of the label '1' is empty"),
    ({'verbalisers': {'0': 'a', '1': 'a'}}, "'0' and '1' have the same"),
    ({'template': '{text}'}, 'needs {answer} in one place'),
    ({'template': '{text|upper} {answer}'}, 'behind | may stand capitalize'),
    ({'template': '{answer} {text'}, 'expected'),
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
  one = write(tmp_path / 'one.jsonl', [{'text': 'a', 'label': 'odd'}])
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
    f'def get_task(limit):\n  return {FORMAT | {"data": data}!r} | '
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


def test_lambada_and_its_tokens(bench, tmp_path):
  """A word is right if each of its tokens is, and perplexity is of words."""
  t = bench.tokenizer
  texts = ['the cat sees the moon', 'a bird likes two stones', 'x y z zz']
  path = write(tmp_path / 'l.jsonl', [{'text': text} for text in texts])
  _, block = recipes.load_task(f'lambada:{path}')
  figures = plugins.build('evaluators', block).run(bench)
  found = bench.examples['eval/']
  assert [row['prompt'] for row in found] == [
    text.rpartition(' ')[0] + ' ' for text in texts
  ]
  assert [row['references'] for row in found] == [['moon'], ['stones'], ['zz']]
  sums = [row['logps'][0] for row in found]
  np.testing.assert_allclose(figures['perplexity'], np.exp(-np.mean(sums)))
  for row, text in zip(found, texts, strict=True):
    before = t.encode(row['prompt'].rstrip())
    assert row['tokens'] == [len(t.encode(text)) - len(before)]
  assert isinstance(t, tokenizer_lib.Tokenizer)
