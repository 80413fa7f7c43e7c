import pytest

from ctxlm import recipes
from ctxlm.experiments.benchmarks import loader


@pytest.mark.slow
def test_a_recipe_is_timed(capsys):
  """The one whose examples have two views."""
  name = 'quickstart_contrastive'
  assert name in loader.RECIPES and all(map(recipes.find, loader.RECIPES))
  rows = loader.main(['--smoke', '--workers', '0', '--recipes', name])
  assert [r['recipe'] for r in rows] == [name] * 2
  assert all(r['tokens/s'] > r['examples/s'] > 0 for r in rows)
  assert rows[0]['x step'] == 1
  assert len(capsys.readouterr().out.splitlines()) == 1 + len(rows)
