"""A trace of some steps, what is told of it, and how a run uses its machine."""

import gzip
import json
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.profiler import ProfileData

from ctxlm import cli
from ctxlm.errors import UserError
from ctxlm.parallel import chips
from ctxlm.training import loop, pace, profile, trace, tracking
from tests import tiny

HLO = """
HloModule jit_step, is_scheduled=true

%body (p: (s32[], f32[4])) -> (s32[], f32[4]) {
  %dot.1 = f32[4]{0} dot(%a, %b), metadata={op_name="jit(step)/mlm/jvp(Model)/\
stack/layers_0/mlp/up/dot_general" source_file="a.py"}
  ROOT %fusion.2 = (s32[], f32[4]{0:T(128)}) fusion(%dot.1), kind=kLoop, \
metadata={op_name="jit(step)/mlm/transpose(jvp(Model))/stack/while/body/\
closed_call/attention/mul;jit(step)/add"}
}

ENTRY %main (x: f32[4]) -> f32[4] {
  %while.3 = (s32[], f32[4]) while(%t), condition=%c, body=%body, \
metadata={op_name="jit(step)/while"}
  ROOT %copy.4 = f32[4]{0} copy(%x)
}
"""
NAMES = {
  'dot.1': 'mlm/stack/layers_0/mlp/up: dot_general',
  'fusion.2': 'mlm/stack/attention: mul, backward',
  'while.3': 'while',
  'copy.4': "copy, the compiler's own",
}


def test_names_are_those_of_the_model():
  found = trace.instructions(HLO)
  assert {k: v.readable for k, v in found.items()} == NAMES
  opcodes = [v.opcode for v in found.values()]
  assert opcodes == ['dot', 'fusion', 'while', 'copy']


def space(plane, line, names, stats):
  """Returns an XSpace: one line of events at (start, end) in nanoseconds.

  while.3 [0, 100) holds dot.1 [10, 40) and fusion.2 [40, 50), and copy.4
  [100, 120) follows.
  """
  at = {'while.3': (0, 100), 'dot.1': (10, 40), 'fusion.2': (40, 50)}
  at['copy.4'] = (100, 120)
  metadata, events = '', ''
  for number, (name, (start, end)) in enumerate(at.items(), 1):
    metadata += (
      f'event_metadata {{ key: {number} value {{ id: {number} '
      f'name: "{names(name)}" }} }}\n'
    )
    said = stats and (
      f'stats {{ metadata_id: 1 str_value: "{name}" }} '
      'stats { metadata_id: 2 str_value: "jit_step" }'
    )
    events += (
      f'events {{ metadata_id: {number} offset_ps: {1000 * start} '
      f'duration_ps: {1000 * (end - start)} {said or ""} }}\n'
    )
  return ProfileData.text_proto_to_serialized_xspace(f"""
    planes {{ name: "{plane}"
      lines {{ id: 1 name: "{line}" timestamp_ns: 5 {events} }}
      {metadata}
      stat_metadata {{ key: 1 value {{ id: 1 name: "hlo_op" }} }}
      stat_metadata {{ key: 2 value {{ id: 2 name: "hlo_module" }} }}
    }}""")


@pytest.mark.parametrize('kind', ['cpu', 'gpu', 'tpu'])
def test_an_operation_has_its_own_time(kind, tmp_path):
  path = tmp_path / 'a.xplane.pb'
  if kind == 'tpu':
    whole = space(
      '/device:TPU:0', 'XLA Ops', lambda n: f'%{n} = f32[4] x()', False
    )
  else:
    plane = {'cpu': '/host:CPU', 'gpu': '/device:GPU:0'}[kind]
    whole = space(plane, 'Stream 7', lambda n: 'a kernel', True)
  path.write_bytes(whole)
  module = '' if kind == 'tpu' else 'jit_step'
  total = trace.times(path)
  assert total == {
    (module, 'while.3'): 60, (module, 'dot.1'): 30, (module, 'fusion.2'): 10,
    (module, 'copy.4'): 20,
  }  # fmt: skip
  other = {'dot.1': trace.Instruction('dot', 'jit(other)/dot')}
  modules = [('jit_step', other), ('jit_step', trace.instructions(HLO))]
  assert trace.operations(total, modules) == [
    (NAMES['dot.1'], 30), (NAMES['copy.4'], 20), (NAMES['fusion.2'], 10)
  ]  # fmt: skip
  # What isn't compiled here is told by its name in the trace.
  names = [name for name, _ in trace.operations(total, [])]
  assert names == [
    f"{kind}, the compiler's own" for kind in ('dot', 'copy', 'fusion')
  ]


def test_the_dearest_operation_of_a_program_is_found(tmp_path):
  @jax.jit
  def step(x, y):
    with jax.named_scope('layers_0/big'):
      big = jnp.dot(x, x)
    with jax.named_scope('small'):
      return big, jnp.dot(y, y)

  x, y = jnp.ones((512, 512)), jnp.ones((16, 16))
  jax.block_until_ready(step(x, y))
  with jax.profiler.trace(tmp_path):
    jax.block_until_ready(step(x, y))
  (path,) = tmp_path.glob('plugins/profile/*/*.xplane.pb')
  found = trace.operations(trace.times(path), profile.compiled())
  assert found[0][0] == 'layers_0/big: dot_general', found


class Result:
  """An array that is there when the clock says so."""

  def __init__(self, clock, at):
    self.clock, self.at = clock, at

  def block_until_ready(self):
    """Lets the time pass."""
    self.clock.now = self.at


