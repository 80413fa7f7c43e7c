"""Plans beside what is computed by hand, and what XLA says of the run."""

import dataclasses

import jax
import numpy as np
import pytest

from ctxlm import config as config_lib
from ctxlm import recipes, trees
from ctxlm.parallel import chips
from ctxlm.parallel import placement as placement_lib
from ctxlm.recipes import overrides
from ctxlm.training import flops, made_up, planning, run_folder
from ctxlm.training import program as program_lib
from tests import tiny

H100 = chips.of('NVIDIA H100 80GB HBM3')


def config_of(name, *more):
  c = overrides.apply(recipes.load(name), more)
  config_lib.check(c)
  return made_up.without_data(c)


def machine(count=8, **more):
  chip = dataclasses.replace(H100, **more)
  return planning.Machine(jax.devices()[:count], chip)


ONE_LAYER = (
  ('model.num_layers', '1'),
  ('model.hidden_size', '64'),
  ('model.num_heads', '4'),
  ('model.num_kv_heads', '4'),
  ('model.mlp_dim', '96'),
  ('model.scan_layers', 'false'),
  ('model.remat', 'none'),
  ('model.dtype', 'float32'),
  ('model.max_length', '32'),
  ('max_length', '32'),
  ('batch_size', '16'),
  ('tokenizer.vocab_size', '512'),
  ('parallel.data', '2'),
  ('parallel.fsdp', '2'),
  ('parallel.tensor', '2'),
)


@pytest.fixture(scope='module')
def layer():
  """A config of one layer on a mesh of eight, and its Plan."""
  c = config_of('llama_1b', *ONE_LAYER)
  return c, machine().measure(c)


def test_parameters_and_moments_are_the_state(layer):
  config, plan = layer
  program = made_up.build(config, placement_lib.make(config))
  state = program.init()

  def held(tree):
    return sum(
      x.addressable_shards[0].data.nbytes for x in jax.tree.leaves(tree)
    )

  assert plan.memory['parameters'] == held(state.params)
  assert plan.memory['optimizer'] == held(state.opt_state)
  said = program.lower().compile().memory_analysis()
  assert plan.total == (
    said.argument_size_in_bytes
    + said.output_size_in_bytes
    - said.alias_size_in_bytes
    + said.temp_size_in_bytes
    + said.generated_code_size_in_bytes
  )


def test_a_layer_sends_what_is_counted_by_hand(layer):
  config, one = layer
  two = machine().measure(planning.changed(config, {'model.num_layers': 2}))
  found = {}
  for sign, plan in ((-1, one), (1, two)):
    for sent in plan.sent:
      key = sent.kind, sent.axes
      found[key] = found.get(key, 0) + sign * sent.size
  m, f, rows = config.model.hidden_size, config.model.mlp_dim, 16 * 32 // 4
  kernels = (4 * m * m + 3 * m * f) * 4 / 2  # bytes that a chip works with
  norms = 2 * m * 4
  squares = 2 * 7 * 4  # summed to norms of gradients, to log and to clip by
  states = rows * m * 4
  wanted = {
    # Kernels are made whole over fsdp once, for both passes: a half is sent.
    ('all-gather', ('fsdp',)): kernels / 2,
    # Of a sum over n chips each sends 2 (n - 1) / n = 1 of it. What attention
    # and the MLP give, and what q, k, v, up and gate give back to their norms.
    ('all-reduce', ('tensor',)): 7 * states + squares,
    # Gradients of kernels, over fsdp, and their own half over data.
    ('all-reduce', ('fsdp',)): kernels + squares,
    ('all-reduce', ('data',)): kernels / 2,
    # Of norms, over all rows: 2 * 3 / 4 of them.
    ('all-reduce', ('data', 'fsdp')): norms * 1.5,
  }
  assert {k: v for k, v in found.items() if v} == wanted


def test_hidden_states_stay_with_their_rows():
  config = config_of(
    'quickstart_mlm',
    ('model.num_layers', '1'),
    ('parallel.strategy', 'mesh'),
    ('parallel.data', '2'),
    ('parallel.fsdp', '4'),
  )
  # Parameters are gathered and gradients summed, and no states are exchanged.
  kinds = {s.kind for s in machine().measure(config).sent if s.size > 1e4}
  assert kinds == {'all-gather', 'all-reduce'}


def weights(config):
  """Returns {path: number of parameters} that a token is multiplied by."""
  program = made_up.build(config, flops.Nowhere())
  found = {
    k: np.prod(x.shape) for k, x in trees.flatten(program.shapes).items()
  }
  return {k: n for k, n in found.items() if k.endswith('kernel')}, program


