"""The benchmark of training steps runs, and compares like with like."""

import dataclasses
import json

import pytest

from ctxlm.experiments.benchmarks import train_step


@pytest.mark.slow
def test_smoke_writes_table_and_plot(tmp_path, capsys):
  train_step.main(['--smoke', '--dropout', '0', '--out', str(tmp_path)])
  printed = capsys.readouterr().out
  results = json.loads((tmp_path / 'results.json').read_text())
  assert [row['case'] for row in results['rows']] == list(train_step.CASES)
  for row in results['rows']:
    ms = row['milliseconds']
    assert set(ms) == {'ctxlm pmap', 'ctxlm mesh', 'torch eager'}
    ratio = ms['torch eager'] / ms['ctxlm mesh']
    assert row['ratios']['torch eager / ctxlm mesh'] == pytest.approx(ratio)
    assert f'{ratio:.2f}' in printed
  assert (tmp_path / 'train_step.png').stat().st_size > 10_000


@pytest.mark.slow
def test_different_losses_are_not_compared():
  case = dataclasses.replace(train_step.SMOKE['contrastive'], temperature=0.1)
  with pytest.raises(AssertionError, match='ctxlm pmap'):
    train_step.make_contenders(case, 0.0, False)
