"""CPython's documentation, as a data set."""

import pytest

from ctxlm.data.sources import corpus, prose, splits
from ctxlm.errors import UserError

pytestmark = pytest.mark.usefixtures('prepared')


@pytest.mark.parametrize(
  'text, expected',
  [
    # Lines are joined; a signature and a doctest are left out.
    ('open(file, mode="r") -> file object\n\n'
     'Open a file and return\na stream of it.\n\n>>> open("x")\n',
     ['Open a file and return a stream of it.']),
    # A list's items are paragraphs, an underlined heading is none.
    ('The Heading Of This Text\n========================\n\n'
     '* The first of the items is this.\n'
     '* The second goes on\n  in another line.\n',
     ['The first of the items is this.',
      'The second goes on in another line.']),
    # reStructuredText's marks.
    ('Call :meth:`~Queue.get` to *read* the ``next`` item [3].',
     ['Call Queue.get to read the "next" item.']),
    # Too short; code; a table.
    ('Too short.\n\nfor x in range(3): print(x_y, a=b, {c}, d[e])\n\n'
     '+---+---+\n| a | b |\n', []),
  ],
)  # fmt: skip
def test_prose_by_hand(text, expected):
  assert prose.paragraphs(text) == expected


@pytest.fixture(scope='module')
def documents(cache_root, prepared):
  with pytest.MonkeyPatch.context() as patch:
    patch.setenv('CTXLM_CACHE', str(cache_root))
    found = {}
    for split in splits.SPLITS:
      records = corpus.Source().records(split)
      found[split] = [records[i] for i in range(len(records))]
  return found


def test_splits_share_no_document_and_no_paragraph(documents):
  seen, names = set(), set()
  for records in documents.values():
    own = {p for r in records for p in r['text'].split('\n')}
    assert not own & seen
    seen |= own
    assert not {r['name'] for r in records} & names
    names |= {r['name'] for r in records}
  assert {'topic/compound', 'module/argparse', 'module/json'} <= names


def test_it_is_about_a_megabyte_in_90_5_5(documents):
  sizes = {s: sum(len(r['text']) for r in d) for s, d in documents.items()}
  total = sum(sizes.values())
  assert 700_000 < total < 3_000_000
  for split, share in zip(splits.SPLITS, (0.9, 0.05, 0.05)):
    assert abs(len(documents[split]) / 520 - share) < 0.06
    assert abs(sizes[split] / total - share) < 0.05, sizes


def test_most_words_are_english(documents):
  words = [
    w.strip('.,;:()"').lower()
    for r in documents['train']
    for w in r['text'].split()
  ]
  common = {'the', 'a', 'of', 'to', 'is', 'and', 'in', 'if', 'for', 'be'}
  share = sum(w in common for w in words) / len(words)
  assert 0.2 < share < 0.4  # 0.25 in English at large


def test_units_and_fields(documents):
  paragraphs = corpus.Source(unit='paragraph').records('test')
  expected = [p for r in documents['test'] for p in r['text'].split('\n')]
  found = [paragraphs[i] for i in range(len(paragraphs))]
  assert [p['text'] for p in found] == expected
  owner = documents['test'][found[-1]['document']]
  assert found[-1]['text'] in owner['text']
  sentences = corpus.Source(unit='sentence').records('test')
  assert len(sentences) > len(paragraphs)
  renamed = corpus.Source(fields={'title': 'name'}).records('test')[0]
  assert renamed == {'title': documents['test'][0]['name']}


def test_fingerprints_tell_apart():
  source = corpus.Source()
  found = [source.fingerprint(s) for s in splits.SPLITS]
  found.append(corpus.Source(unit='sentence').fingerprint('train'))
  assert len(set(found)) == 4
  assert corpus.Source().fingerprint('train') == found[0]


def test_mistakes():
  with pytest.raises(UserError, match="Did you mean 'validation'"):
    corpus.Source().records('valid')
  with pytest.raises(UserError, match="no field 'body'"):
    corpus.Source(fields={'text': 'body'}).records('test')


def test_two_processes_prepare_at_once_with_no_network(
  cache_root, prepared, documents
):
  expected = corpus.Source().fingerprint('train')
  name = documents['test'][0]['name']
  assert prepared == [(0, f'{expected} {name}\n', '')] * 2
  assert len(list((cache_root / 'corpus').iterdir())) == 1
