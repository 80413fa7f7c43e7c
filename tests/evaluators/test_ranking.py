"""Ranked options: lm-evaluation-harness's numbers, and each score by hand."""

import types

import datasets
import numpy as np
import pytest
from lm_eval import evaluator as lm_evaluator
from lm_eval.api.task import ConfigurableTask
from lm_eval.models.huggingface import HFLM

from ctxlm.evaluators import bench as bench_lib
from ctxlm.evaluators import few_shot, ranking
from ctxlm.inference import judging
from tests.evaluators import tasks, test_prompting
from tests.inference import test_harness

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
CONTENT_FREE = ('N/A', 'x', '')
VARIANTS = {
  'sum': {'balanced': True},
  'calibrated': {'calibrated': True, 'order': 2, 'instruction': 'over the. '},
}


@pytest.fixture(scope='module')
def judged(tmp_path_factory):
  """(lm_eval's model, our Judged) of one folder, of all VARIANTS."""
  folder = tmp_path_factory.mktemp('gpt2')
  test_harness.make(folder, 'gpt2')
  recipe, data = folder / 'recipe.py', tasks.source(folder)
  block = tasks.FORMAT | {'data': data}
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
      'metric_list': [{'metric': 'acc'}, {'metric': 'acc_bytes'}],
    }
  )
  want = lm_evaluator.evaluate(theirs, {'mine': task}, bootstrap_iters=0)
  figures = want['results']['mine']
  assert metrics['accuracy'] == figures['acc,none']
  assert metrics['accuracy_byte'] == figures['acc_bytes,none']
  samples = {s['doc_id']: s['resps'] for s in want['samples']['mine']}
  for i, row in enumerate(found):
    own = [float(answer[0]) for (answer,) in samples[i]]
    np.testing.assert_allclose(row['logps'], own, atol=1e-4)
    sizes = [len(theirs.tok_encode(row['prompt'] + x)) for x in row['options']]
    before = len(theirs.tok_encode(row['prompt'].rstrip()))
    assert row['tokens'] == [size - before for size in sizes]
  right = [row['right'] for row in found]
  assert len({*right}) == 3 and 0 < metrics['accuracy'] < 1
  assert metrics['accuracy'] == np.mean([row['correct'] for row in found])


def test_demonstrations_stand_before_the_query(judged):
  _, found, metrics = of(judged, 'sum')
  ((one),) = {tuple(row['demonstrations']) for row in found}
  assert len(one) == 3 == metrics['shots']
  train, queries = tasks.rows(9), tasks.rows(10, 9)
  assert {train[i]['label'] for i in one} == {0, 1, 2}
  parts = [tasks.shown(train[i]) for i in one]
  for row, query in zip(found, queries, strict=True):
    assert row['prompt'] == '. '.join([*parts, f'{query["text"]}: '])
    assert row['right'] == query['label']


def test_calibration_divides_by_what_says_nothing(judged):
  theirs, found, _ = of(judged, 'calibrated')
  assert found[0]['prompt'].startswith('over the. ')
  for row in found[:2]:
    own = tasks.rows(10, 9)[row['number']]['text']
    asked = [row['prompt'].replace(f'{own}: ', f'{x}: ') for x in CONTENT_FREE]
    pairs = [(p, o) for p in (row['prompt'], *asked) for o in row['options']]
    told = test_harness.ask(theirs, 'loglikelihood', *pairs)
    p, *without = map(softmax, np.reshape([x for x, _ in told], (4, 3)))
    want = p / np.mean(without, 0)
    np.testing.assert_allclose(
      row['probabilities'], want / want.sum(), atol=1e-4
    )


def sums(words, *options):
  """Returns log p of options behind the words."""
  pairs = [(['^', *words], list(own)) for own in options]
  return np.array([logps.sum() for logps, _ in tasks.made_up(pairs)])


BEGUN = ['Do', ' it.']
FAR, NEAR = [' d:', ' x;'], [' f', ' g:', ' y', ' z;']
OPTIONS = [' x'], [' y', ' z']


def asked_of(room=99, **options):
  """Returns Ranking's answer to one query behind two demonstrations."""
  settings = {
    'template': '{text}: {answer}',
    'verbalisers': {'0': 'x', '1': 'y z'},
    'shots': 2,
  }
  judge = few_shot.Evaluator(**settings | options)
  bench = types.SimpleNamespace(
    config=types.SimpleNamespace(max_length=room, batch_size=8),
    continuations=lambda size: tasks.made_up,
  )
  rank = ranking.Ranking(judge, bench, test_prompting.prompter())
  example = judge._example({'text': 'q', 'label': 1})
  return rank([example], [['d: x', 'f g: y z']])


def test_scores_by_hand():
  words = [*BEGUN, *FAR, *NEAR, ' q:']
  own = sums(words, *OPTIONS)
  before = sums(['A:'], *OPTIONS)
  whole = sums(words[:-1], [' x', ' q'], [' y', ' z', ' q'])
  free = [sums([*words[:-1], f' {x}:'], *OPTIONS) for x in ranking.CONTENT_FREE]
  premise = {'score': 'unconditional', 'premise': 'A:'}
  for options, want, bases in (
    ({}, own, None),
    ({'score': 'token'}, own / [1, 2], None),
    ({'score': 'byte'}, own / [1, 3], None),
    (premise, own - before, None),
    (
      {'score': 'whole', 'template': '{answer} {text}'},
      whole / [2, 3],
      None,
    ),
    ({'calibrated': True}, own, free),
    ({'calibrated': True} | premise, own - before, free - before),
  ):
    figures, (row,), dropped = asked_of(**options)
    p = softmax(want)
    if bases is not None:
      p /= np.mean([*map(softmax, bases)], axis=0)
    np.testing.assert_allclose(row['probabilities'], p / p.sum(), atol=1e-9)
    assert row['found'] == p.argmax() and dropped == [0]
    assert figures['accuracy'] == (p.argmax() == 1) and 'f1_macro' in figures


def test_calibration_is_behind_what_is_shown():
  # 8 ids come before an option, of which one is read.
  _, (row,), dropped = asked_of(room=9, calibrated=True)
  assert dropped == [1] and row['prompt'] == 'Do it. f g: y z; q: '
  near = [*BEGUN, *NEAR]
  free = [sums([*near, f' {x}:'], *OPTIONS) for x in ranking.CONTENT_FREE]
  p = softmax(sums([*near, ' q:'], *OPTIONS))
  p /= np.mean([*map(softmax, free)], axis=0)
  np.testing.assert_allclose(row['probabilities'], p / p.sum(), atol=1e-9)


def test_texts_are_predicted():
  figures, (row,), _ = asked_of(verbalisers={}, target='text')
  logp = sums([*BEGUN, *FAR, *NEAR, ' q:'], [' q'])
  assert row['logps'] == logp.tolist() and row['likeliest']
  assert figures['perplexity'] == np.exp(-logp[0])
  assert figures['accuracy'] == 1 and row['prompt'].endswith('z; q: ')
