"""The benchmark of decoding runs, and compares equal texts."""

import json

import numpy as np
import pytest

from ctxlm.experiments.benchmarks import decode


@pytest.mark.slow
def test_smoke(tmp_path, capsys):
  found = decode.main(['--smoke', '--out', str(tmp_path)])
  printed = capsys.readouterr().out
  assert json.loads((tmp_path / 'results.json').read_text())
  kinds = [(r['strategy'], r['batch_size']) for r in found['rows']]
  assert kinds == [(s, b) for b in (1, 8) for s in decode.STRATEGIES]
  for row in found['rows']:
    speed = row['tokens_per_second']
    theirs = max(v for k, v in speed.items() if k != 'ctxlm')
    assert row['ratio'] == pytest.approx(speed['ctxlm'] / theirs)
    assert f'{row["ratio"]:.2f}; the aim is {row["aim"]:g}' in printed
  assert (tmp_path / 'decode.png').stat().st_size > 10_000


def test_other_texts_are_not_compared(monkeypatch):
  shape = decode.Shape(32, 1, 2, vocab_size=61, prompt=5, new=8)
  model, writer = decode.build(shape)
  make = decode.make_theirs

  def wrong(*args):
    run = make(*args)
    return lambda prompts: (np.array(run(prompts)) + 1).tolist()

  monkeypatch.setattr(decode, 'make_theirs', wrong)
  with pytest.raises(AssertionError, match='writes other ids'):
    decode.contend(shape, model, writer, 'greedy', 1, 1, ('dynamic',))


def test_what_a_token_reads():
  shape = decode.Shape(32, 1, 2, vocab_size=61, prompt=4, new=8)
  _, writer = decode.build(shape)
  m, v = 32, 61
  block = 4 * (m * m + m) + 4 * m + (m * 4 * m + 4 * m) + (4 * m * m + m)
  weights = v * m + block + 2 * m  # tokens, block, final norm; no positions
  kept = 2 * m * (4 + 4)  # keys and values of 8 places, on average
  assert shape.read(writer.params) == 4 * (weights + kept)
