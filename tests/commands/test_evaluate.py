"""`ctxlm evaluate` gives what the run's last evaluation gave."""

import json
import sys

import pytest

from ctxlm import cli
from ctxlm.training import loop as train
from tests import tiny


def on_two_devices(folder, *flags):
  argv = [sys.executable, '-m', 'ctxlm', 'evaluate', *flags]
  process = tiny.fork(argv, 2, folder / 'errors', haste=True)
  process.join(300)
  out = (folder / 'errors.out').read_text()
  return process.exitcode, out, (folder / 'errors').read_text()


def call(capsys, *flags):
  """Returns (status, output, errors) of the command, in this process."""
  capsys.readouterr()
  with pytest.raises(SystemExit) as e:
    cli.main(['ctxlm', 'evaluate', *flags])
  return e.value.code, *capsys.readouterr()


@pytest.mark.slow
def test_equals_the_training_loop(text, tmp_path, capsys):
  c = tiny.get_config('causal')
  c.num_steps, c.checkpoint.every_steps = 4, 2
  c.evaluators.perplexity = {'name': 'perplexity', 'every_steps': 2}
  want = train.train(c, tmp_path / 'run')
  status, out, err = on_two_devices(tmp_path, f'--model={tmp_path}/run')
  assert status == 0, err
  found = json.loads(out.splitlines()[-1])
  assert found.pop('step') == 4
  assert found.keys() == want.keys()
  assert 'eval/perplexity/bits_per_byte' in found
  for name, value in found.items():  # on 2 devices, trained on 8
    assert value == pytest.approx(want[name], rel=1e-5)
  logged = [
    r for r in tiny.metrics(tmp_path / 'run') if found.keys() & r.keys()
  ]
  assert [r['step'] for r in logged] == [2, 4]
  status, out, err = call(capsys, f'--model={tmp_path}/run', '--step=2')
  assert status == 0, err
  found = json.loads(out.splitlines()[-1])
  name = 'eval/perplexity/loss'
  assert found[name] == pytest.approx(logged[0][name], rel=1e-5)


@pytest.mark.parametrize(
  'flags, wanted',
  [
    ([], '--model DIR is needed'),
    (['--model=/none'], 'no folder /none'),
    (['--model={run}', '--step=7'], 'has no checkpoint 7; it has [4]'),
    (['--model={run}', '--few_shot=sst3'], "no task named 'sst3'. Did you m"),
    (['--model={run}', '--output=/no/a'], 'name a file in a folder that is'),
  ],
)
def test_mistakes_are_one_line(runs, capsys, flags, wanted):
  flags = [f.format(run=runs['causal'].workdir) for f in flags]
  status, _, err = call(capsys, *flags)
  assert status == 2 and wanted in err
  assert err.startswith('ctxlm evaluate: ') and err.count('\n') == 1
