"""The claims of adaptation by made-up figures, and its smallest runs."""

import pytest

from ctxlm.experiments import adaptation
from tests.experiments import common

NAN = float('nan')
BLOCKS = [block for block, _ in adaptation.ARMS.values()]
GOOD = dict(zip(adaptation.ARMS, (0.88, 0.88, 0.87, 0.88, 0.86, 0.85, 0.80)))


def rows(own, sst2=None, stsb=None, spread=0.0):
  """Scores of the arms, the same on both tasks; a seed has 0.001 more.

  The probe's are spread over seeds, with the same mean.
  """
  arm = list(adaptation.ARMS)[BLOCKS.index(own['adapt'])]
  metric = adaptation.TASKS[own['task']]['metric']
  scores = GOOD | ({'sst2': sst2, 'stsb': stsb}[own['task']] or {})
  more = 0.001 * (own['seed'] % 3)
  more += spread * (own['seed'] % 2 - 0.4) * (arm == 'probe')
  return [{'step': 9, metric: scores[arm] + more}]


LORA, PROBE = 'LoRA, rank 8', 'probe'
CASES = [
  ({}, 'RRRR'),
  ({'sst2': {LORA: 0.8701}}, 'RRRR'),
  ({'sst2': {LORA: 0.8699}}, 'NRRR'),
  ({'sst2': {LORA: 0.8899}}, 'RRRR'),
  ({'sst2': {LORA: 0.8901}}, 'NRRR'),
  ({'stsb': {LORA: 0.8699}}, 'RNRR'),
  ({'stsb': {LORA: 0.8901}}, 'RNRR'),
  ({'sst2': {PROBE: 0.8699}}, 'RRRR'),
  ({'sst2': {PROBE: 0.8701}}, 'URNR'),
  ({'stsb': {PROBE: 0.8699}}, 'RRRR'),
  ({'stsb': {PROBE: 0.8701}}, 'RUNR'),
  # Broken: chance, no number, a score that nobody has.
  ({'sst2': dict.fromkeys(GOOD, 0.51)}, 'URUN'),
  ({'sst2': {'full': NAN}}, 'URUU'),
  ({'stsb': dict.fromkeys(GOOD, 0.99)}, 'RUUN'),
  ({'sst2': {PROBE: 0.8699}, 'spread': 0.01}, 'URDR'),
  ({'sst2': {PROBE: 0.8701}, 'spread': 0.01}, 'URNR'),
]


def at_the_bounds(task):
  """Yields cases beside what an arm is to have; a seed has up to 0.002 more."""
  low, high = (adaptation.TASKS[task][name] for name in ('least', 'most'))
  for change, letters in (
    ({'full': low - 0.0005, LORA: low + 0.004, PROBE: low - 0.02}, 'URUN'),
    ({'full': low + 0.004, LORA: low - 0.0005, PROBE: low - 0.02}, 'URUN'),
    ({'full': low - 0.0005, PROBE: low + 0.001}, 'URUN'),
    ({'full': low + 0.02, LORA: low + 0.02, PROBE: low - 0.0005}, 'RRUN'),
    ({'full': high - 0.0015, LORA: high - 0.006}, 'URUN'),
    ({'full': high - 0.006, LORA: high - 0.0015}, 'URRN'),
    ({'full': high - 0.006, LORA: high - 0.006, PROBE: high - 0.0015}, 'URUN'),
    ({'full': high - 0.003, LORA: high - 0.003}, 'RRRR'),
    ({LORA: low - 0.0005}, 'URRN'),
    *(
      ({arm: at}, 'RRRN')
      for arm in adaptation.ARMS
      if arm not in ('full', LORA, PROBE)
      for at in (low - 0.0005, high - 0.0015)
    ),
  ):
    if task == 'stsb':
      letters = letters[1] + letters[0] + letters[2:]
    yield {task: change}, letters


def test_criteria():
  cases = [*CASES, *at_the_bounds('sst2'), *at_the_bounds('stsb')]
  common.check(adaptation, rows, cases, without=('share of the parameters',))


@pytest.mark.parametrize('share, verdict', [(0.0099, 'R'), (0.0101, 'N')])
def test_low_rank_updates_are_few(monkeypatch, share, verdict):
  monkeypatch.setattr(adaptation, 'share', {LORA: share}.get)
  judged = common.results(adaptation, rows)
  for claim in adaptation.criteria()[:2]:
    assert claim.check(judged).verdict(5, 5) == common.LETTERS[verdict]


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
    assert adaptation.share(arm) == pytest.approx(share, rel=1e-9), arm
  assert adaptation.share('full') == 1


def test_plots():
  common.draw(adaptation, rows)


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
  assert len(summary['points']) == 2
