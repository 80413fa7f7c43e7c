"""The same token ids as transformers.generate, ragged batches, penalties on."""

import dataclasses
import types

import pytest

from ctxlm.decoding import generator
from ctxlm.errors import UserError
from tests.decoding import checkpoints

PENALTIES = [
  {'name': 'repetition', 'penalty': 1.3},
  {'name': 'no_repeat_ngram', 'size': 2},
]
THEIRS = {'repetition_penalty': 1.3, 'no_repeat_ngram_size': 2}
BEAMS = [
  {'num_beams': 4},
  {'num_beams': 3, 'length_penalty': 0.5, 'early_stopping': True},
  {'num_beams': 4, 'length_penalty': 2.0, 'early_stopping': 'never'},
  {'num_beams': 5, 'num_best': 3},
  {'num_beams': 2, 'length_penalty': -0.5},
]


def compare(kind, strategy, processors, seeds=(0,), **options):
  """Compares both; returns how long the texts are."""
  lengths = []
  for seed in seeds:
    rows = checkpoints.prompts(seed=seed)
    want = checkpoints.theirs(
      kind, rows, seed, max_new_tokens=16, do_sample=False, **options
    )
    found = checkpoints.ours(
      kind, rows, strategy, processors, seed, max_new_tokens=16
    )
    assert found == want
    lengths += map(len, found)
  return lengths


@pytest.mark.slow
@pytest.mark.parametrize('kind', checkpoints.KINDS)
def test_greedy(kind):
  compare(kind, {'name': 'greedy'}, PENALTIES, **THEIRS)


@pytest.mark.slow
@pytest.mark.parametrize('beams', BEAMS, ids=str)
@pytest.mark.parametrize('kind', checkpoints.KINDS)
def test_beam_search(kind, beams):
  options = {k: v for k, v in beams.items() if k != 'num_best'}
  compare(
    kind,
    {'name': 'beam'} | beams,
    PENALTIES,
    num_return_sequences=beams.get('num_best', 1),
    **options,
    **THEIRS,
  )


@pytest.mark.parametrize('kind', ['gpt2', 't5'])
def test_bad_words_forced_tokens_and_least_length(kind):
  rows = checkpoints.prompts()
  plain = checkpoints.theirs(kind, rows, max_new_tokens=16, do_sample=False)
  # Words of the plain text itself: one token, and two in a row.
  long = [row for row in plain if len(row) > 5]
  words = [[long[0][4]], long[0][1:3], long[1][2:4]]
  found = compare(
    kind,
    {'name': 'greedy'},
    [
      {'name': 'bad_words', 'words': words},
      {'name': 'min_new_tokens', 'count': 9},
      {'name': 'forced', 'last': checkpoints.EOS},
    ],
    bad_words_ids=words,
    min_new_tokens=9,
    forced_eos_token_id=checkpoints.EOS,
  )
  assert min(found) >= 9


def test_guidance():
  compare('gpt2', {'name': 'greedy'}, [], guidance_scale=1.0)
  rows = checkpoints.prompts()
  options = dict(max_new_tokens=16, do_sample=False)
  want = checkpoints.theirs('gpt2', rows, guidance_scale=1.7, **options)
  found = checkpoints.ours(
    'gpt2', rows, {'name': 'greedy'}, guidance=1.7, max_new_tokens=16
  )
  assert found == want
  assert found != checkpoints.theirs('gpt2', rows, **options)


@pytest.mark.slow
@pytest.mark.parametrize('kind', ['llama', 'bart'])
def test_speculative_greedy_is_greedy(kind):
  rows = checkpoints.prompts()
  want = checkpoints.theirs(kind, rows, max_new_tokens=16, do_sample=False)
  found = checkpoints.ours(
    kind,
    rows,
    {'name': 'speculative', 'greedy': True, 'length': 3},
    max_new_tokens=16,
  )
  assert found == want


def spelled(letters, rows, stop, **options):
  """Texts of GPT-2 that writes with these tokens until a stop string."""
  _, writer = checkpoints.pair('gpt2')
  tokenizer = types.SimpleNamespace(
    token_bytes=letters, strips_first=False, tidies=False, special_entries={}
  )
  for name, value in options.items():
    setattr(tokenizer, name, value)
  writer = dataclasses.replace(writer, tokenizer=tokenizer)
  config = checkpoints.config({'name': 'greedy'}, stop=stop, max_new_tokens=16)
  found = generator.Generator(writer, config)(rows)
  return [one['tokens'] for [one] in found]


def test_stop_strings_are_of_the_text_whatever_its_tokens():
  # Token i is the letter of i, or two; a stop string may begin inside one.
  letters = [bytes([65 + i % 13, 97 + i % 7][: 1 + i % 2]) for i in range(61)]
  letters[checkpoints.EOS] = None
  rows = checkpoints.prompts()

  def texts(stop):
    found = spelled(letters, rows, stop)
    return [b''.join(letters[t] or b'' for t in row).decode() for row in found]

  whole = texts(())
  long = [text for text in whole if len(text) > 9]
  stop = (long[0][3:6], long[1][5:7])
  for before, after in zip(whole, texts(stop), strict=True):
    ends = [before.find(s) + len(s) for s in stop if s in before]
    if not ends:
      assert after == before
    else:
      # The token that completes it is the last one.
      assert before.startswith(after)
      assert min(ends) <= len(after) <= min(ends) + 1
  assert any(len(a) < len(b) for a, b in zip(texts(stop), whole, strict=True))


def test_a_special_token_stops_as_eos_does():
  letters = [b'a'] * 61
  rows = checkpoints.prompts()
  whole = spelled(letters, rows, ('z',))
  end = max((t for row in whole for t in row[1:-1]), key=whole[0].count)
  names = {'<end>': end, '': 0}
  found = spelled(letters, rows, ('<end>',), special_entries=names)
  for before, after in zip(whole, found, strict=True):
    size = before.index(end) + 1 if end in before else len(before)
    assert after == before[:size]
  assert found != whole
  with pytest.raises(UserError, match="'<end>.n' holds the special token '<e"):
    spelled(letters, rows, ('<end>\n',), special_entries=names)


@pytest.mark.parametrize('strips, count', [(False, 1), (True, 2)])
def test_the_space_that_decoding_leaves_out_stops_nothing(strips, count):
  # Every token is a word; the first one's space is left out or not.
  rows = checkpoints.prompts()
  for row in spelled([b' a'] * 61, rows, (' a',), strips_first=strips):
    assert len(row) == count or row[-1] == checkpoints.EOS


def test_of_a_tidied_text_no_stop_string_is_missed():
  # Spaces of ' a' may be left out by the decoder, so the tokens tell nothing.
  rows = checkpoints.prompts()
  given = dict(strips_first=True, tidies=True)
  whole = spelled([b' a'] * 61, rows, (), **given)
  assert spelled([b' a'] * 61, rows, (' a',), **given) == whole
