"""Where points come from: hashes of recipes, seeds and commits."""

import shutil
import subprocess

import pytest

import ctxlm
from ctxlm.errors import UserError
from ctxlm.experiments import low_resource
from ctxlm.lab import points, provenance, results, verdicts
from ctxlm.parallel import locks
from tests import toy


def plan_of(module, seeds, scale='small'):
  return {
    'experiment': 'tests/toy.py',
    'scale': scale,
    'settings': {},
    'points': {
      name: provenance.planned(overrides, config)
      for name, overrides, config in points.points(module, scale, seeds, {})
    },
  }


def test_seeds_of_a_point_share_their_hash():
  listed = points.points(low_resource, 'small', range(3), {})
  hashes = {}
  for _, overrides, config in listed:
    own = provenance.planned(overrides, config)
    # The draw of the data follows the seed, and is put back with it.
    assert config.seed == overrides['seed'] == config.tasks.sentiment.data.draw
    bare = str({k: v for k, v in overrides.items() if k != 'seed'})
    hashes.setdefault(bare, set()).add(own['recipe'])
  assert all(len(own) == 1 for own in hashes.values())
  assert len(set.union(*hashes.values())) == len(hashes)


def test_points_of_an_edited_recipe_are_not_merged(tmp_path, monkeypatch):
  points.write(tmp_path, plan_of(toy, range(2)))
  plan = points.write(tmp_path, plan_of(toy, range(2, 3)))  # more seeds
  assert len(plan['points']) == 6 and len(plan['commits']) == 1
  for name in plan['points']:
    step = tmp_path / name / 'checkpoints' / '5'
    step.mkdir(parents=True)
    (step / '_CHECKPOINT_METADATA').touch()
  old = toy.get_config

  def edited(scale):
    config = old(scale)
    config.batch_size = 16
    return config

  monkeypatch.setattr(toy, 'get_config', edited)
  for seeds in (range(2), range(7, 8)):  # the same, and others beside them
    with pytest.raises(UserError, match='of another recipe'):
      points.write(tmp_path, plan_of(toy, seeds))
  assert points.read(tmp_path) == plan
  for name in plan['points']:
    # One that was killed early leaves a folder, with nothing to be merged.
    shutil.rmtree(tmp_path / name / 'checkpoints')
    (tmp_path / name / locks.NAME).touch()
  again = points.write(tmp_path, plan_of(toy, range(2)))
  assert len(again['points']) == 4
  assert not {p['recipe'] for p in again['points'].values()} & {
    p['recipe'] for p in plan['points'].values()
  }


def test_another_arm_renames_points_and_doubles_none(tmp_path, monkeypatch):
  # An arm more makes another key tell points apart, so names are others.
  def arms(*more):
    own = [
      {'optimizer.learning_rate': rate, 'optimizer.b1': 0.9}
      for rate in (0.1, 0.3)
    ]
    monkeypatch.setattr(toy, 'sweep', lambda scale: [*own, *more])
    return plan_of(toy, range(2))

  plan = points.write(tmp_path, arms())
  assert sorted(plan['points'])[0] == 'learning_rate=0.1,seed=0'
  for name in plan['points']:
    step = tmp_path / name / 'checkpoints' / '60'
    step.mkdir(parents=True)
    (step / '_CHECKPOINT_METADATA').write_text(name)
  another = {'optimizer.learning_rate': 0.1, 'optimizer.b1': 0.5}
  edited = arms(another)
  for point in edited['points'].values():
    point['recipe'] = 'edited'
  with pytest.raises(UserError, match='of another recipe'):
    points.write(tmp_path, edited)  # and nothing is moved
  assert all((tmp_path / name).is_dir() for name in plan['points'])
  (tmp_path / 'learning_rate=0.1,b1=0.9,seed=0').mkdir()  # nothing trained
  plan = points.write(tmp_path, arms(another))
  assert len(plan['points']) == 6
  found = results.read(tmp_path, plan)
  assert sum(p.done for p in found.points) == 4
  for rate in (0.1, 0.3):
    runs = found.where(learning_rate=rate, b1=0.9)
    assert [p.overrides['seed'] for p in runs.points] == [0, 1]
    for p in runs.points:
      path = tmp_path / p.name / 'checkpoints/60/_CHECKPOINT_METADATA'
      assert (
        path.read_text() == f'learning_rate={rate},seed={p.overrides["seed"]}'
      )
      assert p.name.startswith(f'learning_rate={rate},b1=0.9')
  # Trained in both folders, it is for a person to say which one counts.
  older = arms()
  for name in older['points']:
    step = tmp_path / name / 'checkpoints' / '60'
    step.mkdir(parents=True)
    (step / '_CHECKPOINT_METADATA').touch()
  with pytest.raises(UserError, match='holds one point twice'):
    points.write(tmp_path, older)


