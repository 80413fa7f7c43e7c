import gzip

import pytest

from ctxlm import plugins
from ctxlm.data.sources import splits
from ctxlm.errors import UserError


def source(**options):
  # As a config has it.
  return plugins.build('data.sources', {'name': 'files', **options})


def read(made, split='train'):
  records = made.records(split)
  return [records[i] for i in range(len(records))]


@pytest.fixture
def pair(tmp_path):
  (tmp_path / 'a.en').write_text('one\n two\n\nfour\nfive')
  (tmp_path / 'a.de.gz').write_bytes(
    gzip.compress(b'eins\r\nzwei\r\n\r\n\r\nf\xc3\xbcnf\r\n')
  )
  return {'en': str(tmp_path / 'a.en'), 'de': str(tmp_path / '*.de.gz')}


def test_line_i_of_one_is_line_i_of_the_other(pair, capsys):
  found = read(source(split_patterns={'train': pair}))
  assert found == [
    {'en': 'one', 'de': 'eins'},
    {'en': ' two', 'de': 'zwei'},
    {'en': 'five', 'de': 'fünf'},
  ]
  assert '2 lines of which one is empty' in (err := capsys.readouterr().err)
  assert 'the first of them line 3' in err
  swapped = source(
    split_patterns={'train': pair}, fields={'text_a': 'de', 'text_b': 'en'}
  )
  assert read(swapped)[0] == {'text_a': 'eins', 'text_b': 'one'}


def test_pairs_stay_together_in_splits(tmp_path):
  for name in 'ab':
    lines = '\n'.join(f'{name} {i}' for i in range(400))
    (tmp_path / name).write_text(lines)
  made = source(aligned={f'text_{n}': str(tmp_path / n) for n in 'ab'})
  found = [r for split in splits.SPLITS for r in read(made, split)]
  assert len(found) == 400
  assert all(r['text_a'][1:] == r['text_b'][1:] for r in found)
  assert 310 < len(read(made)) < 390


def test_other_numbers_are_named(pair, tmp_path):
  (tmp_path / 'b.de.gz').write_bytes(b'eins')
  made = source(split_patterns={'train': pair})
  with pytest.raises(UserError, match="1 of 'en' and 2 of 'de'"):
    made.records('train')
  (tmp_path / 'b.de.gz').unlink()
  (tmp_path / 'a.en').write_text('one\n')
  with pytest.raises(UserError, match='a.en has 1 and .*a.de.gz has 5') as e:
    made.records('train')
  assert '\n' not in str(e.value)


def test_fingerprint_is_of_each_field(pair):
  names = [*pair]
  other = dict(zip(names, [*pair.values()][::-1]))
  hashes = {
    source(split_patterns={'train': p}).fingerprint('train')
    for p in (pair, other)
  }
  assert len(hashes) == 2


def test_one_way_of_naming_files():
  with pytest.raises(UserError, match='one of pattern, aligned and split_'):
    source(pattern='a', aligned={'en': 'b'})
