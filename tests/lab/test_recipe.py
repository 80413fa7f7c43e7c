"""A recipe swept: its points, what came of them, and on from there."""

import json
import math
import re

import pytest

from ctxlm.errors import UserError
from ctxlm.lab import launchers, ranking, recipe, recipe_report, results
from ctxlm.lab import points as points_lib
from tests import tiny

TOY = str(tiny.ROOT / 'tests' / 'toy.py')
RATE = 'optimizer.learning_rate'


class Trainer:
  """A launcher whose runs are over at once; their loss is that of `loss`.

  Attributes:
    trained: names of the points, in order.
    most: how many it trains before it is interrupted.
  """

  def __init__(self, loss, most=1000):
    self.loss, self.most, self.trained = loss, most, []

  def has_room(self, running):
    return running < 1

  def start(self, job):
    if len(self.trained) == self.most:
      raise KeyboardInterrupt
    self.trained.append(job.name)
    said = dict(
      word.removeprefix('--config.').split('=', 1) for word in job.argv[4:]
    )
    value = self.loss(float(said[RATE]), int(said['seed']))
    if isinstance(value, str):
      job.log.write_text(f'ctxlm train: {value}\n')
      return
    last = job.folder / 'checkpoints' / str(job.num_steps)
    last.mkdir(parents=True)
    rows = [{'step': 30, 'train/loss': 1.0, 'eval/line/loss': value + 1}]
    rows += [
      {'step': job.num_steps, 'train/loss': 0.5, 'eval/line/loss': value}
    ]
    text = ''.join(json.dumps(row) + '\n' for row in rows)
    (job.folder / 'metrics.jsonl').write_text(text)
    (last / '_CHECKPOINT_METADATA').touch()

  def is_running(self, handle):
    return False

  def close(self, running):
    pass


@pytest.fixture(autouse=True)
def quick(monkeypatch):
  monkeypatch.setattr(launchers, 'POLL', 0)


def sweep(folder, over, trainer, settings=None, metric='', seeds=1, **options):
  over = over if isinstance(over, list) else [over]
  opened = recipe.open_recipe(TOY, over, settings or {}, metric)
  return recipe.sweep(
    opened, folder, over, range(seeds), lambda: trainer, **options
  )


def valley(rate, seed):
  return (math.log10(rate) + 2) ** 2 + 0.01 * seed


def test_a_grid_its_best_point_and_more_values(tmp_path, capsys):
  trainer = Trainer(valley)
  folder = tmp_path / 'dir'
  over = f'{RATE}=1e-3,1e-2'
  assert sweep(folder, over, trainer, {'num_steps': '40'}, seeds=2) == []
  names = [
    f'learning_rate={rate},seed={s}' for rate in (0.001, 0.01) for s in (0, 1)
  ]
  assert trainer.trained == names
  out, err = capsys.readouterr()
  assert 'the best is by eval/line/loss, the least; --metric names' in err
  lines = out.splitlines()
  assert lines[0].startswith('best of 2 points by eval/line/loss')
  assert re.fullmatch(r' +0.005 ± 0.064  learning_rate=0.01', lines[1])
  assert lines[-1] == (
    f'  ctxlm train --config={TOY} --workdir={folder}/best '
    '--config.num_steps=400 --config.checkpoint.best=eval/line/loss '
    '--config.checkpoint.best_mode=min --config.optimizer.learning_rate=0.01'
  )
  # Another value is trained beside those that are done, and they stay.
  over = f'{RATE}=1e-2,1e-1'
  sweep(folder, over, trainer, {'num_steps': '0x28'}, seeds=2)  # 40
  assert trainer.trained[4:] == [f'learning_rate=0.1,seed={s}' for s in (0, 1)]
  assert 'best of 3 points' in capsys.readouterr().out
  with pytest.raises(UserError, match='holds a sweep over optimizer.learning'):
    sweep(folder, 'batch_size=8,16', trainer, {'num_steps': '40'})
  with pytest.raises(UserError, match='holds a sweep with settings'):
    sweep(folder, over, trainer)