def test_an_ambiguous_word_is_refused():
  overrides = {'model.name': 'a', 'tasks.x.data.name': 'b', 'seed': 0}
  found = results.Results([results.Point('p', overrides, 1, [], True)])
  with pytest.raises(ValueError, match="more than one override ends in 'name'"):
    found.where(name='b')


def test_flags_list_the_seeds_that_there_are():
  plan = plan_of(toy, range(11, 12))
  assert provenance.seed_flags(plan) == [['--first_seed=11', '--seeds=1']]
  plan['points'] |= plan_of(toy, range(2))['points']
  assert provenance.seed_flags(plan) == [
    ['--first_seed=0', '--seeds=2'],
    ['--first_seed=11', '--seeds=1'],
  ]
  assert provenance.listed([11, 0, 1]) == '0 to 1, 11'


def test_words_say_which_seeds_count_and_hash_every_recipe():
  plan = plan_of(toy, range(3)) | {'commits': ['a', 'b']}
  made = [
    results.Point(name, p['overrides'], p['num_steps'], [], i < 4)
    for i, (name, p) in enumerate(plan['points'].items())
  ]
  recipe = provenance.recipe_hash(plan)
  seeds = verdicts.Seeds(tuned=(0, 9))
  assert provenance.words(plan, results.Results(made), seeds) == (
    '4 of 6 runs are done, at scale small, of seeds 0 to 2. Verdicts are of '
    'seeds 1 to 2, and take at least 5 seeds; tuned on were 0, 9. Recipe '
    f'{recipe}; swept at commit a and b.'
  )
  assert len(recipe) == provenance.DIGITS
  *_, last = plan['points'].values()
  last['recipe'] = 'another'
  assert provenance.recipe_hash(plan) != recipe
  # That of one recipe is its own.
  assert provenance.recipe_hash({'points': {'x': last}}) == 'another'


def test_the_commit_is_that_of_the_packages_own_checkout(tmp_path, monkeypatch):
  def git(*words):
    argv = ['git', '-C', tmp_path, '-c', 'user.name=a', '-c', 'user.email=b']
    return subprocess.check_output([*argv, *words], text=True).strip()

  def commit(home):
    monkeypatch.setattr(provenance.recipes, 'HOME', home)
    return provenance.commit.__wrapped__()

  version = f'ctxlm {ctxlm.__version__}'
  home = tmp_path / 'ctxlm'
  (home / 'inner').mkdir(parents=True)
  (home / 'code.py').write_text('1')
  assert commit(home) == version  # there is no checkout
  git('init', '-q')
  git('add', '.')
  git('commit', '-qm', 'one')
  at = git('rev-parse', 'HEAD')[: provenance.DIGITS]
  (tmp_path / 'notes').write_text('of no file that is tracked')
  assert commit(home) == at
  (home / 'code.py').write_text('2')
  assert commit(home) == f'{at} with changes'
  assert commit(home / 'inner') == version  # of another's checkout
  monkeypatch.setenv('PATH', '')  # no git
  assert commit(home) == version
