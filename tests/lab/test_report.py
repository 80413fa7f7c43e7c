"""What reports print and draw."""

import json

import pytest

from ctxlm.errors import UserError
from ctxlm.lab import experiment, report, results, verdicts
from ctxlm.training import run_folder


def write_run(folder, rows, objective='causal'):
  folder.mkdir()
  config = {'layout': run_folder.LAYOUT}
  config['tasks'] = {'text': {'objective': {'name': objective}}}
  (folder / 'config.json').write_text(json.dumps(config))
  lines = map(json.dumps, rows)
  (folder / 'metrics.jsonl').write_text('\n'.join(lines) + '\n')
  return folder


@pytest.fixture
def runs(tmp_path):
  return [
    write_run(
      tmp_path / name,
      [
        {'step': 5, 'train/loss': 3.0, f'only/{name}': 1},
        {'step': 10, 'train/loss': 2 + rate, 'eval/x/accuracy': rate},
        {'step': 10 + last, 'train/loss': 1 + rate},
      ],
    )
    for name, rate, last in (('_a', 0.25, 5), ('b$c$字', 0.5, 20))
  ]


@pytest.mark.filterwarnings('error')
def test_compare_says_what_each_number_is(runs, tmp_path, capsys):
  out = tmp_path / 'out'
  drawn = report.compare(runs, out)
  head, *lines = capsys.readouterr().out.splitlines()
  assert head.split() == ['last', 'value', 'unit', '_a', 'b$c$字', 'picture']
  assert [line.split() for line in lines] == [
    ['eval/x/accuracy', 'share', '0.25', 'at', 'step', '10']
    + ['0.5', 'at', 'step', '10', f'{out}/eval-x-accuracy.png'],
    ['train/loss', 'nats', '1.25', 'at', 'step', '15']
    + ['1.5', 'at', 'step', '30', f'{out}/train-loss.png'],
  ]
  # Columns begin where their heads do.
  assert {line.index('0.25') for line in lines[:1]} == {head.index('_a')}
  assert lines[1].index('1.5 at') == head.index('b$c$字')
  for picture in drawn.values():
    assert picture.with_suffix('.pdf').read_bytes()[:5] == b'%PDF-'


def test_a_loss_is_in_nats_where_it_is_known_to_be(runs, tmp_path, capsys):
  runs.append(
    write_run(tmp_path / 'own', [{'step': 1, 'train/loss': 1}], 'a.b')
  )
  report.compare(runs, tmp_path / 'out')
  line = capsys.readouterr().out.splitlines()[-1]
  assert line.split()[:2] == ['train/loss', '-']


def test_runs_with_nothing_in_common(tmp_path):
  runs = [
    write_run(tmp_path / name, [{'step': 1, name: 1}]) for name in ('a', 'b')
  ]
  with pytest.raises(UserError, match='no metric in common'):
    report.compare(runs, tmp_path / 'out')
  with pytest.raises(UserError, match='none is no run folder'):
    report.compare([tmp_path / 'none'], tmp_path / 'out')


def judged(seeds, tuned=(), least=3):
  """Returns the row of a claim on a - b, each of its own seeds."""
  points = [
    results.Point(
      f'arm={arm},seed={seed}',
      {'arm': arm, 'seed': seed},
      9,
      [{'step': 9, 'x': level + 10.0 * seed}],
      True,
    )
    for arm, level, own in zip('ab', (3, 1), seeds)
    for seed in own
  ]

  def check(found):
    a, b = (found.where(arm=arm).final('x') for arm in 'ab')
    return verdicts.Finding([verdicts.Mean('a - b', a - b, low=1)])

  claim = experiment.Claim('c', 's', 'p', 'k', check)
  seeds = verdicts.Seeds(tuned, least)
  (row,) = report.judge([claim], results.Results(points), seeds)
  return row


def test_verdicts_are_of_the_seeds_that_arms_share_and_that_none_was_tuned_on():
  # Paired, the difference is 2 in all; the arms by themselves range over 50.
  row = judged((range(5), range(5)))
  assert row['verdict'] == 'reproduced' and row['seeds'] == [0, 1, 2, 3, 4]
  assert row['ours'][0]['interval'] == 0
  assert row['ours'][0]['said'] == 'interval at least 1: yes, of 5 seeds'
  row = judged((range(5), range(2, 9)))
  assert row['verdict'] == 'reproduced' and row['seeds'] == [2, 3, 4]
  row = judged((range(5), range(5)), tuned=(1, 2, 3))
  assert row['verdict'] == 'not judged: 2 of 3 seeds'
  assert row['seeds'] == [0, 4]
  for row in (judged(([0, 1], [0, 1]), (0, 1)), judged(([0], [1]))):
    assert row['verdict'] == report.NONE and not row['ours']
