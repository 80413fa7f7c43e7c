import pytest

from ctxlm.experiments.benchmarks import loader


@pytest.mark.slow
def test_every_recipe_is_timed(capsys):
  rows = loader.main(['--smoke', '--workers', '0'])
  assert [r['recipe'] for r in rows[::2]] == list(loader.RECIPES)
  assert all(r['tokens/s'] > r['examples/s'] > 0 for r in rows)
  assert rows[0]['x step'] == 1
  assert len(capsys.readouterr().out.splitlines()) == 1 + len(rows)
