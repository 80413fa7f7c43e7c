"""`ctxlm score`: the chain rule, token by token."""

import sys
import types

import numpy as np
import pytest

from ctxlm.errors import UserError
from ctxlm.inference import score
from ctxlm.models import encoder_decoder
from tests import tiny


def test_each_token_is_conditioned_on_those_before(runs):
  run = runs['causal']
  text = 'the cat sees the moon'
  tokens, logps = score.score(run, text)
  ids = run.tokenizer.encode(text)
  assert run.tokenizer.tokens(ids) == tokens and len(tokens) == len(logps)
  row = [run.tokenizer.bos_id, *ids]
  for t, got in enumerate(logps):
    # The prefix alone, so nothing of what follows can have been seen.
    before = np.array([row[: t + 1]])
    out = run.call(lambda m, x=before: m.logits(m(x))[0, -1])
    out = np.asarray(out, np.float64)
    want = out[row[t + 1]] - np.log(np.exp(out).sum())
    assert got == pytest.approx(want, abs=1e-4)


def test_command_prints_the_sum(runs, tmp_path):
  run = runs['causal']
  workdir = run.workdir
  argv = [sys.executable, '-m', 'ctxlm', 'score', f'--workdir={workdir}']
  errors = tmp_path / 'errors'
  process = tiny.fork([*argv, '--text=the cat sees the moon'], 1, errors)
  process.join(60)
  assert process.exitcode == 0, errors.read_text()
  lines = (tmp_path / 'errors.out').read_text().splitlines()
  _, logps = score.score(run, 'the cat sees the moon')
  printed = [float(line.split()[-1]) for line in lines[: len(logps)]]
  np.testing.assert_allclose(printed, logps, atol=1e-3)
  assert lines[len(logps)].split() == ['sum', f'{sum(logps):.4f}']
  perplexity = np.exp(-np.mean(logps))
  assert lines[-1] == f'perplexity {perplexity:.2f} a token'


def test_mistakes_are_one_line(runs):
  with pytest.raises(UserError, match='needs a causal model'):
    score.score(runs['mlm'], 'the cat')
  both = types.SimpleNamespace(
    model=encoder_decoder.Model(vocab_size=300, hidden_size=8, num_heads=2)
  )
  with pytest.raises(UserError, match='needs a decoder alone'):
    score.score(both, 'the cat')
  with pytest.raises(UserError, match='--text is empty'):
    score.score(runs['causal'], '')
  with pytest.raises(UserError, match='the model takes 24'):
    score.score(runs['causal'], 'cat ' * 100)
