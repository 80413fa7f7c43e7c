"""The loop: tasks together, where it begins, and when it stops."""

import sys

import numpy as np
import pytest

from ctxlm.errors import UserError
from ctxlm.evaluators import bench as bench_lib
from ctxlm.training import checkpoint, run_folder
from ctxlm.training import loop as train
from tests import tiny


def run(folder, name='causal', steps=4, **options):
  c = tiny.get_config(name)
  c.num_steps = steps
  c.optimizer.warmup_steps = 1
  with c.unlocked():
    c.update(options)
  return train.train(c, folder)


def losses(folder, name='loss'):
  rows = tiny.metrics(folder)
  return np.array([r[f'train/{name}'] for r in rows if f'train/{name}' in r])


@pytest.mark.slow
def test_mlm_and_contrastive_are_learned_together(text, tmp_path):
  run(
    tmp_path / 'run',
    'both',
    150,
    evaluators={
      'words': {'name': 'losses', 'task': 'mlm'},
      'pairs': {'name': 'losses', 'task': 'contrastive'},
    },
    checkpoint={'every_steps': 0},
  )
  mlm, pairs = (
    losses(tmp_path / 'run', f'{n}/loss') for n in ('mlm', 'contrastive')
  )
  total = losses(tmp_path / 'run')
  np.testing.assert_allclose(total, mlm + pairs, rtol=1e-5)
  last = tiny.metrics(tmp_path / 'run')[-1]
  # Chance: log of the vocabulary, and of the 8 sentences of a batch.
  assert mlm[0] > 5.5 and last['eval/words/loss'] < 4
  assert pairs[0] > 0.3 and pairs[-20:].mean() < 0.5 * pairs[:3].mean()
  assert last['eval/pairs/accuracy'] > 0.9


@pytest.mark.slow
def test_weights_of_tasks_scale_their_losses(text, tmp_path):
  c = tiny.get_config('both')
  c.num_steps = c.optimizer.warmup_steps = 2
  c.tasks.mlm.weight = 0.25
  train.train(c, tmp_path / 'run')
  mlm, pairs = (
    losses(tmp_path / 'run', f'{n}/loss') for n in ('mlm', 'contrastive')
  )
  np.testing.assert_allclose(
    losses(tmp_path / 'run'), 0.25 * mlm + pairs, rtol=1e-5
  )


def test_not_finite_names_the_step_and_keeps_the_checkpoint(text, tmp_path):
  folder = tmp_path / 'run'
  with pytest.raises(UserError) as e:
    run(
      folder,
      steps=40,
      optimizer={
        'name': 'sgd', 'learning_rate': 1e4, 'clip_norm': 0.0,
        'warmup_steps': 8, 'weight_decay': 0.0,
      },
      checkpoint={'every_steps': 1},
    )  # fmt: skip
  message = str(e.value)
  assert '\n' not in message and 'not finite' in message
  step = int(message.split(' at step ')[1].split()[0])
  kept = checkpoint.find(folder)[0]
  assert kept == step - 1 and f'checkpoint {kept} is kept' in message
  assert np.isfinite(losses(folder)).all()


def test_what_is_not_installed_is_said_before_data_is_read(
  tmp_path, monkeypatch
):
  c = tiny.get_config()
  c.tasks.causal.data.pattern = '/none'
  c.tracking.tensorboard = True
  monkeypatch.setitem(sys.modules, 'tensorboardX', None)
  with pytest.raises(UserError, match='pip install'):
    train.train(c, tmp_path / 'run')


def test_no_steps_judge_and_save_what_a_run_begins_from(text, tmp_path, capfd):
  folder, judge = tmp_path / 'run', {'words': {'name': 'perplexity'}}
  results = run(folder, steps=0, evaluators=judge)
  assert checkpoint.steps(folder) == [0]
  assert tiny.metrics(folder) == [{'step': 0} | results]
  # A fresh model knows no token from another.
  assert results['eval/words/loss'] == pytest.approx(np.log(300), rel=0.02)
  assert 'nothing was trained' in capfd.readouterr().err
  assert run(folder, steps=0, evaluators=judge) == {}
  assert 'already at step 0; nothing to do' in capfd.readouterr().err
  assert run_folder.load(folder).step == 0
  run(folder, steps=1)
  assert 'going on from step 0 of 1' in capfd.readouterr().err


@pytest.mark.slow
def test_init_from_names_the_fresh_heads(text, tmp_path, capfd):
  run(tmp_path / 'first', 'mlm')
  capfd.readouterr()
  run(
    tmp_path / 'second',
    'nsp',
    1,
    init_from=str(tmp_path / 'first'),
    optimizer={'learning_rate': 0.0},
  )
  said = capfd.readouterr().err
  assert f'parameters from {tmp_path}/first; initialised afresh: ' in said
  assert 'heads/pooler/dense/kernel' in said and 'token_embed' not in said
  a, b = (tiny.state(tmp_path / n, s) for n, s in (('first', 4), ('second', 1)))
  shared = [k for k in a if "'params'" in k or '.params' in k]
  assert len(shared) > 10
  for name in shared:
    np.testing.assert_array_equal(a[name], b[name], err_msg=name)


