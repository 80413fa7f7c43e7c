"""Points run on a Ray cluster, and survive the loss of a node."""

import json
import subprocess
import sys

import pytest

from tests import tiny


@pytest.fixture
def cluster():
  """A cluster of this machine: a head that runs nothing, and two nodes."""
  import ray
  from ray.cluster_utils import Cluster

  made = Cluster(initialize_head=True, head_node_args={'num_cpus': 0})
  made.workers = [made.add_node(num_cpus=1) for _ in range(2)]
  yield made
  ray.shutdown()
  made.shutdown()


def two_at_once(folder):
  """Whether each node trains a point that has a checkpoint to go on from."""
  begun = []
  for run in folder.glob('*=*'):
    saved = [int(p.name) for p in run.glob('checkpoints/*') if p.name.isdigit()]
    begun.append(bool(saved) and 50 <= max(saved) < 1000)
  return sum(begun) == 2


@pytest.mark.slow
def test_a_node_is_lost_half_way(cluster, tmp_path):
  folder = tmp_path / 'dir'
  argv = [sys.executable, '-m', 'ctxlm', 'sweep', 'tests/toy.py']
  argv += [f'--workdir={folder}', '--seeds=1', '--launcher=ray']
  argv += [f'--ray_address={cluster.address}', '--config.num_steps=1500']
  argv += ['--config.checkpoint.every_steps=50']
  argv += ['--config.evaluators.line.every_steps=300']
  process = subprocess.Popen(
    argv,
    cwd=tiny.ROOT,
    env=tiny.environment(),
    stderr=subprocess.PIPE,
    text=True,
  )
  try:
    begun = tiny.wait_until(lambda: two_at_once(folder), process, 150)
    if not begun:
      process.kill()
    assert begun, process.communicate()[1]
    cluster.remove_node(cluster.workers[0], allow_graceful=False)
    cluster.add_node(num_cpus=1)
    _, err = process.communicate(timeout=400)
  finally:
    process.kill()
  assert process.returncode == 0, err
  assert '2 of 2 points are done' in err and 'FAILED' not in err
  logs = [p.read_text() for p in (folder / 'logs').iterdir()]
  assert any('going on from step' in text for text in logs)
  for run in folder.glob('*=*'):
    assert json.loads((run / 'config.json').read_text())['num_steps'] == 1500
    steps = [row['step'] for row in tiny.metrics(run)]
    assert steps == sorted(steps) and steps[-1] == 1500
