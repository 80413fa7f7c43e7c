"""Files that were cut, emptied or changed by others, where verbs go on."""

import json

from ctxlm.parallel import locks
from tests.mistakes import Case, train
from tests.mistakes.disks import swept, two_runs

REPORT = 'report', 'tests/toy.py', '--workdir={tmp}/new'


def plan(content):
  """Returns a `make` of a sweep's folder whose sweep.json has the content."""

  def make(tmp, folders):
    swept(tmp, folders)
    (tmp / 'new' / 'sweep.json').write_bytes(content)

  return make


def lacking(tmp, folders):
  """Makes a sweep's folder, done, with no metrics that are asked for."""
  swept(tmp, folders)
  path = tmp / 'new' / 'sweep.json'
  content = json.loads(path.read_text())
  content['scale'] = 'small'
  path.write_text(json.dumps(content))
  for name in content['points']:
    last = tmp / 'new' / name / 'checkpoints' / '6'
    last.mkdir(parents=True)
    (last / '_CHECKPOINT_METADATA').touch()


def stopped(tmp, folders):
  """Makes a sweep's folder, one point of which has an empty note."""
  swept(tmp, folders)
  point = tmp / 'new' / 'learning_rate=0.1,seed=0'
  point.mkdir()
  (point / 'stopped.json').touch()


def held(tmp, _):
  """Holds the folder of a run that has just begun."""
  (tmp / 'new').mkdir()
  _HELD.append(locks.Lock(tmp / 'new' / locks.NAME, 'trains'))


_HELD = []
CASES = [
  *(
    Case(
      f'report: sweep.json is {content!r}',
      REPORT,
      'sweep.json .*: the same ctxlm sweep command writes it anew$',
      plan(content),
    )
    for content in (
      b'',
      b'{"experiment": "te',
      b'{}',
      b'\xff',
    )
  ),
  Case(
    'report: stopped.json is empty',
    REPORT,
    'stopped.json .*: remove it, and the same ctxlm sweep command goes on',
    stopped,
  ),
  Case('report: no such metric', REPORT, "metrics.jsonl has no 'eval", lacking),
  Case('train: another trains there', train(), 'process .* trains there', held),
  Case(
    'report --compare: --out is a file',
    (
      'report',
      '--compare',
      '{tmp}/a',
      '{tmp}/b',
      '--out={tmp}/a/metrics.jsonl',
    ),
    '--out .* is a file: name a folder',
    two_runs,
  ),
]