@pytest.mark.slow
def test_average_of_parameters(text, tmp_path):
  # Decay min(0.5, (1 + n) / (10 + n)) at step n, from the first parameters.
  average = {'ema_decay': 0.5, 'schedule': 'constant', 'warmup_steps': 0}
  still = average | {'learning_rate': 0.0}
  for name, steps, optimizer in (
    ('still', 1, still), ('one', 1, average), ('two', 2, average)
  ):  # fmt: skip
    run(tmp_path / name, steps=steps, optimizer=optimizer)

  def parts(folder, kind, step):
    leaves = tiny.state(tmp_path / folder, step).items()
    return {k: v for k, v in leaves if k.startswith(f"['{kind}']")}

  start = parts('still', 'params', 1).values()
  one = parts('one', 'params', 1).values()
  two = parts('two', 'params', 2).values()
  found = parts('two', 'ema', 2).values()
  assert len(found) > 10
  moved = 0.0
  for a, b, c, got in zip(start, one, two, found, strict=True):
    mean = 0.1 * a + 0.9 * b
    mean = 2 / 11 * mean + 9 / 11 * c
    np.testing.assert_allclose(got, mean, rtol=1e-4, atol=1e-6)
    moved = max(moved, abs(got - c).max())
  assert moved > 1e-4
  # Commands and evaluators take the average.
  assert checkpoint.find(tmp_path / 'two')[1] == 'ema'


def test_finished_run_has_nothing_to_do(text, tmp_path, capfd):
  run(tmp_path / 'run')
  before = tiny.metrics(tmp_path / 'run')
  capfd.readouterr()
  run(tmp_path / 'run')
  assert 'is already at step 4; nothing to do' in capfd.readouterr().err
  assert tiny.metrics(tmp_path / 'run') == before


@pytest.mark.parametrize('name', ['lr=[1e-3]', 'all*', 'why?'])
def test_patterns_are_no_names_of_folders(text, tmp_path, name):
  with pytest.raises(UserError, match='patterns of file names'):
    run(tmp_path / name)
  assert not list(tmp_path.iterdir())


def test_metrics_are_never_dropped_with_their_checkpoints(text, tmp_path):
  folder = tmp_path / 'run'
  run(folder)
  rows = (folder / 'metrics.jsonl').read_text()
  kept = (folder / 'checkpoints').rename(tmp_path / 'kept')
  with pytest.raises(UserError, match='its folder checkpoints is gone'):
    run(folder)
  (folder / 'checkpoints').mkdir()
  (folder / 'damaged').mkdir()
  (kept / '4').rename(folder / 'damaged' / '4')
  with pytest.raises(UserError, match='its checkpoints are in'):
    run(folder)
  assert (folder / 'metrics.jsonl').read_text() == rows
  (folder / 'damaged' / '4').rename(folder / 'checkpoints' / '4')
  run(folder)  # it is whole again
  assert (folder / 'metrics.jsonl').read_text() == rows


WRONG = {
  'a split': ({'name': 'perplexity', 'split': 'validatio'}, 'validatio'),
  'a task': ({'name': 'losses', 'task': 'causl'}, "names the task 'causl'"),
  'a kind of task': ({'name': 'alignment'}, 'is not contrastive'),
  'data': ({'name': 'sts'}, 'sts needs data'),
}


@pytest.mark.parametrize('name', WRONG)
def test_a_wrong_evaluator_is_found_before_a_step(text, tmp_path, name):
  block, wanted = WRONG[name]
  with pytest.raises(UserError, match=wanted):
    run(tmp_path / 'run', evaluators={'x': block})
  assert not (tmp_path / 'run').exists()


def test_a_wrong_evaluator_loses_no_step_that_was_taken(text, tmp_path):
  run(tmp_path / 'run', steps=2)
  before = tiny.metrics(tmp_path / 'run')
  with pytest.raises(UserError, match='validatio'):
    run(tmp_path / 'run', evaluators={'x': WRONG['a split'][0]})
  with pytest.raises(UserError, match="mean 'eval/x/loss'"):
    run(
      tmp_path / 'run',
      evaluators={'x': {'name': 'losses'}},
      checkpoint={'best': 'eval/x/los'},
    )
  assert tiny.metrics(tmp_path / 'run') == before
  run(tmp_path / 'run', evaluators={'x': {'name': 'losses'}})
  assert tiny.metrics(tmp_path / 'run')[-1]['step'] == 4


def test_an_evaluation_that_fails_loses_no_step(text, tmp_path, monkeypatch):
  def fails(bench, names, params):
    assert bench._rehearsing or not names, 'by the way'
    return {}

  monkeypatch.setattr(bench_lib.Bench, 'run', fails)
  with pytest.raises(AssertionError, match='by the way'):
    run(
      tmp_path / 'run',
      evaluators={'x': {'name': 'losses', 'every_steps': 3}},
      checkpoint={'every_steps': 0},
    )
  assert checkpoint.steps(tmp_path / 'run') == [3]


def test_a_first_config_can_be_corrected(text, tmp_path):
  folder, c = tmp_path / 'run', tiny.get_config()
  c.num_steps, c.seed, c.tokenizer.vocab_size = 4, 7, 290
  tokenizer = run_folder.get_tokenizer(c, folder)
  run_folder.write(c, tokenizer, folder)  # as far as a run that failed comes
  run(folder)
  assert run_folder.load_config(folder).seed == 0
  assert run_folder.load(folder).tokenizer.vocab_size == 300
  with pytest.raises(UserError, match='config.seed=0, not 7'):
    run(folder, seed=7)