def test_steps_are_timed_from_the_step_before(monkeypatch):
  clock = types.SimpleNamespace(now=0, monotonic=lambda: clock.now)
  monkeypatch.setattr(pace, 'time', clock)
  paced = pace.Pace()
  for begun, got, ready, steps in (  # seconds: asked for data, had it, done
    (0.00, 0.01, 0.10, 1),  # compiles, and doesn't count
    (0.01, 0.09, 0.30, 1),  # its batch was there before the device was free
    (0.09, 0.40, 0.50, 1),  # the device waited from 0.3 to 0.4
    (0.90, 0.90, 1.20, 3),  # after a pause: three of 0.1
  ):
    paced.add(begun, got, steps, Result(clock, ready))
  told = paced.lap()
  assert told == {
    'machine/step_seconds': pytest.approx(0.1),
    'machine/step_seconds_p95': pytest.approx(0.2),
    'machine/data_wait': pytest.approx(0.1 / 0.7),
  }
  assert pace.told(told) == '  100.0 ms a step  waits for data 14 %'
  assert paced.lap() == {}
  assert paced.complaint(0) is None  # it is less than a second
  for n in range(10):  # each waits for 2 of 3 seconds
    begun = 100 + 3 * n
    paced.add(begun, begun + 2, 1, Result(clock, begun + 3))
  paced.lap()
  paced.close()
  said = paced.complaint(4)
  assert said.startswith('65 % of the time (20 s of 31) the devices waited')
  assert 'config.num_workers=4' in said and '\n' not in said


def test_a_step_that_fails_does_not_hold_the_loop_up():
  class Failed:
    def block_until_ready(self):
      raise RuntimeError

  paced = pace.Pace()
  paced.add(0, 0, 1, Failed())
  assert paced.lap() == {}
  paced.close()


def test_a_run_is_traced_and_told_of(text, tmp_path, capfd, monkeypatch):
  chip = chips.Chip('of a test', 1e9, 0, 0, 0, 0, '')
  monkeypatch.setitem(chips.CHIPS, 'cpu', chip)
  c = tiny.get_config()
  c.num_steps = 6
  c.checkpoint.every_steps = 0
  loop.train(c, tmp_path / 'run', profile=3)
  said = capfd.readouterr().err.splitlines()
  (first,) = (i for i, line in enumerate(said) if 'traced steps 3 to 5' in line)
  table = said[first + 2 : first + 7]
  took, share = np.array([line.split()[0:3:2] for line in table], float).T
  assert (np.diff(took) <= 0).all() and 0 < share.sum() <= 100
  assert any('  causal' in line for line in table), table
  (path,) = (tmp_path / 'run/profile').rglob('perfetto_trace.json.gz')
  assert str(path) in said[first]
  events = json.loads(gzip.decompress(path.read_bytes()))['traceEvents']
  assert {'ph', 'ts', 'dur', 'name'} <= max(events, key=len).keys()
  rows = tracking.read(tmp_path / 'run')
  assert 'machine/step_seconds' not in rows[0]  # it compiles
  row = rows[-1]
  assert 0 < row['machine/step_seconds'] <= row['machine/step_seconds_p95']
  assert 0 <= row['machine/data_wait'] <= 1
  assert 0.05 < row['machine/peak_process_gib'] < 100
  # 300 x 32 of tokens, 24 x 32 of positions, a layer of 12 x 32 x 32 + ...
  count = sum(v.size for k, v in tiny.state(tmp_path / 'run', 6).items()
              if k.startswith("['params']"))  # fmt: skip
  flops = row['train/tokens_per_second'] * 6 * count
  assert row['machine/mfu'] == pytest.approx(flops / 8e9)
  assert all('machine/' not in k for k in tiny.metrics(tmp_path / 'run')[-1])


def test_calls_of_many_steps_end_where_the_trace_does(tmp_path):
  marks = profile.Profile(5, 0, 100, tmp_path)
  assert [marks.until(at, 100) for at in (0, 1, 2, 7)] == [1, 2, 7, 100]
  assert marks.after(1, None) == []  # nothing begins before its time
  assert profile.Profile(0, 0, 100, tmp_path).until(0, 100) == 100
  marks = profile.Profile(5, 10, 16, tmp_path)  # one step to compile in
  assert [marks.until(at, 16) for at in (10, 11)] == [11, 16]


def command(capsys, verb, *flags):
  """Returns what a verb that can't work says."""
  with pytest.raises(SystemExit) as e:
    cli.main(['ctxlm', verb, *flags])
  assert e.value.code == 2
  return capsys.readouterr().err.strip()


def test_bad_values_are_one_line(capsys, tmp_path):
  recipe = ('--config=quickstart_causal', f'--workdir={tmp_path / "run"}')
  for value in ('0', '-1', 'x', '1.5'):
    said = command(capsys, 'train', *recipe, f'--profile={value}')
    assert '\n' not in said and f'--profile={value} must be' in said, said
  short = ('--config.num_steps=20', '--config.optimizer.warmup_steps=1')
  for value in (20, 21):
    flags = (*recipe, *short, f'--profile={value}')
    said = command(capsys, 'train', *flags)
    assert '\n' not in said and f'--profile={value} needs {value + 1}' in said
  said = command(capsys, 'score', '--model=m', '--profile=3')
  assert '\n' not in said and 'there is no --profile' in said
  with pytest.raises(UserError, match='of which the run has 17'):
    profile.check(3, 20, 17)
  assert profile.check(3, 20, 16) is None
