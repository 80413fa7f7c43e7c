"""The same run gives the same losses wherever it runs."""

import jax
import numpy as np
import pytest

from ctxlm import config as config_lib
from ctxlm import plugins
from ctxlm.errors import UserError
from ctxlm.parallel import placement as placement_lib
from ctxlm.training import program as program_lib

STEPS = 10
SIZE = 16
PLACES = {
  'pmap 1': (1, {}),
  'pmap 4': (4, {}),
  'data 2 fsdp 2': (4, {'strategy': 'mesh', 'data': 2, 'fsdp': 2}),
  'data 2 tensor 2': (4, {'strategy': 'mesh', 'data': 2, 'tensor': 2}),
  'data 2 sequence 2': (4, {'strategy': 'mesh', 'data': 2, 'sequence': 2}),
  'fsdp 2 tensor 2 sequence 2': (
    8,
    {'strategy': 'mesh', 'data': 1, 'fsdp': 2, 'tensor': 2, 'sequence': 2},
  ),
}
# Each objective's sums where every axis cuts something; one of them, axis by
# axis, as what an axis does to a step is no matter of the objective.
ALL_AXES = 'fsdp 2 tensor 2 sequence 2'
CUTS = {
  'causal': (
    ('pmap 1', 4),
    ('pmap 4', 1),
    ('data 2 fsdp 2', 1),
    ('data 2 tensor 2', 4),
    ('data 2 sequence 2', 1),
  ),
  'mlm + nsp': (('pmap 4', 4), (ALL_AXES, 1)),
  # Accumulation compares what was encoded part by part.
  'contrastive + mlm': (('pmap 4', 1), ('pmap 4', 4), (ALL_AXES, 4)),
  'seq2seq': (('pmap 4', 4), (ALL_AXES, 1)),
}
OBJECTIVES = {
  'causal': {'name': 'causal', 'prefix': 0.5},
  'mlm + nsp': {'name': 'mlm', 'rate': 0.3, 'pair': 'next_sentence'},
  'contrastive + mlm': {
    'name': 'contrastive',
    'fields': 3,
    'pooling': 'first_last_mean',
    'mlm_weight': 0.5,
  },
  'seq2seq': {'name': 'seq2seq', 'label_smoothing': 0.1},
}


def example(objective, rng, length):
  """One example of the objective's view; row lengths differ widely."""
  if objective.view == 'texts':

    def text():
      return ' '.join(map(str, rng.integers(5, 50, rng.integers(1, 9))))

    return {k: text() for k in ('text', 'text_a', 'text_b', 'negative')}
  if objective.view == 'pairs':
    return {
      'sentences': [rng.integers(5, 50, rng.integers(1, 5)) for _ in range(3)],
      'other': rng.integers(5, 50, 4),
    }
  used = rng.integers(2, length + 1)
  first = rng.integers(1, used)
  place = np.arange(length)
  segments = np.where(place < first, 1, np.where(place < used, 2, 0))
  return {
    'tokens': np.where(segments > 0, rng.integers(5, 50, length), 0),
    'segment_ids': segments.astype(np.int32),
    'positions': np.where(place < first, place, place - first),
  }


def batches(objective, length):
  rng = np.random.default_rng(0)
  for _ in range(STEPS):
    rows = [
      objective.prepare(example(objective, rng, length), rng)
      for _ in range(SIZE)
    ]
    batch = {k: np.stack([r[k] for r in rows]) for k in rows[0]}
    batch['index'] = np.arange(SIZE, dtype=np.int32)
    batch['valid'] = batch['present'] = np.ones(SIZE, np.float32)
    yield batch


def losses(block, place, tokenizer, accumulation=1, dropout=0.1, first=None):
  """Returns the losses of a run, and its first state on the host.

  It begins from the state `first`, or, where that is None, from its own.
  """
  count, axes = PLACES[place]
  c = config_lib.base()
  c.batch_size, c.accumulation, c.num_steps = SIZE, accumulation, STEPS
  c.max_length, c.optimizer.warmup_steps = 16, 2
  if block['name'] != 'causal':  # as AdamW would hide a factor of gradients
    sgd = {'name': 'sgd', 'learning_rate': 0.03, 'weight_decay': 0.0}
    c.optimizer.update(sgd | {'clip_norm': 0.0})
  c.parallel.update(axes)
  pairs = block['name'] == 'seq2seq'
  c.model = {
    'name': 'encoder_decoder' if pairs else 'transformer',
    'vocab_size': 50,
    'hidden_size': 32,
    'num_layers': 1,
    'causal': block['name'] in ('causal', 'seq2seq'),
    'type_vocab_size': 2,
    'max_length': 16,
    'dropout': dropout,
    'attention_dropout': dropout,
  }
  c.tasks.task = {'data': {'name': 'corpus'}, 'objective': block, 'weight': 0.7}
  objective = plugins.build(
    'objectives', block, tokenizer=tokenizer, max_length=16
  )
  data = list(batches(objective, 16))
  sample = {'task': {k: v[:2] for k, v in data[0].items()}}
  placement = placement_lib.make(c, jax.devices()[:count])
  program = program_lib.build(c, placement, tokenizer, sample)
  if first is None:
    state = program.init()
  else:  # each place's own is compiled for as long as its step
    own = jax.tree.map(lambda x: x.sharding, program.abstract)
    state = jax.device_put(first, own)
  first, rows = jax.device_get(state), placement.rows(SIZE)
  found = []
  for done, batch in enumerate(data):
    local = {'task': {k: v[rows] for k, v in batch.items()}}
    state, _, metrics = program.advance(state, local, done, done + 1)
    found.append(float(metrics['loss']))
  return np.array(found), first


@pytest.mark.slow
@pytest.mark.parametrize('objective', OBJECTIVES)
def test_same_losses_everywhere(objective, tokenizer):
  block = OBJECTIVES[objective]
  want, first = losses(block, 'pmap 1', tokenizer)
  # How a state begins is no matter of the objective.
  first = None if objective == 'causal' else first
  assert len(set(want)) == STEPS
  for place, accumulation in CUTS[objective]:
    found, _ = losses(block, place, tokenizer, accumulation, first=first)
    np.testing.assert_allclose(
      found, want, rtol=1e-5, err_msg=f'{place}, {accumulation}'
    )


def test_dropout_is_on_in_these_runs(tokenizer):
  block = OBJECTIVES['causal']
  a, _ = losses(block, 'pmap 1', tokenizer)
  b, _ = losses(block, 'pmap 1', tokenizer, dropout=0.0)
  assert abs(a - b).max() > 1e-3


@pytest.mark.parametrize(
  'axes, batch, wanted',
  [
    ({}, 12, 'not divisible by 8 devices'),
    ({'tensor': 2}, 16, "strategy='mesh'"),
    ({'strategy': 'mesh', 'data': 3}, 24, 'do not multiply to 8'),
    ({'strategy': 'mesh', 'data': -1, 'fsdp': -1}, 16, 'one of them'),
    ({'strategy': 'mesh', 'data': 4, 'sequence': 2}, 16, 'max_length'),
  ],
)
def test_mistakes_are_one_line(axes, batch, wanted):
  c = config_lib.base()
  c.batch_size, c.max_length = batch, 15
  c.parallel.update(axes)
  with pytest.raises(UserError, match=wanted):
    placement_lib.make(c)
