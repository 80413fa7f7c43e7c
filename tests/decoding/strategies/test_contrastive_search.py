"""Contrastive search against the paper's algorithm, written naively."""

import numpy as np
import pytest
import torch
from transformers import (
  NoRepeatNGramLogitsProcessor,
  RepetitionPenaltyLogitsProcessor,
)

from ctxlm.errors import UserError
from tests.decoding import checkpoints


def forward(model, source, ids):
  """Returns (logits of the next token [v], hidden states [l, m])."""
  given = {'input_ids': torch.tensor([ids])}
  if source is not None:
    given = {
      'input_ids': torch.tensor([source]),
      'decoder_input_ids': torch.tensor([ids]),
    }
  with torch.no_grad():
    out = model(**given, output_hidden_states=True)
  hidden = out.hidden_states if source is None else out.decoder_hidden_states
  return out.logits[0, -1], hidden[-1][0].numpy().astype(np.float64)


def naive(model, prompt, source, k, alpha, new):
  """Su et al. 2022, equation 5: no cache, no batch, one candidate a pass."""
  rules = RepetitionPenaltyLogitsProcessor(1.3), NoRepeatNGramLogitsProcessor(2)
  ids, out = list(prompt), []
  while len(out) < new and (not out or out[-1] != checkpoints.EOS):
    logits, _ = forward(model, source, ids)
    logits = logits[None]
    for rule in rules:
      logits = rule(torch.tensor([ids]), logits)
    p = torch.softmax(logits[0].double(), -1).numpy()
    best = None
    for v in np.argsort(-p)[:k].tolist():
      _, hidden = forward(model, source, [*ids, v])
      unit = hidden / np.linalg.norm(hidden, axis=1, keepdims=True)
      likeness = (unit[:-1] @ unit[-1]).max()
      score = (1 - alpha) * p[v] - alpha * likeness
      if best is None or score > best[0]:
        best = score, v
    ids.append(best[1])
    out.append(best[1])
  return out


@pytest.mark.slow
@pytest.mark.parametrize('kind', ['gpt2', 'llama', 'bart', 't5'])
def test_same_tokens_as_the_papers_algorithm(kind):
  k, alpha, new = 4, 0.6, 8
  rows = checkpoints.prompts(count=3)
  model, writer = checkpoints.pair(kind)
  begun = list(writer.decoder_start)
  given = [(begun, row) if begun else (row, None) for row in rows]
  want = [naive(model, *one, k, alpha, new) for one in given]
  processors = [
    {'name': 'repetition', 'penalty': 1.3},
    {'name': 'no_repeat_ngram', 'size': 2},
  ]
  found = checkpoints.ours(
    kind,
    rows,
    {'name': 'contrastive_search', 'top_k': k, 'alpha': alpha},
    processors,
    max_new_tokens=new,
  )
  assert found == want
  # Of one candidate it is the greedy text.
  assert found != [naive(model, *one, 1, alpha, new) for one in given]


def test_alpha_0_is_greedy():
  rows = checkpoints.prompts(count=3)
  found = checkpoints.ours(
    'gpt2',
    rows,
    {'name': 'contrastive_search', 'alpha': 0.0},
    max_new_tokens=8,
  )
  assert found == checkpoints.theirs(
    'gpt2', rows, max_new_tokens=8, do_sample=False
  )


def test_what_must_not_be_written_is_no_candidate():
  # As many candidates as there are tokens, and the unlike ones are the best.
  found = checkpoints.ours(
    'gpt2',
    checkpoints.prompts(count=3),
    {'name': 'contrastive_search', 'top_k': checkpoints.VOCAB, 'alpha': 0.9},
    [{'name': 'suppress', 'tokens': tuple(range(30, checkpoints.VOCAB))}],
    max_new_tokens=8,
  )
  assert max(map(max, found)) < 30
  with pytest.raises(UserError, match='top_k=62 is more than the 61 tokens'):
    checkpoints.ours('gpt2', [[3]], {'name': 'contrastive_search', 'top_k': 62})
