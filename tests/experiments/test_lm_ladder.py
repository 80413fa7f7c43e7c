import numpy as np
import pytest

from ctxlm.errors import UserError
from ctxlm.experiments import lm_ladder as ladder
from tests.experiments import common

WORDS = np.array(['the', 'cat', 'saw', 'a', 'dog', ',', 'and'])


@pytest.fixture
def text(tmp_path):
  """A file of 400 words."""
  words = np.random.default_rng(0).choice(WORDS, 400)
  path = tmp_path / 'text.txt'
  path.write_text('\n'.join(map(' '.join, words.reshape(-1, 20))))
  return path


@pytest.mark.slow
def test_smoke(text, tmp_path):
  summary = common.smoke(
    'lm_ladder',
    tmp_path / 'dir',
    f'--config.tasks.text.data.path={text}',
  )
  assert len(summary['points']) == 3
  for point in summary['points'].values():
    last = {k.split('/')[-1]: v for k, v in point['last'].items()}
    assert last['train_words'] == 272 and last['test_words'] == 60
    assert 1 < last['half'] < 20 and 0 <= last['nearest_share'] <= 1


def test_words_of_a_file_are_cut_in_its_order(tmp_path):
  path = tmp_path / 'text.txt'
  path.write_text('a b a\nb a rare b\n\na b c a c c b\n')
  source = ladder.Source(str(path), train=7, validation=3, rare=1)
  parts = [source.words(s) for s in ('train', 'validation', 'test')]
  assert list(map(' '.join, parts)) == ['a b a b a <unk> b', 'a b c', 'a c c b']
  prints = {source.fingerprint(s) for s in ('train', 'validation', 'test')}
  assert len(prints) == 3
  # 68 and 17 of 100.
  lengths = [len(ladder.Source(str(path)).words(s)) for s in ('train', 'test')]
  assert lengths == [9, 3]


def test_lines_of_a_folders_files_end(tmp_path):
  for name in ('train', 'valid', 'test'):
    (tmp_path / f'ptb.{name}.txt').write_text(f' {name} <unk> \n one\n')
  source = ladder.Source(str(tmp_path))
  assert ' '.join(source.words('validation')) == 'valid <unk> <eos> one <eos>'
  assert source.words('test')[0] == 'test'
  (tmp_path / 'other.test.txt').write_text('two')
  with pytest.raises(UserError, match='has 2 files'):
    source.words('test')


def test_too_few_words_are_said(tmp_path):
  (tmp_path / 'empty').write_text('\n \n')
  (tmp_path / 'few').write_text('one two three')
  for name, split in (('empty', 'train'), ('few', 'validation')):
    with pytest.raises(UserError, match=f'{split!r} has 0 words'):
      ladder.Source(str(tmp_path / name)).words(split)
  with pytest.raises(UserError, match="can't read"):
    ladder.Source(str(tmp_path / 'none')).words('train')
  with pytest.raises(UserError, match='dev'):
    ladder.Source().words('dev')


NAN = float('nan')
ALONE = {'NNLM': 300.0, 'LSTM': 250.0, 'Transformer': 270.0}
TEXT = {
  'train_words': 929589,
  'counts_1': 700.0,
  'counts_3': 150.0,
  'counts_5': 141.1,
  'counts_cache': 126.6,
  'counts_3_validation': 334.2,
  'counts_4_validation': 332.2,
  'counts_5_validation': 331.2,
}
TEXT |= {'counts_cache_gain': 0.1, 'counts_cache_low': 0.08}
TEXT |= {'counts_cache_share': 0.1}
BROWN = {'train_words': 800000}


def rows(own, text=None, alone=None, half=100.0, **mixed):
  """`mixed`: {'cache' or 'nearest': {rung: {'gain', 'low' or 'share': it}}}."""
  names = {name: rung for rung, name in ladder.RUNGS.items()}
  rung, seed = names[own['model']['name']], own['seed']
  found = TEXT | {'alone': (ALONE | (alone or {}))[rung], 'half': half}
  for kind in ('cache', 'nearest'):
    said = {'gain': 0.1, 'low': 0.05, 'share': 0.2}
    said |= mixed.get(kind, {}).get(rung, {})
    found |= {f'{kind}_{what}': value for what, value in said.items()}
    found[kind] = found['alone'] * np.exp(-said['gain'])
  found |= text or {}
  for name in ('alone', 'half'):  # seeds differ, and all of them alike
    found[name] *= 1 + 1e-5 * (seed % 5)
  found = {f'eval/ladder/{k}': float(v) for k, v in found.items()}
  return [{'step': 9} | found]


