"""Text augmentation: a second view of a sentence by editing its words.

The operations of EDA (Wei & Zou 2019, arXiv:1901.11196, section 2), and the
crop that SimCSE compares with (Gao et al. 2021, table 1). Each takes a list
of words, a share and a numpy Generator, and returns a list of words.
"""

from ctxlm import files
from ctxlm.errors import UserError


def _count(words, share):
  return max(1, round(share * len(words)))


def delete(words, share, rng, synonyms=None):
  """Drops each word with probability `share`; one word is always kept."""
  kept = [w for w in words if rng.random() >= share]
  return kept or [words[rng.integers(len(words))]]


def crop(words, share, rng, synonyms=None):
  """Keeps a run of words, `share` of them left out."""
  length = max(1, len(words) - _count(words, share))
  start = rng.integers(len(words) - length + 1)
  return words[start : start + length]


def swap(words, share, rng, synonyms=None):
  """Exchanges two random words, share * n times."""
  words = list(words)
  for _ in range(_count(words, share)):
    i, j = rng.integers(len(words), size=2)
    words[i], words[j] = words[j], words[i]
  return words


def replace(words, share, rng, synonyms=None):
  """Puts a synonym in place of share * n words that have one."""
  words = list(words)
  places = [i for i, w in enumerate(words) if w.lower() in synonyms]
  for i in rng.permutation(places)[: _count(words, share)]:
    choices = synonyms[words[i].lower()]
    words[i] = choices[rng.integers(len(choices))]
  return words


def insert(words, share, rng, synonyms=None):
  """Inserts a synonym of a random word at a random place, share * n times."""
  known = [w.lower() for w in words if w.lower() in synonyms]
  words = list(words)
  for _ in range(_count(words, share) if known else 0):
    choices = synonyms[known[rng.integers(len(known))]]
    words.insert(
      rng.integers(len(words) + 1), choices[rng.integers(len(choices))]
    )
  return words


OPERATIONS = {
  'delete': delete,
  'crop': crop,
  'swap': swap,
  'replace': replace,
  'insert': insert,
}
NEED_SYNONYMS = ('replace', 'insert')


def read_synonyms(path):
  """Reads a word list: a word and its synonyms a line, between commas.

  Raises:
    UserError: no such file, no UTF-8, or no line of two words.
  """
  table = {}
  for line in files.lines(path):
    word, *others = (w.strip() for w in line.split(','))
    if word and others:
      table.setdefault(word.lower(), []).extend(o for o in others if o)
  if not table:
    raise UserError(f'synonyms {path}: no line "word, synonym, synonym" found')
  return table
