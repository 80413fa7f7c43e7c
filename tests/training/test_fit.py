"""What fits together: models, objectives and adapters."""

import ml_collections
import pytest

from ctxlm.errors import UserError
from ctxlm.models import adapters
from ctxlm.objectives import causal, retrieved
from ctxlm.objectives import task as task_lib
from ctxlm.training import fit


@pytest.mark.parametrize(
  'objective',
  [
    lambda t: causal.Objective(tokenizer=t, max_length=32),
    lambda t: causal.Objective(kind='completion', tokenizer=t, max_length=32),
    lambda t: retrieved.Objective(tokenizer=t, max_length=32),
  ],
)
@pytest.mark.parametrize('name', ['prompt', 'prefix'])
def test_a_prompt_stands_before_one_text(objective, name, tokenizer):
  block = {
    'name': 'transformer',
    'vocab_size': 50,
    'hidden_size': 16,
    'num_layers': 1,
    'num_heads': 2,
    'max_length': 256,
  }
  model = adapters.build(block, {'name': name, 'length': 3})
  config = ml_collections.ConfigDict(
    {'model': block, 'batch_size': 4, 'max_length': 32, 'context': {}}
    | {'evaluators': {}, 'gate': False, 'tasks': {}}
  )
  task = task_lib.Task('lm', objective(tokenizer), 1.0, None)
  if name == 'prefix':
    fit.check_parts(config, model, [task])
    return
  with pytest.raises(UserError, match="packed of several texts.*'prefix'"):
    fit.check_parts(config, model, [task])
