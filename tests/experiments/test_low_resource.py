import pytest

from ctxlm.experiments import low_resource as low
from tests.experiments import common


@pytest.fixture
def sst2(tmp_path):
  """A folder of train.tsv and dev.tsv."""
  for name, count in (('train', 12), ('dev', 6)):
    rows = [f'film {i} is {"good" if i % 2 else "bad"}' for i in range(count)]
    lines = [f'{row}\t{i % 2}\n' for i, row in enumerate(rows)]
    (tmp_path / f'{name}.tsv').write_text(''.join(lines))
  return tmp_path


def test_draws_are_nested_and_of_their_seed(sst2):
  def texts(examples, draw):
    source = low.Source(str(sst2), examples, draw)
    return [r['text'] for r in source.records('train')]

  few, more, whole = (texts(n, 1) for n in (3, 7, 100))
  assert few == more[:3] == whole[:3] and len(more) == 7
  assert len(set(whole)) == 12 and texts(100, 2) != whole
  source = low.Source(str(sst2), 3, 1)
  assert len(source.records('validation')) == 6
  prints = [
    low.Source(str(sst2), n, d).fingerprint(split)
    for split in ('train', 'validation')
    for n, d in ((3, 1), (4, 1), (3, 2))
  ]
  assert len({*prints[:3]}) == 3 and len({*prints[3:]}) == 1


def test_both_arms_of_a_seed_share_tokenizer_and_examples():
  c = low.get_config('smoke')
  c.tokenizer.path, c.seed = 'mine', 7
  assert c.init_from == 'mine' and c.tasks.sentiment.data.draw == 7
  c.init_from = ''
  assert c.tokenizer.path == 'mine'


@pytest.mark.slow
def test_smoke(sst2, tmp_path):
  folder = common.write_bert(tmp_path / 'bert', ['the film is good bad'])
  summary = common.smoke(
    'low_resource',
    tmp_path / 'dir',
    f'--config.tokenizer.path={folder}',
    f'--config.tasks.sentiment.data.folder={sst2}',
  )
  assert len(summary['points']) == 4
  for point in summary['points'].values():
    assert 0 <= point['last'][low.METRIC] <= 1


def rows(own, scratch=(0.52, 0.6, 0.75), pretrained=(0.78, 0.84, 0.87)):
  at = (100, 1000, low.ALL).index(own['examples'])
  arm = scratch if 'init_from' in own else pretrained
  return [{'step': 9, low.METRIC: arm[at] + 0.001 * own['seed']}]


def test_criteria(tmp_path):
  assert common.verdicts(low, rows) == ['reproduced'] * 3

  def even(own):
    wide = rows(own, scratch=(0.62, 0.7, 0.75))
    if own['examples'] == 100 and 'init_from' in own and own['seed']:
      wide[0][low.METRIC] += 0.05  # the gain is 0.16 and 0.11
    return wide

  assert common.verdicts(low, even)[0] == 'direction only'

  def contrary(own):
    return rows(own, (0.52, 0.6, 0.5), (0.51, 0.6, 0.87))

  assert common.verdicts(low, contrary) == [
    'not reproduced',
    'reproduced',
    'not reproduced',
  ]

  def harms(own):
    return rows(own, pretrained=(0.51, 0.84, 0.87))

  assert common.verdicts(low, harms) == ['not reproduced'] * 3

  def leaks(own):  # nothing learns that much from scratch
    return rows(own, (0.52, 0.6, 0.95), (0.78, 0.84, 0.96))

  assert common.verdicts(low, leaks) == [
    'reproduced',
    'not reproduced',
    'direction only',
  ]
  assert common.verdicts(low, rows, done=False) == ['unfinished'] * 3
  common.draw(low, rows, tmp_path)
