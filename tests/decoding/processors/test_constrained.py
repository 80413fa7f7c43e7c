"""Automata against Python's re, and what is written under them."""

import itertools
import json
import re
import types

import numpy as np
import pytest

from ctxlm import plugins
from ctxlm.decoding.grammar import automaton, regex
from ctxlm.decoding.processors import min_new_tokens
from ctxlm.decoding.rules import Rules
from ctxlm.decoding.strategies import beam, greedy, sample
from ctxlm.errors import UserError
from tests.decoding import toys

PATTERNS = [
  'abc',
  'a|bc|',
  '(ab|a)(c|bcd)?',
  'a*b+c?',
  '(a|b){2,3}',
  '(a{2}){1,2}b{0,1}',
  '[a-c]x[^a-c]',
  r'\d+(\.\d{1,2})?',
  r'[\w-]+\s\S',
  '.x.',
  '[^a]',
  '(?:é|[à-ü]z|€)+',
  '[€-￿]a|[😀-😂]',
  'a+?b*?',
  'a|ab|abc',
  'a??',
  '^(?:a|x)+$',
  r'\[\]\\',
  r'^\[\]\\$',
]
ALPHABET = ['a', 'b', 'c', 'x', '-', ' ', '7', '.', 'é', 'z', '€', '😁', '\n']


def accepts(table, ends, text):
  state = 0
  for byte in text.encode():
    state = table[state, byte]
    if state < 0:
      return False
  return bool(ends[state])


@pytest.mark.parametrize('pattern', PATTERNS)
def test_pattern_matches_what_re_does(pattern):
  table, ends = regex.matching(pattern)
  rng = np.random.default_rng(0)
  texts = [
    ''.join(t) for n in range(4) for t in itertools.product('abcx', repeat=n)
  ]
  texts += [
    ''.join(rng.choice(ALPHABET, rng.integers(1, 5))) for _ in range(3000)
  ]
  texts += ['3.14', '12', '[]\\', 'aaab', 'abbcd', 'ézà', 'a-b c', '\ud7ffa']
  compiled = re.compile(pattern)
  found = [accepts(table, ends, t) for t in texts]
  assert found == [compiled.fullmatch(t) is not None for t in texts]
  assert any(found)


def test_classes_are_unicodes():
  table, ends = regex.matching(r'\p{Lu}\w*\d')
  assert accepts(table, ends, 'Élan٣') and accepts(table, ends, 'Ж1')
  assert not accepts(table, ends, 'élan3') and not accepts(table, ends, 'Éx')


SCHEMA = {
  'type': 'object',
  'properties': {
    'name': {'type': 'string', 'maxLength': 3},
    'day': {'type': 'string', 'format': 'date'},
    'tags': {'type': 'array', 'items': {'enum': ['x', 'y']}},
  },
  'required': ['name', 'tags'],
}


@pytest.mark.parametrize('in_a_file', [False, True])
def test_a_schema_is_its_json(tmp_path, in_a_file):
  schema = json.dumps(SCHEMA)
  if in_a_file:
    (tmp_path / 'schema.json').write_text(schema)
    schema = str(tmp_path / 'schema.json')
  automaton_of = regex.matching(regex.of_schema(schema))
  day = '"day":"2026-01-31",'
  for good in ('{"name":"Aé","tags":[]}', '{"name":"","tags":["x","y"]}'):
    assert accepts(*automaton_of, good)
    assert accepts(*automaton_of, good.replace('"tags"', f'{day}"tags"'))
  for bad in (
    '{"name":"long","tags":[]}',
    '{"tags":[]}',
    '{"name":"a","tags":["z"]}',
    '{"name":"a","day":"2026-13-31","tags":[]}',
    '{"name":"a","day":"٢٠٢٦-01-31","tags":[]}',
    '{"name":"a","tags":[]',
  ):
    assert not accepts(*automaton_of, bad)


@pytest.mark.parametrize(
  'schema, wanted',
  [
    ('{"type":"foo"}', 'foo'),
    ('{"type":', 'Expecting value'),
    ('/none.json', "can't read /none.json"),
    ('{"$ref":"#"}', 'limit'),
  ],
)
def test_unknown_schemas_are_one_line(schema, wanted):
  with pytest.raises(UserError) as e:
    regex.of_schema(schema)
  assert wanted in str(e.value) and '\n' not in str(e.value)


