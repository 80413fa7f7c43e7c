"""The claims of adaptation by made-up figures, and its smallest runs."""

import pytest

from ctxlm.experiments import adaptation
from tests.experiments import common

BLOCKS = [block for block, _ in adaptation.ARMS.values()]
GOOD = dict(zip(adaptation.ARMS, (0.88, 0.88, 0.87, 0.88, 0.86, 0.85, 0.80)))


def rows_of(scores):
  def rows(own):
    arm = list(adaptation.ARMS)[BLOCKS.index(own['adapt'])]
    metric = adaptation.TASKS[own['task']]['metric']
    return [{'step': 9, metric: scores[arm] + 0.001 * own['seed']}]

  return rows


@pytest.mark.parametrize(
  ('changed', 'wanted'),
  [
    ({}, ['reproduced'] * 4),
    ({'LoRA, rank 8': 0.86}, [*['not reproduced'] * 2, *['reproduced'] * 2]),
    ({'LoRA, rank 8': 0.9}, [*['direction only'] * 2, *['reproduced'] * 2]),
    ({'probe': 0.875}, [*['reproduced'] * 2, 'direction only', 'reproduced']),
    ({'probe': 0.89}, [*['reproduced'] * 2, 'not reproduced', 'reproduced']),
    ({'prefix': 0.5}, [*['reproduced'] * 3, 'not reproduced']),
  ],
)
def test_verdicts(changed, wanted):
  assert common.verdicts(adaptation, rows_of(GOOD | changed)) == wanted


def test_shares_by_hand():
  """Of MiniLM's shape: 22.6 million, of which 384 x 8 x 4 x 6 are LoRA's."""
  h, layers, head = 384, 6, 384 * 2 + 2
  body = (30522 + 512 + 2) * h + 2 * h
  body += layers * (4 * (h * h + h) + 4 * h + 8 * h * h + 4 * h + h)
  for arm, own in {
    'probe': 0,
    'LoRA, rank 8': layers * 4 * h * 8,
    'LoRA, rank 1': layers * 4 * h,
    'prefix': layers * 2 * 8 * h,
  }.items():
    more = 0 if arm == 'probe' else own
    share = (head + own) / (body + head + more)
    assert adaptation.shares()[arm] == pytest.approx(share, rel=1e-9), arm
  assert adaptation.shares()['full'] == 1


def test_plots(tmp_path):
  common.draw(adaptation, rows_of(GOOD), tmp_path)


@pytest.mark.slow
def test_smoke(tmp_path):
  folder = common.write_bert(tmp_path / 'bert', ['the film is good bad'])
  (tmp_path / 'sst2').mkdir()
  (tmp_path / 'stsb').mkdir()
  for name in ('train', 'dev'):
    rows = [f'film {i} is {"good" if i % 2 else "bad"}' for i in range(9)]
    lines = [f'{row}\t{i % 2}\n' for i, row in enumerate(rows)]
    (tmp_path / 'sst2' / f'{name}.tsv').write_text(''.join(lines))
    lines = [f'{row},film,{i / 2}\n' for i, row in enumerate(rows)]
    (tmp_path / 'stsb' / f'stsb-en-{name}.csv').write_text(''.join(lines))
  summary = common.smoke(
    'adaptation',
    tmp_path / 'dir',
    f'--config.tokenizer.path={folder}',
    f'--config.tasks.answer.data.folder={tmp_path}',
  )
  assert len(summary['points']) == 4
