"""`ctxlm plan`: without a TPU, and without libtpu."""

import importlib.util
import json

import jax
import pytest

from ctxlm import cli
from ctxlm.parallel import topology


@pytest.fixture(autouse=True)
def here(monkeypatch, text):
  """JAX of the tests has its devices already."""
  monkeypatch.setattr(topology, 'simulate', lambda *_: None)


def plan(capsys, *words):
  with pytest.raises(SystemExit) as ended:
    cli.main(['ctxlm', 'plan', '--config', 'tests/tiny.py', *words])
  out, err = capsys.readouterr()
  return ended.value.code, out, err


def test_what_gpus_need(capsys, tmp_path):
  out = tmp_path / 'plan.json'
  status, said, err = plan(
    capsys, '--topology=h100:8', f'--out={out}', '--config.batch_size=16'
  )
  assert status == 0, err
  found = json.loads(out.read_text())
  assert found['fits'] and found['estimate'] and found['mesh'] == {'data': 8}
  assert found['tokens'] == 16 * 24 and 'an estimate' in said
  longest = max(found['seconds'].values())
  assert found['step_seconds'] == longest
  assert found['hours'] == pytest.approx(12 * longest / 3600)
  peak = longest * 989e12 * 8
  assert found['mfu'] == pytest.approx(found['model_flops'] / peak)
  assert found['memory']['activations'] > 0  # which half the batch has not
  # Gradients are added up over all devices, as large as the parameters.
  (summed,) = (s for s in found['sent'] if s['size'] > 1000)
  assert summed['kind'] == 'all-reduce' and summed['axes'] == ['data']
  parameters = found['memory']['parameters']
  assert summed['size'] == pytest.approx(2 * 7 / 8 * parameters, rel=0.01)


@pytest.mark.parametrize(
  'words, wanted',
  [
    (['--topology=v5e'], 'say a kind and a size, such as v5e:16x16'),
    (['--topology=h200:3000'], 'CPU devices, and JAX has fewer'),
    (['--topology=v5e:2x2'], "pip install 'ctxlm[plan]'"),
    ([], '--topology KIND:SIZE is needed'),
    (['--topology=h100:8', '--out=/none/x.json'], '/none/x.json: No such file'),
  ],
)
def test_a_mistake_is_a_line(capsys, monkeypatch, words, wanted):
  monkeypatch.setattr(importlib.util, 'find_spec', lambda *_: None)
  status, out, err = plan(capsys, *words)
  assert status == 2 and not out and len(err.splitlines()) == 1
  assert wanted in err


def test_another_libtpu_is_a_line(capsys, monkeypatch):
  from jax.experimental import topologies

  def breaks(**_):
    raise jax.errors.JaxRuntimeError('PJRT C API of another version')

  monkeypatch.setattr(importlib.util, 'find_spec', lambda *_: True)
  monkeypatch.setattr(topologies, 'get_topology_desc', breaks)
  status, _, err = plan(capsys, '--topology=v5e:2x2')
  assert status == 2 and len(err.splitlines()) == 1
  assert "pip install 'ctxlm[plan]'" in err and 'another version' in err
