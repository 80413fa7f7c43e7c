"""Regular expressions and strings as automata over the bytes of UTF-8.

An automaton is (next int32 [states, 256], -1 where there is none; accepts bool
[states]); its state 0 is the first.
"""

import io
import json
import re
import subprocess
import sys

import numpy as np
from outlines_core import json_schema

from ctxlm import files
from ctxlm.decoding.grammar import dfa
from ctxlm.errors import UserError

MOST_STATES = 20_000
MOST_SECONDS = 20


def matching(pattern):
  """Returns the automaton of the texts that match the whole pattern.

  Args:
    pattern: of Rust's regex: as Python's, without look-arounds and references;
      \\d, \\w and \\s are Unicode's, as in \\p{L}. ^ at its beginning and $ at
      its end say what holds anyway.

  Raises:
    UserError: it is no such pattern, or stands for too many states.
  """
  what = f'the regular expression {short(pattern)!r}'
  inner = re.sub(r'(?<!\\)((?:\\\\)*)\$$', r'\1', pattern.removeprefix('^'))
  try:
    process = subprocess.run(
      [sys.executable, '-I', dfa.__file__],
      input=inner.encode(),
      capture_output=True,
      timeout=MOST_SECONDS,
      check=False,
    )
  except subprocess.TimeoutExpired as e:
    raise UserError(f'{what} stands for too many states: {ADVICE}') from e
  if process.returncode:
    raise UserError(f'{what}: {_reason(pattern)}')
  arrays = np.load(io.BytesIO(process.stdout), allow_pickle=False)
  if len(arrays['accepts']) > MOST_STATES:
    raise UserError(
      f'{what} stands for {len(arrays["accepts"])} states, more than '
      f'{MOST_STATES}: {ADVICE}'
    )
  return arrays['table'], arrays['accepts']


ADVICE = 'make its repeats shorter, or its classes smaller, as [a-z] for \\w'


def short(text):
  """Returns a text as a message shows it."""
  return text if len(text) < 80 else text[:77] + '...'


def _reason(pattern):
  # The library says of no pattern what is wrong with it.
  try:
    re.compile(pattern)
  except re.error as e:
    return str(e)
  except (RecursionError, OverflowError):
    pass
  return (
    'no text matches it, or it has what no automaton has: look-arounds, '
    'references, anchors within it, groups 250 deep, too many states'
  )


def of_schema(schema):
  """Returns the pattern of the JSON that a JSON schema describes.

  Args:
    schema: str, JSON that begins with {, or the path of a file of it. What
      outlines-core knows of schemas is known.

  Raises:
    UserError: it is none, or says what can't be a pattern.
  """
  what = f'the JSON schema {short(schema)!r}'
  if not schema.lstrip().startswith('{'):
    schema = '\n'.join(files.lines(schema))
  try:
    json.loads(schema)
    pattern = json_schema.build_regex_from_schema(schema)
  except (ValueError, TypeError, RecursionError) as e:
    why = str(e).strip().splitlines()[0]
    raise UserError(f'{what}: {why}') from e
  return pattern.replace(r'\d', '[0-9]')  # JSON's digits, and no others


def containing(strings):
  """Returns the automaton of the texts in which one of the strings stands.

  Aho & Corasick 1975. Once it has accepted, it stays where it is.
  """
  words = {string.encode() for string in strings}
  prefixes = {word[:i] for word in words for i in range(len(word) + 1)}
  states = {p: i for i, p in enumerate(sorted(prefixes, key=len))}
  table = np.zeros((len(states), 256), np.int32)
  accepts = np.zeros(len(states), bool)
  suffix = np.zeros(len(states), np.int32)  # the longest that is a state too
  longer = {prefix: [] for prefix in states}
  for prefix in list(states)[1:]:
    longer[prefix[:-1]].append(prefix)
  for prefix, i in states.items():
    table[i] = table[suffix[i]]
    accepts[i] = prefix in words or accepts[suffix[i]]
    for other in longer[prefix]:
      suffix[states[other]] = table[suffix[i], other[-1]] if i else 0
      table[i, other[-1]] = states[other]
  table[accepts] = np.flatnonzero(accepts)[:, None]
  return table, accepts
