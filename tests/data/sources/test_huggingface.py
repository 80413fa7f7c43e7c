"""Folders as `datasets` 5.2 writes them, made here, and the library's own."""

import json
import pickle

import pyarrow as pa
import pytest

from ctxlm.data.sources import huggingface
from ctxlm.errors import UserError

ROWS = [
  {'text': f'é {i}', 'tags': ['x'] * (i % 3), 'answers': {'text': [str(i)]}}
  for i in range(25)
]


def write(path, rows, batch=10):
  table = pa.Table.from_pylist(rows)
  path.parent.mkdir(parents=True, exist_ok=True)
  with pa.ipc.new_stream(str(path), table.schema) as stream:
    stream.write_table(table, max_chunksize=batch)


def save(folder, rows, shards=2, **state):
  """As Dataset.save_to_disk does."""
  names = [f'data-{n:05d}-of-{shards:05d}.arrow' for n in range(shards)]
  size = -(-len(rows) // shards)
  for n, name in enumerate(names):
    write(folder / name, rows[n * size : (n + 1) * size])
  named = {'_data_files': [{'filename': name} for name in names], **state}
  (folder / 'state.json').write_text(json.dumps(named))
  (folder / 'dataset_info.json').write_text('{}')


@pytest.fixture
def saved(tmp_path):
  folder = tmp_path / 'saved'
  save(folder / 'train', ROWS)
  save(folder / 'test', ROWS[:3], shards=1)
  (folder / 'dataset_dict.json').write_text('{"splits": ["train", "test"]}')
  return folder


@pytest.fixture
def cache(tmp_path):
  """As load_dataset leaves stanfordnlp/My-Data."""
  for config, rows in (('one', ROWS[:5]), ('two', ROWS)):
    folder = tmp_path / 'cache/stanfordnlp___my_data' / config / '0.0.0/abc'
    write(folder / 'my_data-train-00000-of-00002.arrow', rows[:2])
    write(folder / 'my_data-train-00001-of-00002.arrow', rows[2:])
    write(folder / 'my_data-validation.arrow', rows[:1])
    write(folder / 'cache-0123.arrow', rows)  # of map()
    info = {'splits': {'train': {}, 'validation': {}}}
    (folder / 'dataset_info.json').write_text(json.dumps(info))
  return tmp_path / 'cache'


def read(source, split='train'):
  records = pickle.loads(pickle.dumps(source.records(split)))
  return [records[i] for i in range(len(records))]


def test_saved_folders(saved):
  source = huggingface.Source(str(saved))
  assert read(source) == ROWS and read(source, 'test') == ROWS[:3]
  assert read(huggingface.Source(str(saved / 'test'))) == ROWS[:3]
  fields = {'text': 'answers.text.0', 'tag': 'tags.*'}
  assert read(huggingface.Source(str(saved), fields=fields)) == [
    {'text': r['answers']['text'][0], 'tag': t} for r in ROWS for t in r['tags']
  ]


def test_prepared_by_name(cache, monkeypatch):
  monkeypatch.setenv('HF_DATASETS_CACHE', str(cache))
  source = huggingface.Source('stanfordnlp/My-Data', 'two')
  assert read(source) == ROWS and read(source, 'validation') == ROWS[:1]
  with pytest.raises(UserError, match='several configs: .* one of one, two'):
    huggingface.Source('stanfordnlp/My-Data').records('train')


@pytest.mark.parametrize(
  'name, start, stop',
  [
    ('train[:80%]', 0, 20),
    ('train[80%:]', 20, 25),
    ('train[2:-3]', 2, 22),
    ('train[30:]', 25, 25),
  ],
)
def test_slices(saved, name, start, stop):
  source = huggingface.Source(str(saved), splits={'validation': name})
  if start == stop:
    with pytest.raises(UserError, match='no records'):
      source.records('validation')
  else:
    assert read(source, 'validation') == ROWS[start:stop]


def test_fingerprint_is_of_content_and_options(saved):
  def of(**options):
    return huggingface.Source(str(saved), **options).fingerprint('train')

  hashes = {
    of(),
    of(fields={'text': 'text'}),
    of(splits={'train': 'train[1:]'}),
  }
  save(saved / 'train', [*ROWS[:-1], ROWS[0]])
  hashes.add(of())
  # One of the middle, of the same size.
  other = ROWS[12] | {'text': 'é 99'}
  save(saved / 'train', [*ROWS[:12], other, *ROWS[13:]])
  hashes.add(of())
  # Of large data some records are read, but `datasets` knows what it wrote.
  for name in 'ab':
    save(saved / 'train', ROWS, _fingerprint=name)
    hashes.add(of())
  assert len(hashes) == 7


def test_mistakes(saved, tmp_path):
  def fails(match, dataset=saved, split='train', **options):
    with pytest.raises(UserError, match=match) as e:
      huggingface.Source(str(dataset), **options).records(split)
    assert '\n' not in str(e.value)

  fails("no dataset 'imdb' .*download=True", 'imdb', data_dir=str(tmp_path))
  fails("no split 'validation'. Known: test, train", split='validation')
  fails("no field 'txt'. It has: 'text', ", fields={'text': 'txt'})
  with pytest.raises(ValueError, match="'train\\[' is not like"):
    huggingface.Source('x', splits={'train': 'train['})
  state = saved / 'test' / 'state.json'
  outside = {'_data_files': [{'filename': '../../other.arrow'}]}
  state.write_text(json.dumps(outside))
  fails('leads out of its folder', split='test')
  state.write_text('{}')
  fails('state.json names no files', split='test')


def test_damage_is_one_line_and_reads_nothing_else(saved):
  path = saved / 'test' / 'data-00000-of-00001.arrow'
  good = path.read_bytes()
  path.write_bytes(good[: len(good) // 2])
  with pytest.raises(UserError, match='damaged, or no Arrow stream'):
    huggingface.Source(str(saved)).records('test')
  # The ends of the three texts, 0, 4, 8, 12 bytes: the last leads far out.
  ends = b''.join(n.to_bytes(4, 'little') for n in (0, 4, 8, 12))
  assert good.count(ends) == 1
  far = ends[:-4] + (2**30).to_bytes(4, 'little')
  path.write_bytes(good.replace(ends, far))
  with pytest.raises(UserError, match='damaged, or no Arrow stream'):
    read(huggingface.Source(str(saved)), 'test')


@pytest.mark.slow
def test_what_the_library_writes(tmp_path):
  import datasets

  whole = datasets.Dataset.from_list(ROWS)
  part = whole.shuffle(seed=0).select(range(7))
  both = datasets.DatasetDict({'train': whole, 'test': part})
  both.save_to_disk(tmp_path / 'saved', num_shards={'train': 2, 'test': 1})
  source = huggingface.Source(str(tmp_path / 'saved'))
  assert read(source) == list(whole) and read(source, 'test') == list(part)
  (tmp_path / 'My-Data').mkdir()
  whole.to_parquet(tmp_path / 'My-Data' / 'train.parquet')
  where = {'cache_dir': str(tmp_path / 'cache')}
  datasets.load_dataset(str(tmp_path / 'My-Data'), **where)
  source = huggingface.Source('My-Data', data_dir=where['cache_dir'])
  assert read(source) == list(whole)
