r"""The LSTM of Zaremba et al. 2014, in small, on Python's own documentation.

ctxlm train --config configs/lstm.py --workdir runs/lstm

Two layers with dropout between them (arXiv:1409.2329), on 20 streams of the
text of configs/quickstart_causal.py: a batch has the next 35 tokens of each,
and goes on from the state that the one before has left. So do evaluations, over
the whole split. The tokens that are predicted are those of the other quick
starts, which it may be compared with.

AWD-LSTM's form, and the GRU:

ctxlm train --config configs/lstm.py --workdir runs/awd \
  --config.model.tie_embeddings=True --config.model.variational=True \
  --config.model.word_dropout=0.1 --config.model.weight_dropout=0.5
ctxlm sweep configs/lstm.py --workdir runs/cells --over model.cell=lstm,gru
"""

from ctxlm.configs import common


def get_config():
  """Returns the recipe."""
  c = common.base()
  c.num_steps = 700
  c.batch_size = 20
  c.max_length = 35
  c.tokenizer.vocab_size = 4096
  c.model = {
    'name': 'lstm',
    'hidden_size': 256,
    'num_layers': 2,
    'cell': 'lstm',
    'tie_embeddings': False,
    'dropout': 0.1,
    'variational': False,
    'word_dropout': 0.0,
    'weight_dropout': 0.0,
  }
  objective = {'name': 'causal', 'kind': 'stream'}
  c.tasks.text = common.task({'name': 'corpus'}, objective)
  c.optimizer.learning_rate = 5e-3
  c.optimizer.warmup_steps = 40
  c.optimizer.weight_decay = 0.0
  c.evaluators.perplexity = {'name': 'perplexity', 'every_steps': 350}
  return c