def test_strings_within_text_are_as_searched():
  strings = ['ab', 'bcb', 'bcbcx', 'é', 'aab']
  table, ends = regex.containing(strings)
  rng = np.random.default_rng(0)
  for _ in range(2000):
    text = ''.join(rng.choice(list('abcxé'), rng.integers(0, 8)))
    assert accepts(table, ends, text) == any(s in text for s in strings)


@pytest.mark.parametrize(
  'pattern, wanted',
  [
    ('a(b', 'unterminated'),
    (r'(a)\1', 'references'),
    ('b|^a', 'anchors'),
    ('(?=a)b', 'look-arounds'),
    ('(' * 500 + 'a' + ')' * 500, '250 deep'),
    ('a{60}', 'states, more than 60'),
    ('((a{100}){100}){100}', 'too many states'),
  ],
  ids=lambda text: text[:20],
)
def test_unknown_patterns_are_one_line(monkeypatch, pattern, wanted):
  monkeypatch.setattr(regex, 'MOST_SECONDS', 4)
  monkeypatch.setattr(regex, 'MOST_STATES', 60)
  with pytest.raises(UserError) as e:
    regex.matching(pattern)
  assert wanted in str(e.value) and '\n' not in str(e.value)


# A vocabulary of pieces; the last two stand for no text.
PIECES = ['a', 'b', 'ab', 'ba', 'abc', 'c', ' ', ' a', 'é'.encode()[:1]]
PIECES += ['é'.encode()[1:], '1', '23', '.', 'yes', 'no', 'ye', 's', None, None]
BYTES = [p.encode() if isinstance(p, str) else p for p in PIECES]
V, EOS = len(PIECES), len(PIECES) - 1
TOKENIZER = types.SimpleNamespace(
  token_bytes=BYTES,
  strips_first=False,
  tidies=False,
  token_id=lambda t: None,
)
TIDY = types.SimpleNamespace(tidies=True)
TABLE = np.random.default_rng(0).normal(0, 1, (V, V)).astype(np.float32)


def build(tokenizer=TOKENIZER, most=6, **block):
  return plugins.build(
    'decoding.processors',
    {'name': 'constrained', **block},
    tokenizer=tokenizer,
    vocab_size=V,
    eos_ids=(EOS,),
    max_new_tokens=most,
  )


def texts(found):
  return [
    b''.join(BYTES[t] or b'' for t in row[:n]).decode()
    for row, n in zip(found['tokens'], found['lengths'], strict=True)
  ]


@pytest.mark.parametrize(
  'pattern', ['(ab|c)*', r'\d(\.\d\d)?', 'é+a?', 'b{3}.*', 'yes|no']
)
@pytest.mark.parametrize(
  'strategy',
  [sample.Strategy(), greedy.Strategy(), beam.Strategy(3, num_best=3)],
  ids=['sample', 'greedy', 'beam'],
)
def test_what_is_written_matches(pattern, strategy):
  processor = build(pattern=pattern)
  found = toys.write(
    strategy,
    toys.markov(TABLE),
    np.zeros((40, 1)),
    new=6,
    rules=Rules((processor,), (EOS,), EOS),
  )
  written = texts(found)
  if 'scores' in found:  # beams beyond the last that there are
    written = [t for t, s in zip(written, found['scores']) if s > -1e8]
  assert all(re.fullmatch(pattern, t) for t in written), written
  assert len(written) >= 40
  if isinstance(strategy, sample.Strategy) and strategy.random:
    assert len(set(written)) > 1


@pytest.mark.parametrize(
  'strategy',
  [sample.Strategy(), greedy.Strategy(), beam.Strategy(3, num_best=3)],
  ids=['sample', 'greedy', 'beam'],
)
def test_where_nothing_may_be_written_the_text_ends(strategy):
  # Two rules that agree on no text.
  longer = min_new_tokens.Processor(count=5, eos_ids=(EOS,))
  found = toys.write(
    strategy,
    toys.markov(TABLE),
    np.zeros((8, 1)),
    new=6,
    rules=Rules((build(strings=('abc', 'no', '23')), longer), (EOS,), EOS),
  )
  written = texts(found)
  assert {'abc', 'no', '23'} >= set(written) - {''} and any(written)
  if 'scores' not in found:
    return
  # A beam that is none is no text, whatever its score.
  for row, score in zip(found['tokens'], found['scores'], strict=True):
    assert (score < -1e8) == (row == EOS).all()
  for i in range(0, len(written), 3):
    rows = [tuple(r) for r in found['tokens'][i : i + 3] if (r != EOS).any()]
    assert len(set(rows)) == len(rows)


