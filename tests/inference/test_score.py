"""`ctxlm score`: the chain rule, token by token."""

import json
import sys
import types

import jax
import numpy as np
import pytest
import torch
import transformers as tr

from ctxlm.errors import UserError
from ctxlm.inference import loading, score
from ctxlm.models import encoder_decoder
from tests import tiny
from tests.data.tokenizers import test_settings


def test_each_token_is_conditioned_on_those_before(loaded):
  run = loaded['causal']
  text = 'the cat sees the moon'
  tokens, logps = score.score(run, text)
  ids = run.tokenizer.encode(text)
  assert run.tokenizer.pieces(ids) == tokens and len(tokens) == len(logps)
  row = [run.tokenizer.bos_id, *ids]

  @jax.jit
  def forward(params, x, last):
    return run.model.apply(
      {'params': params}, method=lambda m: m.logits(m(x))[0, last]
    )

  for t, got in enumerate(logps):
    # The prefix alone, so nothing of what follows can have been seen.
    before = np.array([row[: t + 1] + [0] * (len(ids) - t)])
    out = np.asarray(forward(run.params, before, t), np.float64)
    want = out[row[t + 1]] - np.log(np.exp(out).sum())
    assert got == pytest.approx(want, abs=1e-4)


def test_command_prints_the_sum(loaded, tmp_path):
  run = loaded['causal']
  workdir = run.folder
  argv = [sys.executable, '-m', 'ctxlm', 'score', f'--model={workdir}']
  errors = tmp_path / 'errors'
  process = tiny.fork(
    [*argv, '--text=the cat sees the moon'], 1, errors, haste=True
  )
  process.join(300)
  assert process.exitcode == 0, errors.read_text()
  lines = (tmp_path / 'errors.out').read_text().splitlines()
  _, logps = score.score(run, 'the cat sees the moon')
  printed = [float(line.split()[-1]) for line in lines[: len(logps)]]
  np.testing.assert_allclose(printed, logps, atol=1e-3)
  assert lines[len(logps)].split() == ['sum', f'{sum(logps):.4f}']
  perplexity = np.exp(-np.mean(logps))
  assert lines[-1] == f'perplexity {perplexity:.2f} a token'


def test_begins_as_the_reference_does(tmp_path):
  """By the folder's own first token, whatever else is called <s>."""
  shape = {'hidden_size': 8, 'intermediate_size': 8, 'num_hidden_layers': 1}
  config = tr.LlamaConfig(
    vocab_size=12, num_attention_heads=2, bos_token_id=3, eos_token_id=4,
    initializer_range=1.0, **shape,
  )  # fmt: skip
  torch.manual_seed(0)
  model = tr.LlamaForCausalLM(config).eval()
  model.save_pretrained(tmp_path)
  test_settings.fast()(tmp_path)
  settings = {
    'tokenizer_class': 'PreTrainedTokenizerFast',
    'bos_token': '<|begin|>',
    'eos_token': '<|stop|>',
  }
  (tmp_path / 'tokenizer_config.json').write_text(json.dumps(settings))
  theirs = tr.AutoTokenizer.from_pretrained(tmp_path)
  ids = theirs('a b b a <|stop|>', add_special_tokens=False).input_ids
  row = torch.tensor([[theirs.bos_token_id, *ids]])
  with torch.no_grad():
    logp = model(row).logits[0, :-1].log_softmax(-1)
  tokens, found = score.score(loading.load(tmp_path), 'a b b a <|stop|>')
  assert tokens == ['a', 'b', 'b', 'a', '<|stop|>']
  np.testing.assert_allclose(found, logp[range(len(ids)), ids], atol=1e-4)


def test_mistakes_are_one_line(loaded):
  with pytest.raises(UserError, match='needs a causal model'):
    score.score(loaded['mlm'], 'the cat')
  both = types.SimpleNamespace(
    model=encoder_decoder.Model(vocab_size=300, hidden_size=8, num_heads=2)
  )
  with pytest.raises(UserError, match='needs a decoder alone'):
    score.score(both, 'the cat')
  with pytest.raises(UserError, match='the text is empty'):
    score.score(loaded['causal'], '')
  with pytest.raises(UserError, match='the model takes 24'):
    score.score(loaded['causal'], 'cat ' * 100)
