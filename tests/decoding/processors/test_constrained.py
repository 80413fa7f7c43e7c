"""Automata against Python's re, and what is written under them."""

import itertools
import re
import types

import numpy as np
import pytest

from ctxlm import plugins
from ctxlm.decoding.grammar import automaton, regex
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
  r'\[\]\\',
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
  compiled = re.compile(pattern, re.ASCII)
  found = [accepts(table, ends, t) for t in texts]
  assert found == [compiled.fullmatch(t) is not None for t in texts]
  assert any(found)


def test_utf8_ranges_are_exactly_the_characters():
  rng = np.random.default_rng(0)
  edges = [0, 0x7F, 0x80, 0x7FF, 0x800, 0xD7FF, 0xE000, 0xFFFF, 0x10FFFF]
  for _ in range(60):
    low, high = sorted(rng.choice([*edges, *rng.integers(0, 0x110000, 9)], 2))
    total = 0
    for sequence in regex.utf8(int(low), int(high)):
      total += np.prod([b - a + 1 for a, b in sequence])
      assert all(0x80 <= a <= b < 0xC0 for a, b in sequence[1:])
    surrogates = max(0, min(high, 0xDFFF) - max(low, 0xD800) + 1)
    assert total == high - low + 1 - surrogates


@pytest.mark.parametrize(
  'pattern, wanted',
  [
    ('a(b', 'unterminated'),
    (r'(a)\1', 'groupref'),
    ('^a', 'at is not known'),
    ('(?=a)b', 'assert is not known'),
    ('((a{100}){100}){100}', 'states'),
  ],
)
def test_unknown_patterns_are_one_line(pattern, wanted):
  with pytest.raises(UserError) as e:
    regex.matching(pattern)
  assert wanted in str(e.value) and '\n' not in str(e.value)


# A vocabulary of pieces; the last two stand for no text.
PIECES = ['a', 'b', 'ab', 'ba', 'abc', 'c', ' ', ' a', 'é'.encode()[:1]]
PIECES += ['é'.encode()[1:], '1', '23', '.', 'yes', 'no', 'ye', 's', None, None]
BYTES = [p.encode() if isinstance(p, str) else p for p in PIECES]
V, EOS = len(PIECES), len(PIECES) - 1
TOKENIZER = types.SimpleNamespace(
  token_bytes=BYTES, strips_first=False, token_id=lambda t: None
)
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
  assert all(re.fullmatch(pattern, t, re.ASCII) for t in written), written
  assert len(written) >= 40
  if isinstance(strategy, sample.Strategy) and strategy.random:
    assert len(set(written)) > 1


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
  tokenizer = types.SimpleNamespace(token_bytes=BYTES, strips_first=True)
  processor = build(tokenizer, strings=('a a',))
  a, distance = processor.compiled
  assert distance[a.first] == 2
  first = {i for i in range(V) if a.next[a.first, a.classes[i]] >= 0}
  assert {PIECES[i] for i in first} == {'a', ' a'}


@pytest.mark.parametrize(
  'block, wanted',
  [
    ({'pattern': 'q+'}, 'no text of this vocabulary matches q+'),
    ({'pattern': r'[^\s\S]'}, 'matches'),
    ({'pattern': 'a{9}'}, 'needs 9 tokens, more than the 6'),
    ({'strings': ('zebra', 'ox')}, "matches 'zebra', 'ox'"),
    ({'pattern': 'a(', 'most': 2}, 'regular expression'),
    ({'pattern': 'a', 'strings': ('a',)}, 'either'),
  ],
)
def test_mistakes_are_one_line(block, wanted):
  with pytest.raises(UserError) as e:
    build(**block)
  assert wanted in str(e.value) and '\n' not in str(e.value)


def test_distances_and_classes():
  a = automaton.over_vocabulary(*regex.matching('(abc)*'), BYTES)
  far = automaton.distances(a)
  assert far[a.first] == 0 and a.next.shape[1] < V
  after = a.next[a.first, a.classes[PIECES.index('ab')]]
  assert far[after] == 1 and not a.accepts[after]