@pytest.mark.parametrize('early_stopping', [True, False, 'never'])
def test_a_beam_that_is_none_is_no_text(early_stopping):
  letters = [None, *(c.encode() for c in 'abcde')]
  tokenizer = types.SimpleNamespace(
    token_bytes=letters, strips_first=False, tidies=False
  )
  processor = plugins.build(
    'decoding.processors',
    {'name': 'constrained', 'strings': ('ab', 'cde')},
    tokenizer=tokenizer,
    vocab_size=6,
    eos_ids=(0,),
    max_new_tokens=6,
  )
  found = toys.write(
    beam.Strategy(4, num_best=4, early_stopping=early_stopping),
    toys.markov(TABLE[:6, :6]),
    [[1]],
    new=6,
    rules=Rules((processor,), (0,), 0),
  )
  written = [
    tuple(row[:n]) for row, n in zip(found['tokens'], found['lengths'])
  ]
  assert sorted(written) == [(), (), (1, 2, 0), (3, 4, 5, 0)]
  real = found['scores'] > -1e8
  assert real.tolist() == [True, True, False, False]


def test_draws_are_the_models_given_the_set():
  # p(text | it is one of the set), where each text has one cut into tokens.
  strings = ('a', '1', '23', 'no')
  processor = build(strings=strings)
  n = 20_000
  found = toys.write(
    sample.Strategy(),
    toys.markov(TABLE),
    np.zeros((n, 1)),
    new=1,
    rules=Rules((processor,), (EOS,), EOS),
  )
  p = np.array([np.exp(TABLE[0, PIECES.index(s)]) for s in strings])
  counts = np.array([texts(found).count(s) for s in strings])
  assert counts.sum() == n
  assert toys.chi_square(counts, n * p / p.sum()) > 1e-3


def test_a_first_space_is_left_out_as_decoders_do():
  tokenizer = types.SimpleNamespace(
    token_bytes=BYTES, strips_first=True, tidies=False
  )
  processor = build(tokenizer, strings=('a a',))
  a, distance = processor.compiled
  assert distance[a.first] == 2
  first = {i for i in range(V) if a.next[a.first, a.classes[i]] >= 0}
  assert {PIECES[i] for i in first} == {'a', ' a'}


@pytest.mark.parametrize(
  'block, wanted',
  [
    ({'pattern': 'q+'}, 'no text of this vocabulary matches q+'),
    ({'pattern': r'[^\s\S]'}, 'no text matches it'),
    ({'pattern': 'a', 'tokenizer': TIDY}, 'decoder leaves out spaces'),
    ({'pattern': 'a{9}'}, 'needs 9 tokens, more than the 6'),
    ({'strings': (1, 2)}, 'strings are texts'),
    ({'strings': ('zebra', 'ox')}, "matches 'zebra', 'ox'"),
    ({'pattern': 'a(', 'most': 2}, 'regular expression'),
    ({'pattern': 'a', 'strings': ('a',)}, 'give strings, a pattern, or a'),
  ],
)
def test_mistakes_are_one_line(block, wanted):
  with pytest.raises(UserError) as e:
    build(**block)
  assert wanted in str(e.value) and '\n' not in str(e.value)


def test_json_of_a_schema_is_written():
  pieces = ['{"a":', '1', '23', '}', '"', 'x', '-', None]
  tokenizer = types.SimpleNamespace(
    token_bytes=[p and p.encode() for p in pieces],
    strips_first=False,
    tidies=False,
  )
  schema = {'properties': {'a': {'type': 'integer'}}, 'required': ['a']}
  processor = plugins.build(
    'decoding.processors',
    {'name': 'constrained', 'schema': json.dumps({'type': 'object'} | schema)},
    tokenizer=tokenizer,
    vocab_size=8,
    eos_ids=(7,),
    max_new_tokens=6,
  )
  a, distance = processor.compiled
  assert distance[a.first] == 3  # {"a": 1 }
  state = a.first
  for token in (0, 6, 2, 3):  # {"a": - 23 }
    assert a.next[state, a.classes[5]] < 0  # never x
    state = a.next[state, a.classes[token]]
  assert a.accepts[state]


def test_distances_and_classes():
  a = automaton.over_vocabulary(*regex.matching('(abc)*'), BYTES)
  far = automaton.distances(a)
  assert far[a.first] == 0 and a.next.shape[1] < V
  after = a.next[a.first, a.classes[PIECES.index('ab')]]
  assert far[after] == 1 and not a.accepts[after]