def test_points_of_an_edited_recipe_are_not_ranked(tmp_path):
  file, folder = tmp_path / 'mine.py', tmp_path / 'dir'
  file.write_text(
    'from pathlib import Path\n\nfrom tests import toy\n\n\n'
    'def get_config():\n  c = toy.get_config()\n'
    "  c.num_steps = int(Path(__file__).with_name('steps').read_text())\n"
    '  return c\n'
  )

  def train(over, steps):
    file.with_name('steps').write_text(str(steps))
    opened = recipe.open_recipe(str(file), [over], {})
    recipe.sweep(opened, folder, [over], range(1), lambda: trainer)

  trainer = Trainer(valley)
  train(f'{RATE}=1e-3', 40)
  train(f'{RATE}=1e-2', 40)
  with pytest.raises(UserError, match='points of another recipe'):
    train(f'{RATE}=1e-1', 500)
  assert trainer.trained == [f'learning_rate={x},seed=0' for x in (0.001, 0.01)]


def test_the_order_of_keys_makes_no_other_point(tmp_path, capsys):
  trainer = Trainer(valley)
  over = [f'{RATE}=1e-3,1e-2', 'batch_size=8']
  sweep(tmp_path / 'dir', over, trainer)
  sweep(tmp_path / 'dir', over[::-1], trainer)
  assert len(trainer.trained) == 2
  assert capsys.readouterr().out.count('best of 2 points') == 2


def test_values_that_make_one_name_are_two_points(tmp_path, capsys):
  key, values = 'optimizer.factors', ((('a/', 2.0),), (('a ', 2.0),))
  opened = recipe.open_recipe(TOY, [f'{key}={values[0]},{values[1]}'], {})
  for _ in range(2):  # the same again
    swept = recipe.Sweep(opened, tmp_path, range(1), [f'{key}=x'], [])
    jobs = swept.add([{key: value} for value in values])
    folders = {job.folder for job in jobs}
    assert len(folders) == len(swept.plan['points']) == 2
    for job, value in zip(jobs, values):
      told = swept.plan['points'][job.name]['overrides'][key]
      assert json.dumps(told) == json.dumps(value)


def test_a_point_that_fails_stops_no_other_and_is_tried_again(tmp_path, capsys):
  def loss(rate, seed):
    return 'loss inf' if rate > 0.05 and seed == healthy else valley(rate, seed)

  healthy, trainer = 1, Trainer(loss)
  over = f'{RATE}=1e-1,1e-2'
  failed = sweep(tmp_path / 'dir', over, trainer, seeds=2)
  assert failed == ['learning_rate=0.1,seed=1']
  assert 'best of 1 point by' in (out := capsys.readouterr().out)
  assert '; 1 failed:' in out
  plan = points_lib.read(tmp_path / 'dir')
  assert plan['failed'] == {failed[0]: 'ctxlm train: loss inf'}
  lines = recipe_report.write_report(plan, tmp_path / 'dir')
  assert lines[0] == out.splitlines()[0]
  text = (tmp_path / 'dir' / 'report.md').read_text()
  assert '| 0.1 | 1 | 1 of 2 done, 1 of 2 failed |' in text
  healthy = 2
  assert sweep(tmp_path / 'dir', over, trainer, seeds=2) == []
  assert trainer.trained[4:] == ['learning_rate=0.1,seed=1']
  assert points_lib.read(tmp_path / 'dir')['failed'] == {}


def test_a_search_that_goes_on_tries_what_it_would_have(tmp_path, capsys):
  over = [f'{RATE}=log:1e-4:1.0', "optimizer.factors=(),(('weight', 2.0),)"]
  options = dict(count=8, bayes=True)
  whole = Trainer(valley)
  sweep(tmp_path / 'whole', over, whole, seeds=2, **options)
  assert len(set(whole.trained)) == 16
  part = Trainer(valley, most=9)  # within the fifth point
  with pytest.raises(KeyboardInterrupt):
    sweep(tmp_path / 'part', over, part, seeds=2, **options)
  part.most = 1000
  sweep(tmp_path / 'part', over, part, seeds=2, **options)
  assert part.trained == whole.trained
  # More points are those that follow; as many again are none.
  sweep(tmp_path / 'part', over, part, seeds=2, count=9, bayes=True)
  assert part.trained[:16] == whole.trained and len(part.trained) == 18
  sweep(tmp_path / 'part', over, part, seeds=2, count=9, bayes=True)
  assert len(part.trained) == 18
  capsys.readouterr()


def test_what_failed_is_avoided(tmp_path, capsys):
  def loss(rate, seed):
    return 'loss inf' if rate > 0.01 else abs(math.log10(rate) + 3)

  trainer = Trainer(loss)
  over = f'{RATE}=log:1e-4:1.0'
  failed = sweep(tmp_path / 'dir', over, trainer, count=24, bayes=True)
  assert len(trainer.trained) == 24
  late = [name for name in failed if name in trainer.trained[12:]]
  assert len(late) < 4  # of 12, where half the range fails
  capsys.readouterr()


