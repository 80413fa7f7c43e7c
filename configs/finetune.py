"""Trains on from a converted checkpoint, of any family, on your own text.

The argument is the run folder that `ctxlm convert` wrote; its model, tokenizer
and kind of task are taken over. Files of pairs, which seq2seq needs, have the
fields text_a and text_b:

ctxlm convert --from bert-base-uncased --to runs/bert
ctxlm train --config configs/finetune.py:runs/bert --workdir runs/mine \
  --config.tasks.text.data.pattern='text/*.txt' --config.max_length=128
"""

from pathlib import Path

from ctxlm import config as config_lib


def get_config(folder='runs/converted'):
  """Returns the recipe."""
  text = Path(folder, 'config.json').read_text(encoding='utf-8')
  c = config_lib.from_json(text).copy_and_resolve_references()
  c.unlock()
  c.init_from = str(folder)
  c.tokenizer.path = str(Path(folder, 'tokenizer'))
  c.tasks.text.data = {'name': 'files', 'pattern': 'data/*'}
  c.num_steps = 1000
  c.max_length = min(c.max_length, 512)
  c.optimizer.learning_rate = 5e-5
  c.optimizer.schedule = 'linear'
  c.optimizer.warmup_steps = 100
  c.checkpoint.every_steps = 200
  for block in c.evaluators.values():
    block.every_steps = 200
  return c
