"""Any checkpoint is judged by a recipe's evaluators."""

import pytest

from ctxlm.errors import UserError
from ctxlm.inference import conversion, judging

RECIPE = 'tests/tiny.py:causal'
EVALUATOR = ('evaluators.lm.name', 'perplexity')


@pytest.fixture(scope='module')
def folders(loaded, tmp_path_factory):
  """The causal run, and what it is converted to."""
  folder = tmp_path_factory.mktemp('judged')
  conversion.convert(loaded['causal'].folder, to=folder / 'model')
  return loaded['causal'].folder, folder / 'model'


def test_a_model_folder_is_judged_as_its_run(folders):
  run, model = folders
  want = judging.judge(run, overrides=[EVALUATOR])
  assert want.step == 4 and 'eval/lm/loss' in want.metrics
  same = judging.judge(model, recipe=RECIPE, overrides=[EVALUATOR])
  assert same.step is None
  assert same.metrics == pytest.approx(want.metrics, rel=1e-6)


def test_all_of_a_file_is_judged(folders, tmp_path):
  # Of two documents, which a run would put into splits, none is left out.
  (tmp_path / 'a.txt').write_text('One of two.\n\nAnd the other, longer.\n')
  (tmp_path / 'b.txt').write_text('One of two.\n')
  (tmp_path / 'c.txt').write_text('And the other, longer.\n')
  a, b, c = [
    judging.judge(
      folders[0], overrides=[EVALUATOR], data=[f'{tmp_path}/{name}.txt']
    ).metrics['eval/lm/bits_per_byte']
    for name in 'abc'
  ]
  assert min(b, c) < a < max(b, c)  # of all bytes


def test_mistakes(folders, loaded):
  run, model = folders
  for folder, recipe, overrides, wanted in (
    (model, None, [EVALUATOR], 'is no run folder: name the recipe'),
    (model, RECIPE, [], 'no evaluator: add one'),
    (run, None, [('model.num_layers', '2')], 'has its own'),
    (run, None, [('num_steps', '2')], 'num_steps is of training'),
    (model, 'tests/tiny.py:mlm', [EVALUATOR], 'has no heads/mlm/'),
  ):
    with pytest.raises(UserError, match=wanted):
      judging.judge(folder, recipe=recipe, overrides=overrides)
