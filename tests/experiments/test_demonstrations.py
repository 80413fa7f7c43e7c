"""The claims of demonstrations by made-up figures, and its smallest run."""

import pytest

from ctxlm.experiments import demonstrations
from tests.experiments import common
from tests.inference import test_harness

NAN = float('nan')
GOOD = {
  'none': 0.5,
  'gold': 0.8,
  'random': 0.78,
  'other': 0.6,
  'nearest': 0.85,
  'order': 0.6,
  'calibrated': 0.75,
  'order_spread': 0.1,
  'calibrated_spread': 0.02,
}
CHANCE = 1 / 3  # mean of a half, a third and a sixth
DEVIATION = (8 / 7) ** 0.5  # of 8 orders, half above and half below by 1


def rows(own, **changed):
  """Accuracies of the arms, the same on all sets; a seed has up to 0.002 more.

  Half of the orders are above their mean by their spread, and half below.
  """
  scores, found = GOOD | changed, {}
  judge = demonstrations.Evaluator(shots=(1, 4, 16))
  for name in judge.arms({'0': 'a', '1': 'b'}):
    kind, _, number = name.partition('_')
    value = scores.get(name, 0.7)
    if kind in ('order', 'calibrated'):
      sign = 1 if int(number) % 2 else -1
      value = scores[kind] + sign * scores[f'{kind}_spread']
    found[f'eval/shown/{name}'] = value + 0.001 * (own['seed'] % 3)
  return [{'step': 0} | found]


CASES = [
  ({}, 'RRRRRRR'),
  ({'random': 0.7501}, 'RRRRRRR'),
  ({'random': 0.7495}, 'NRRRRRR'),
  ({'random': 0.8505}, 'NRRRRRR'),
  ({'none': 0.7602}, 'RDRRRRR'),
  ({'none': 0.7701}, 'RNRRRRR'),
  ({'other': 0.7305}, 'RRDRRRR'),
  ({'other': 0.7701}, 'RRNRRRR'),
  ({'order_spread': 0.04975, 'calibrated_spread': 0.0}, 'RRRDRRR'),
  ({'order_spread': 0.02475, 'calibrated_spread': 0.0}, 'RRRNRRR'),
  ({'calibrated': 0.6295}, 'RRRRDRR'),
  ({'calibrated': 0.6099}, 'RRRRNRR'),
  ({'calibrated_spread': 0.1 - 0.0099 / DEVIATION}, 'RRRRRDR'),
  ({'calibrated_spread': 0.1 - 0.00495 / DEVIATION}, 'RRRRRNR'),
  ({'nearest': 0.8198}, 'RRRRRRD'),
  ({'nearest': 0.8099}, 'RRRRRRN'),
  # Demonstrations teach nothing; no number.
  ({'gold': CHANCE + 0.0495}, 'UUURRRU'),
  ({'gold': NAN}, 'UUURRRU'),
]


def test_criteria():
  common.check(demonstrations, rows, CASES)


def test_plots():
  common.draw(demonstrations, rows)


def test_other_words_are_of_no_set():
  for module in demonstrations.SETS.values():
    own = module.get_task()['verbalisers'].values()
    assert len(own) <= len(demonstrations.WORDS)
    assert not {*own} & {*demonstrations.WORDS}


@pytest.mark.slow
def test_smoke(tmp_path):
  folder = tmp_path / 'gpt2'
  folder.mkdir()
  test_harness.make(folder, 'gpt2')
  texts = ['the film is good bad']
  encoder = common.write_bert(tmp_path / 'bert', texts)
  (encoder / 'modules.json').write_text(MODULES)
  (encoder / '1_Pooling').mkdir()
  (encoder / '1_Pooling/config.json').write_text(POOLING)
  (tmp_path / 'sst2').mkdir()
  for name in ('train', 'dev'):
    rows = [f'film {i} is {"good" if i % 2 else "bad"}' for i in range(9)]
    lines = [f'{row}\t{i % 2}\n' for i, row in enumerate(rows)]
    (tmp_path / 'sst2' / f'{name}.tsv').write_text(''.join(lines))
  block = f"{{'train': '{tmp_path}/sst2/train.tsv'}}"
  summary = common.smoke(
    'demonstrations',
    tmp_path / 'dir',
    f'--config.tokenizer.path={folder}',
    f'--config.tasks.text.data.split_patterns={block}',
    f'--config.evaluators.shown.folder={tmp_path}',
    f'--config.evaluators.shown.encoder={encoder}',
  )
  assert len(summary['points']) == 1


MODULES = """[
  {"idx": 0, "name": "0", "path": "",
   "type": "sentence_transformers.models.Transformer"},
  {"idx": 1, "name": "1", "path": "1_Pooling",
   "type": "sentence_transformers.models.Pooling"}
]"""
POOLING = '{"word_embedding_dimension": 16, "pooling_mode_mean_tokens": true}'