@pytest.mark.parametrize('name', ['gpt2_small', 'llama_1b', 'llama_8b'])
def test_flops_are_6_n_d_and_attention(name):
  config = config_of(name)
  kernels, program = weights(config)
  m, length = config.model, config.max_length
  tokens = config.batch_size * length
  n = sum(kernels.values())
  if m.get('tie_embeddings', True):  # which is the head
    n += config.model.vocab_size * m.hidden_size
  # Two products of each query with the keys that it sees, of which a causal
  # row of four blocks computes 5/8; three passes.
  attention = 3 * 2 * 2 * m.num_layers * m.hidden_size * length * 5 / 8
  by_hand = tokens * (6 * n + attention)
  assert flops.of_step(config) == pytest.approx(by_hand, rel=0.05)


def test_flops_of_bert_have_a_head_at_masked_places_only():
  config = config_of('bert_base')
  kernels, program = weights(config)
  m, length = config.model, config.max_length
  tokens = config.batch_size * length
  n = sum(k for path, k in kernels.items() if not path.startswith('heads'))
  places = program.features['text']['masked_positions'].shape[1] / length
  n += places * (m.hidden_size**2 + m.vocab_size * m.hidden_size)
  attention = 3 * 2 * 2 * m.num_layers * m.hidden_size * length
  by_hand = tokens * (6 * n + attention)
  alone = flops.of_step(config, attention=True)
  assert alone == tokens * attention
  assert flops.of_step(config) == pytest.approx(by_hand, rel=0.05)


def test_made_up_data_has_the_shapes_of_real_ones(text, runs):
  config = tiny.get_config('mlm')
  real = program_lib.build(
    config, flops.Nowhere(), run_folder.load(runs['mlm'].workdir).tokenizer
  )
  ours = made_up.build(made_up.without_data(config), flops.Nowhere())
  shapes = jax.tree.map(lambda x: (x.shape, x.dtype), real.features)
  assert shapes == jax.tree.map(lambda x: (x.shape, x.dtype), ours.features)


def test_what_does_not_fit_is_changed_until_it_does(layer):
  config, plan = layer
  tried = []
  small = machine(hbm_bytes=plan.total * 0.9)
  assert not small.measure(config).fits
  values, found = planning.nearest(
    small, config, lambda values, _: tried.append(values)
  )
  assert found.fits and values == tried[-1]
  assert found.total <= plan.total * 0.9
  assert machine(hbm_bytes=1e3).measure(config).seconds == {}


def _laid(ways):
  axes = 'data', 'fsdp', 'tensor'
  return {tuple(w[0][f'parallel.{axis}'] for axis in axes) for w in ways}


def test_search_finds_the_fastest_that_fits():
  c = config_of('llama_1b', *ONE_LAYER, ('batch_size', '4'))
  # Rows of the batch go over data x fsdp, heads over tensor.
  assert _laid(planning.meshes(c, 4)) == {
    *((4, 1, 1), (2, 2, 1), (1, 4, 1), (2, 1, 2), (1, 2, 2), (1, 1, 4))
  }
  ways = planning.meshes(c, 2)
  assert _laid(ways) == {(2, 1, 1), (1, 2, 1), (1, 1, 2)}
  done = []
  found = planning.search(machine(2), c, done.append)
  seconds = [plan.step_seconds for _, plan in found]
  assert len(done) == len(ways) and len(found) == len(ways)
  assert seconds == sorted(seconds)


def test_a_program_that_can_not_be_read_is_told_of(layer, monkeypatch, capsys):
  config, plan = layer

  def unreadable(self):
    raise jax.errors.JaxRuntimeError('INTERNAL: async-update')

  monkeypatch.setattr(jax.stages.Compiled, 'as_text', unreadable)
  found = machine().measure(config)
  assert 'INTERNAL: async-update' in capsys.readouterr().err
  assert found.memory == plan.memory and found.model_flops == plan.model_flops
  assert found.bound == 'compute' and found.sent == () and found.moved == 0


# As libtpu 0.0.52 says it.
FULL = (
  'RESOURCE_EXHAUSTED: E1000: CompileTimeHbmOom: Ran out of memory on HBM, the '
  'total memory required for HLO temporaries (34.33G) exceeds available HBM '
  '(15.75G). HLO module: jit__fun.'
)


def test_what_the_compiler_finds_no_memory_for_does_not_fit(layer, monkeypatch):
  def full(*_, **__):
    raise jax.errors.JaxRuntimeError(FULL)

  monkeypatch.setattr(jax.stages.Lowered, 'compile', full)
  plan = machine().measure(layer[0])
  assert not plan.fits and not plan.seconds
  assert (plan.total, plan.capacity) == (34.33 * 2**30, 15.75 * 2**30)
