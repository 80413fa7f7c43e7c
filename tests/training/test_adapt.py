"""Training of a part: what moves, what has moments, and how it goes on."""

import json
import shutil

import jax
import numpy as np
import pytest

from ctxlm import load, trees
from ctxlm.data.tokenizers import tokenizer as tokenizer_lib
from ctxlm.errors import UserError
from ctxlm.inference import conversion
from ctxlm.parallel import mesh, pmap
from ctxlm.training import initial, loop, run_folder
from ctxlm.training import program as program_lib
from tests import tiny

LORA = {'name': 'lora', 'target': 'stack/', 'dropout': 0.3}


def program_of(adapt=LORA, placement=None, **more):
  """Returns the Program of a tiny masked LM, on features that are made."""
  c = tiny.get_config('mlm')
  c.adapt = adapt
  c.tasks.mlm.data.pattern = 'unread'
  c.max_length, c.model.max_length = 8, 8
  c.update(more)
  text = ['the cat sees a river', 'a bird finds two stones'] * 9
  tokenizer = tokenizer_lib.train('wordpiece', 60, text)
  rng = np.random.default_rng(0)
  ones = np.ones((8, 8), np.int32)
  features = {
    'tokens': rng.integers(5, 40, (8, 8)).astype(np.int32),
    'segment_ids': ones,
    'positions': np.tile(np.arange(8, dtype=np.int32), (8, 1)),
    'masked_positions': ones[:, :2] * [1, 5],
    'masked_targets': rng.integers(5, 40, (8, 2)).astype(np.int32),
    'masked_weights': np.ones((8, 2), np.float32),
    'valid': ones[:, 0],
    'index': np.arange(8, dtype=np.int32),
  }
  placement = placement or pmap.Pmap(jax.devices()[:1])
  return program_lib.build(c, placement, tokenizer, {'mlm': features})


def stepped(program, steps=2):
  """Returns (parameters before, TrainState after, the last metrics)."""
  state = program.init()
  before = jax.device_get(state.params)
  batch = {'mlm': program.features['mlm']}
  for n in range(steps):
    state, _, metrics = program.advance(state, batch, n, n + 1)
  return trees.flatten(before), state, jax.device_get(metrics)


@pytest.fixture(scope='module')
def whole():
  optimizer = tiny.get_config('mlm').optimizer
  optimizer.ema_decay = 0.9
  program = program_of(optimizer=optimizer)
  return program, *stepped(program)


def test_adapters_and_heads_move_and_nothing_else(whole):
  program, before, state, _ = whole
  moments = {
    name.split('mu/')[1]: x
    for name, x in trees.flatten(state.opt_state).items()
    if 'mu/' in name
  }
  for name, x in trees.flatten(state.params).items():
    moves = '/lora/' in name or name.startswith('heads/')
    assert (name in moments) == moves
    assert np.array_equal(x, before[name]) != moves, name
  assert program.frozen == before.keys() - moments.keys()
  held = sum(x.nbytes for x in jax.tree.leaves(state.opt_state))
  count, own = (sum(x.size for x in t.values()) for t in (before, moments))
  assert initial.sizes(program) == (
    f'{count:,} parameters, {own:,} of them trained '
    f'({100 * own / count:.3g} %), {held:,} bytes of optimizer state'
  )


def test_the_frozen_have_no_gradient_to_compute():
  """A probe's step costs little more than its forward pass, as XLA counts."""

  def flops(program):
    return program.lower().cost_analysis()['flops']

  probe = program_of({'name': 'probe'})
  assert flops(probe) < 0.6 * flops(program_of({}))


@pytest.mark.slow
@pytest.mark.parametrize('how', ['mesh', 'pmap'])
def test_the_same_losses_however_it_is_cut(how, whole):
  _, _, _, want = whole
  devices = jax.devices()
  placement = {
    'mesh': lambda: mesh.Mesh(devices[:4], data=1, fsdp=2, tensor=2),
    'pmap': lambda: pmap.Pmap(devices[:4]),
  }[how]()
  more = {'accumulation': 2} if how == 'pmap' else {}
  _, _, found = stepped(program_of(placement=placement, **more))
  for name in ('loss', 'grad_norm'):
    assert found[name] == pytest.approx(want[name], rel=1e-5)


def test_averages_of_the_frozen_stay(whole):
  _, before, state, _ = whole
  for name, x in trees.flatten(state.ema).items():
    moves = '/lora/' in name or name.startswith('heads/')
    assert np.array_equal(x, before[name]) != moves, name


def test_what_trains_nothing_is_one_line():
  c = tiny.get_config('mlm').optimizer
  c.factors = (('.', 0.0),)
  program = program_of({}, optimizer=c)
  with pytest.raises(UserError, match='every parameter is frozen'):
    program.init()


@pytest.mark.slow
def test_a_run_goes_on_bit_for_bit_and_goes_out(runs, tmp_path, capsys):
  def train(name, steps, adapt, base):
    c = tiny.get_config('causal')
    c.num_steps, c.adapt, c.init_from = steps, adapt, base
    c.checkpoint.every_steps, c.optimizer.warmup_steps = 2, 1
    loop.train(c, tmp_path / name)
    return run_folder.load(tmp_path / name)

  base = str(tmp_path / 'base')
  shutil.copytree(runs['causal'].workdir, base)
  adapt = LORA | {'rank': 2}
  once = train('once', 4, adapt, base)
  train('twice', 2, adapt, base)
  twice = train('twice', 4, adapt, base)
  for a, b in zip(*(jax.tree.leaves(r.params) for r in (once, twice))):
    np.testing.assert_array_equal(a, b)
  # A run of before has no such keys.
  c = run_folder.load_config(tmp_path / 'base')
  path = tmp_path / 'base' / 'config.json'
  content = json.loads(path.read_text())
  del content['adapt'], content['optimizer']['layer_decay']
  path.write_text(json.dumps(content))
  loop.train(c, base)
  body = trees.flatten(run_folder.load(tmp_path / 'base').params)
  for name, x in trees.flatten(once.params).items():
    if '/lora/' not in name:
      np.testing.assert_array_equal(x, body[name], name)
  said = capsys.readouterr().err
  assert 'initialised afresh: stack/layers_0/attention/key/lora/a' in said
  with pytest.raises(UserError, match='say the same, or merge them'):
    train('other', 2, LORA | {'rank': 3}, str(tmp_path / 'once'))
  once = tmp_path / 'once'
  conversion.convert(once, to=tmp_path / 'm', merge=True)
  conversion.convert(once, to=tmp_path / 'kept')
  conversion.convert(once, to_peft=tmp_path / 'peft')
  want = load(tmp_path / 'once').logits('the cat sees')
  for name in ('m', 'kept'):
    found = load(tmp_path / name).logits('the cat sees')
    np.testing.assert_allclose(found, want, atol=1e-5)
  assert (tmp_path / 'peft' / 'adapter_config.json').is_file()