def test_a_metric_that_no_evaluator_gives_ends_the_sweep(tmp_path):
  said = (
    "config.checkpoint.best='eval/line/los' is a metric of no evaluator. Did "
    "you mean 'eval/line/loss'?"
  )
  trainer = Trainer(lambda rate, seed: said)
  with pytest.raises(UserError) as e:
    sweep(tmp_path / 'dir', f'{RATE}=1,2', trainer, metric='line/los')
  assert str(e.value) == (
    '--metric eval/line/los: no evaluator gives it. Did you mean '
    "'eval/line/loss'?"
  )
  assert len(trainer.trained) == 1
  with pytest.raises(UserError, match="--asha lime/loss:max: .*'line'"):
    recipe.open_recipe(TOY, [f'{RATE}=1'], {}, 'lime/loss:max', '--asha')


@pytest.mark.parametrize(
  'over, settings, wanted',
  [
    (['optimizer.lr=1'], {}, "--over optimizer.lr: no key 'lr' in config.opt"),
    (['optimizer.lr=1'], {}, "Did you mean 'learning_rate'?"),
    (['optimiser.b1=0.1'], {}, "Did you mean 'optimizer'?"),
    ([f'{RATE}=fast'], {}, f'--over {RATE}=fast: it must be a number'),
    ([f'{RATE}=1,-1'], {}, f'--over {RATE}=-1.0: config.{RATE}=-1.0 must be'),
    ([f'{RATE}=uniform:-1:1'], {}, f'--over {RATE}=-1.0: config.'),
    ([f'{RATE}=1,1.0'], {}, f'--over {RATE}: the value 1.0 is there twice'),
    (['model.name=toi'], {}, '--over model.name'),
    ([f'{RATE}=1'], {RATE: '2'}, f'--over {RATE} and --config.{RATE}: '),
    ([f'{RATE}=1'], {'num_stepz': '2'}, "--config.num_stepz: no key 'num_st"),
    ([f'{RATE}=1'], {'batch_size': '0'}, 'config.batch_size=0 must be'),
    ([f'{RATE}=1'], {'seed': '2'}, 'use --seeds'),
  ],
)
def test_mistakes_are_said_to_be_the_users(over, settings, wanted):
  with pytest.raises(UserError) as e:
    recipe.open_recipe(TOY, over, settings)
  assert wanted in str(e.value) and '\n' not in str(e.value)


def test_values_have_the_type_of_the_key():
  opened = recipe.open_recipe(
    TOY + ':smoke', [f'{RATE}=uniform:1:2', 'batch_size=log:1:64'], {}
  )
  assert opened.config({}).num_steps == 6  # of the argument
  assert isinstance(opened.space[RATE].low, float)
  assert opened.space['batch_size'].whole


def test_pictures_have_an_axis_for_each_number(tmp_path, capsys):
  over = f'{RATE}=1e-3,1e-2,1e-1'
  sweep(tmp_path / 'dir', over, Trainer(valley), seeds=3)
  plan = points_lib.read(tmp_path / 'dir')
  recipe_report.write_report(plan, tmp_path / 'dir')
  metric = ranking.Metric(plan['metric'])
  standings = ranking.rank(results.read(tmp_path / 'dir', plan), metric)
  sweep(tmp_path / 'dir', f'{RATE}=1.0', Trainer(valley))  # of one seed
  plan = points_lib.read(tmp_path / 'dir')
  standings = ranking.rank(results.read(tmp_path / 'dir', plan), metric)
  rate, loss, train = recipe_report.pictures(standings, metric, plan['over'])
  line, best = rate.series
  assert rate.log == 'x' and list(line.x) == [1e-3, 1e-2, 1e-1, 1.0]
  assert line.ys.shape == (3, 4) and line.ys[1, 0] == valley(1e-3, 1)
  assert math.isnan(line.ys[1, 3])
  assert best.x == [0.01] and best.kind == 'star'
  assert [s.label for s in loss.series] == [s.name for s in standings]
  assert (tmp_path / 'dir' / f'{rate.name}.png').stat().st_size > 5_000
  assert train.y == 'train/loss'
  capsys.readouterr()
