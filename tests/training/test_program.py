"""The one assembly: programs from shapes alone are those that train."""

import types

import jax
import numpy as np
import pytest

from ctxlm.parallel import placement as placement_lib
from ctxlm.training import program as program_lib
from tests import tiny, toy

PLACES = {
  'pmap': {'strategy': 'pmap'},
  'mesh': {'strategy': 'mesh', 'data': 2, 'fsdp': 2},
}


def build(config, place, tokenizer):
  config.parallel.update(PLACES[place])
  for task in config.tasks.values():
    task.data.pattern = 'no file is read'
  placement = placement_lib.make(config, jax.devices()[:4])
  rows = np.zeros((2, config.max_length), np.int32)
  features = {
    name: {
      **dict.fromkeys(('tokens', 'segment_ids', 'positions', 'targets'), rows),
      'weights': rows.astype(np.float32),
      'index': np.arange(2, dtype=np.int32),
      'valid': np.ones(2, np.float32),
    }
    for name in config.tasks
  }
  return program_lib.build(config, placement, tokenizer, features)


@pytest.mark.parametrize('place', PLACES)
def test_a_step_compiled_from_shapes_is_the_step(place, tokenizer):
  program = build(tiny.get_config(), place, tokenizer)
  compiled = program.lower().compile()  # before there is any state
  rng = np.random.default_rng(0)
  batch = {
    name: {
      k: rng.permutation(np.resize(v, (8, *v.shape[1:])))
      for k, v in features.items()
    }
    for name, features in program.features.items()
  }
  for features in batch.values():
    features['index'] = np.arange(8, dtype=np.int32)
    features['segment_ids'] = np.ones_like(features['tokens'])
    features['tokens'] = rng.integers(5, 50, features['tokens'].shape, np.int32)
    features['weights'] = np.ones_like(features['weights'])
  rows = program.placement.rows(8)
  batch = jax.tree.map(lambda x: x[rows], batch)
  wanted = jax.tree.map(lambda x: (x.shape, x.dtype), program.abstract)
  state = program.init()
  assert wanted == jax.tree.map(lambda x: (x.shape, x.dtype), state)
  assert jax.tree.all(
    jax.tree.map(
      lambda x, s: x.sharding.is_equivalent_to(s.sharding, x.ndim),
      state,
      program.abstract,
    )
  )
  placed = program.placement.put(batch)
  if place == 'mesh':  # a compiled pmap takes its own kind of arrays
    with jax.set_mesh(program.placement.mesh):
      _, metrics = compiled(program.init(), placed)
    _, _, ours = program.advance(state, batch, 0, 1)
    assert float(metrics['loss']) == float(ours['loss']) > 0
  memory = compiled.memory_analysis()
  assert memory.argument_size_in_bytes > 0


def test_many_steps_lower_from_shapes():
  config = toy.get_config()
  placement = placement_lib.make(config, jax.devices()[:1])
  tokens = types.SimpleNamespace(vocab_size=1)
  text = program_lib.build(config, placement, tokens).lower().as_text()
  assert 'while' in text


def test_arguments_are_the_bytes_of_the_state(tokenizer):
  # What a chip holds of parameters and moments, told before there are any.
  program = build(tiny.get_config(), 'mesh', tokenizer)
  compiled = program.lower().compile()
  own = sum(
    np.prod(x.sharding.shard_shape(x.shape)) * x.dtype.itemsize
    for x in jax.tree.leaves(program.abstract)
  )
  batch = sum(x.nbytes for x in jax.tree.leaves(program.features)) * 4 / 4
  total = compiled.memory_analysis().argument_size_in_bytes
  assert own < total <= own + 4 * batch + 1024
