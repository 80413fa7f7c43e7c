"""Raw records."""

import types

import numpy as np
import pytest

from ctxlm.data import framing
from ctxlm.data.sources import files
from ctxlm.data.tokenizers.tokenizer import train
from ctxlm.data.views import texts
from ctxlm.errors import UserError


def test_texts(number_documents):
  view = texts.View.open(number_documents, 'x', None, 8, None)
  assert len(view) == 10 and view.read(3, None) is number_documents[3]
  with pytest.raises(UserError, match='no records'):
    texts.View.open([], 'x', None, 8, None)


def open_texts(split='train', **options):
  source = files.Source(**options)
  return texts.View.open(
    source.records(split), source.fingerprint(split), None, 8, None
  )


def read(view):
  return [view.read(i, None)['text'] for i in range(len(view))]


def test_a_file_without_documents_is_read_by_sentences(tmp_path, capsys):
  (tmp_path / 'a.txt').write_text('One a.\nOne b. Two.\n')
  pattern = {'train': str(tmp_path / '*.txt')}
  view = open_texts(split_patterns=pattern)
  assert read(view) == ['One a.', 'One b.', 'Two.']
  err = capsys.readouterr().err
  assert err.count('\n') == 1 and 'sentences are taken' in err
  # What the data or its options say is kept.
  kept = [
    open_texts(split_patterns=pattern, separator='file'),
    open_texts(split_patterns=pattern, fields={'text': 'text'}),
  ]
  assert [read(v) for v in kept] == [['One a.\nOne b. Two.']] * 2
  assert view.fingerprint not in {v.fingerprint for v in kept}
  (tmp_path / 'b.txt').write_text('A review. It is short.')
  reviews = ['One a.\nOne b. Two.', 'A review. It is short.']
  assert read(open_texts(split_patterns=pattern)) == reviews
  (tmp_path / 'b.txt').unlink()
  (tmp_path / 'a.txt').write_text('One a.\n\nOne b. Two.\n')
  documents = ['One a.', 'One b. Two.']
  assert read(open_texts(split_patterns=pattern)) == documents
  assert not capsys.readouterr().err
  for name in 'abc':
    (tmp_path / f'{name}.txt').write_text(f'A book {name}.\n' * 10_000)
  assert len(open_texts(split_patterns=pattern)) == 30_000


@pytest.mark.parametrize('text', ['7 8 ' * 5000, '9' + ' ' * 5000 + '8', '7'])
def test_only_a_texts_beginning_is_tokenised(numbers, text):
  seen = []

  def encode(part, data):
    seen.append(len(part))
    return numbers.encode(part)

  counted = types.SimpleNamespace(encode=encode)
  ids = framing.beginning(counted, text, 8)
  assert ids == numbers.encode(text)[:8]
  if text.startswith('7 8'):
    assert sum(seen) < 2000


@pytest.mark.parametrize('kind', ['bpe', 'wordpiece', 'unigram'])
def test_a_beginnings_ids_are_those_of_the_whole(kind):
  rng = np.random.default_rng(0)
  words = [
    'abc',
    'abcab',
    'c',
    'bca' * 30,
    ', ',
    '\n',
    '我们',
    'é' * 9,
    ' ' * 40,
  ]
  # With spaces now and then, after each word, and nowhere.
  some, no = (
    [''.join(rng.choice(w, 2000)) for _ in range(9)] for w in (words, words[:3])
  )
  strings = [*some, *(' '.join(rng.choice(words, 2000)) for _ in range(9)), *no]
  if kind == 'wordpiece':
    strings = strings[:18]  # no word has more than 100 characters
  tokenizer = train(kind, 320, strings)
  for text in strings:
    whole = tokenizer.encode(text)
    for length in (1, 7, 32, 10_000):
      found = framing.beginning(tokenizer, text, length)
      assert found == whole[:length]
