"""The benchmark of fine-tuning runs, and compares equal trainings."""

import json

import numpy as np
import pytest

from ctxlm.experiments.benchmarks import finetune
from tests.experiments import common

WORDS = ('good', 'bad', 'the', 'film', 'is', 'quite')


@pytest.fixture(scope='module')
def bert(tmp_path_factory):
  """A folder of a tiny BERT with random weights, and its tokenizer."""
  return common.write_bert(
    tmp_path_factory.mktemp('a') / 'b', [' '.join(WORDS)]
  )


@pytest.fixture(scope='module')
def reviews(tmp_path_factory):
  """A folder as configs/finetune/sst2.py reads it."""
  folder, rng = tmp_path_factory.mktemp('sst2'), np.random.default_rng(0)
  for name in ('train', 'dev'):
    rows = []
    for i in range(24):
      words = [WORDS[i % 2], *rng.choice(WORDS[2:], rng.integers(1, 6))]
      rows.append(f'{" ".join(rng.permutation(words))}\t{1 - i % 2}\n')
    (folder / f'{name}.tsv').write_text(''.join(rows))
  return folder


def run(bert, reviews, out, *flags):
  return finetune.main(
    [
      f'configs/finetune/sst2.py:{bert},{reviews}',
      *('--out', str(out)),
      *flags,
      *('--set', 'num_steps=11', 'optimizer.warmup_steps=2', 'batch_size=8'),
      'optimizer.learning_rate=3e-3',
    ]
  )


@pytest.mark.slow
def test_trainings_are_equal(bert, reviews, tmp_path, capsys):
  flags = ['--steps', '11', '--timed', '10', '--whole', 'ctxlm', 'torch']
  row = run(bert, reviews, tmp_path, *flags)
  assert json.loads((tmp_path / 'results.json').read_text()) == row
  exact, own = row['exact'], row['own']
  for part, count in ((exact, 11), (own, 10)):
    assert [len(c) for c in part['losses'].values()] == [count, count]
  ours, theirs = (np.array(x) for x in exact['losses'].values())
  assert np.ptp(theirs) > 0.01
  assert row['difference'] == abs(ours - theirs).max() <= 1e-4
  # Each draws its own dropout.
  assert finetune.largest_difference(own['losses']) > 1e-3
  printed = capsys.readouterr().out
  for part in (exact, own):
    ms = part['milliseconds']
    assert part['ratio'] == pytest.approx(ms['torch'] / ms['ctxlm'])
    assert f'ratio of times {part["ratio"]:.2f}' in printed
  for name, scores in row['scores'].items():
    assert scores['eval/dev/examples'] == 24
    value = scores['eval/dev/accuracy']
    assert f'{name}: eval/dev/accuracy {value:.4f}' in printed


def test_other_trainings_are_not_compared(bert, reviews, tmp_path, monkeypatch):
  curves = {'ctxlm': [0.7, 0.6], 'torch': [0.7, 0.6002]}
  made = curves, {'ctxlm': [1.0], 'torch': [2.0]}
  monkeypatch.setattr(finetune, 'begin', lambda config, folder: config)
  monkeypatch.setattr(finetune, 'compare', lambda *args, **more: made)
  with pytest.raises(AssertionError, match='other losses'):
    run(bert, reviews, tmp_path)
  assert json.loads((tmp_path / 'results.json').read_text())['difference']