def widened(kind, letters):
  """Returns the cases of the cache, or of neighbours; `letters` has {}."""
  cases = []
  for rung in ladder.RUNGS:
    for change, letter in (
      ({'low': 0.0009}, 'R'),
      ({'low': -0.0009}, 'D'),
      ({'low': -0.0009, 'gain': 0.0101}, 'D'),
      ({'low': -0.0009, 'gain': 0.0099}, 'N'),
      ({'share': 0.00501}, 'R'),
      ({'share': 0.00499}, 'D'),
      ({'share': 0.4949}, 'R'),
      ({'share': 0.4951}, 'D'),
    ):
      cases.append(({kind: {rung: change}}, letters.format(letter)))
  return cases


UNIGRAMS = 700 * np.exp(-0.1)
CASES = [
  ({}, 'RRRRR'),
  # Broken: a model that has learned nothing.
  ({'alone': dict.fromkeys(ALONE, NAN)}, 'RUUUU'),
  ({'text': {'train_words': 929588}}, 'ORRRR'),
  ({'text': {'train_words': 799999}}, 'ORRRR'),
  ({'text': {'counts_5': 140.6}}, 'RRRRR'),
  ({'text': {'counts_5': 140.4}}, 'NRRRR'),
  ({'text': {'counts_5': 141.7}}, 'RRRRR'),
  ({'text': {'counts_5': 141.9}}, 'NRRRR'),
  ({'text': {'counts_cache': 124.1}}, 'RRRRR'),
  ({'text': {'counts_cache': 123.9}}, 'NRRRR'),
  ({'text': {'counts_cache': 127.9}}, 'RRRRR'),
  ({'text': {'counts_cache': 128.1}}, 'NRRRR'),
  ({'half': 141.0}, 'RRRRR'),
  ({'half': 141.2}, 'RNRRR'),
  ({'alone': {'NNLM': 100.1, 'LSTM': 90}}, 'RRRRR'),
  ({'alone': {'NNLM': 99.9, 'LSTM': 90}}, 'RNRRR'),
  ({'alone': {'LSTM': 299.9}}, 'RRRRR'),
  ({'alone': {'LSTM': 300.1}}, 'RRNRR'),
  ({'alone': {'NNLM': 0.999 * UNIGRAMS}}, 'RRRRR'),
  ({'alone': {'NNLM': 1.001 * UNIGRAMS}}, 'RUUUU'),
  ({'alone': {'LSTM': 0.999 * UNIGRAMS, 'NNLM': 632}}, 'RRNRR'),
  ({'alone': {'LSTM': 1.001 * UNIGRAMS}}, 'RRUUU'),
  ({'alone': {'Transformer': 0.999 * UNIGRAMS}}, 'RRRRR'),
  ({'alone': {'Transformer': 1.001 * UNIGRAMS}}, 'RRRUU'),
  *widened('cache', 'RRR{}R'),
  *widened('nearest', 'RRRR{}'),
  ({'text': {'counts_cache_low': 0.0009}}, 'RRRRR'),
  ({'text': {'counts_cache_low': -0.0009}}, 'RRRDR'),
  ({'text': {'counts_cache_share': 0.00501}}, 'RRRRR'),
  ({'text': {'counts_cache_share': 0.00499}}, 'RRRDR'),
  ({'text': {'counts_cache_share': 0.4949}}, 'RRRRR'),
  ({'text': {'counts_cache_share': 0.4951}}, 'RRRDR'),
]


def test_criteria():
  common.check(ladder, rows, CASES)


@pytest.mark.parametrize('order, wanted', [(3, 334), (4, 332), (5, 331)])
def test_criteria_of_brown(order, wanted):
  def verdict(value):
    text = BROWN | {f'counts_{order}_validation': value}
    made = common.results(ladder, lambda own: rows(own, text=text))
    return ladder.criteria()[0].check(made).verdict(5, 5)

  for value in (wanted - 0.99, wanted + 0.99):
    assert verdict(value) == 'reproduced'
  for value in (wanted - 1.01, wanted + 1.01):
    assert verdict(value) == 'not reproduced'


def test_plots():
  common.draw(ladder, rows)
