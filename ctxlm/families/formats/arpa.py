r"""ARPA files: n-gram models of SRILM, KenLM and others, as text.

    \data\
    ngram 1=N
    \1-grams:
    log10 p <tab> word <tab> log10 of the weight of back-off
    \end\

A text begins with <s>, which has no probability, and ends with </s>; <unk> is
what the vocabulary doesn't have.
"""

import gzip
import math
import re

import numpy as np

from ctxlm import files
from ctxlm.errors import UserError
from ctxlm.models import counts, estimators

START, END, UNKNOWN = '<s>', '</s>', '<unk>'
ZERO = -99.0  # stands for the logarithm of 0
MOST = 37.0  # decimal exponent of what float32 holds
MOST_ORDER = 16


def write(path, params, order, words, start, end):
  """Writes a file whole or not at all.

  Args:
    path: of the file.
    params: of models.ngram.Model, of an estimator that backs off.
    order: of the model.
    words: [str], of each id.
    start, end: ids that texts begin and end with; where they are one, it is
      START before others and END behind them.

  Raises:
    UserError: a word that such a file can't hold.
  """
  names = np.array(words, object)
  names[start], names[end] = START, END
  for i, name in enumerate(names):
    if not name or re.search(r'\s', name):
      raise UserError(
        f'token {i}, {name!r}, has a space or nothing in it, which no ARPA '
        'file can hold'
      )
  if len(set(names)) < len(names):
    raise UserError(
      'two tokens are spelt the same, which no ARPA file can hold'
    )
  tables = [
    {n: np.asarray(x) for n, x in params[f'order_{k}'].items()}
    for k in range(1, order + 1)
  ]
  ids = np.arange(len(names))[:, None]
  grams = [ids]
  for below, own in zip(tables, tables[1:]):
    parent = np.repeat(
      np.arange(len(below['first']) - 1), np.diff(below['first'])
    )
    ids = np.concatenate([ids[parent], own['words'][: len(parent), None]], 1)
    grams.append(ids)
  both = start == end
  opened = gzip.open if str(path).endswith('.gz') else open
  with files.new_file(path) as new, opened(new, 'wt', encoding='utf-8') as f:
    f.write('\\data\\\n')
    for k, ids in enumerate(grams, 1):
      f.write(f'ngram {k}={len(ids) + (both and k == 1)}\n')
    for k, (ids, table) in enumerate(zip(grams, tables), 1):
      f.write(f'\n\\{k}-grams:\n')
      spelt = names[ids]
      if both and k > 1:
        if (ids[:, 1:-1] == end).any():
          raise UserError(f'{END} within a text, which no ARPA file can hold')
        spelt[ids[:, 0] == start, 0] = START
      logs = _log10(table['probs'][: len(ids)])
      if k == order:
        for p, row in zip(logs, spelt):
          f.write(f'{p:.7g}\t{" ".join(row)}\n')
        continue
      weights = _log10(table['backoffs'][: len(ids)])
      if both and k == 1:
        f.write(f'{ZERO:g}\t{START}\t{weights[start]:.7g}\n')
        weights[start] = 0.0
      for p, row, weight in zip(logs, spelt, weights):
        f.write(f'{p:.7g}\t{" ".join(row)}\t{weight:.7g}\n')
    f.write('\n\\end\\\n')


def _log10(values):
  values = values.astype(np.float64)
  return np.where(values > 0, np.log10(np.where(values > 0, values, 1)), ZERO)


def read(path):
  """Returns (params, order, words) as `write` takes them.

  START, END and UNKNOWN are among the words, with no probability where the
  file has none.

  Args:
    path: of the file, which may be compressed.

  Raises:
    UserError: it is cut, or damaged, or no ARPA file.
  """
  reader = _Reader(path)
  promised = reader.header()
  ids, params, keys = {}, {}, [None]
  for k, number in enumerate(promised, 1):
    reader.section(k)
    rows, probs, backoffs = reader.grams(k, ids, number)
    if k == 1:
      for name in (START, END, UNKNOWN):
        if name not in ids:
          ids[name] = len(ids)
          probs.append(0.0)
          backoffs.append(1.0)
      size = len(ids)
      parent, own = np.zeros(size, np.int64), np.arange(size)
      order = own
    else:
      rows = np.array(rows, np.int64).reshape(-1, k)
      parent = _parents(path, rows, keys, size, list(ids))
      own = parent * size + rows[:, -1]
      order = np.argsort(own, kind='stable')
      own = own[order]
      if (own[1:] == own[:-1]).any():
        raise UserError(f'{path} has a {k}-gram twice')
      params[f'order_{k - 1}']['first'] = counts.first_children(
        parent[order], len(keys[-1]) if k > 2 else size
      )
    keys.append(own)
    table = {'probs': np.array(probs, np.float32)[order]}
    if k > 1:
      table['words'] = rows[order, -1].astype(np.int32)
    if k < len(promised):
      table['backoffs'] = np.array(backoffs, np.float32)[order]
    params[f'order_{k}'] = table
  reader.end()
  return estimators.filled(params), len(promised), list(ids)


def _parents(path, rows, keys, size, words):
  # The place of each row's context, which the order below must have.
  place = rows[:, 0]
  for j in range(2, rows.shape[1]):
    wanted = place * size + rows[:, j - 1]
    place = np.searchsorted(keys[j], wanted)
    hit = np.isin(wanted, keys[j])
    if not hit.all():
      gram = [words[i] for i in rows[np.flatnonzero(~hit)[0]]]
      raise UserError(
        f'{path}: the {len(gram)}-gram {" ".join(gram)!r} goes on from '
        f'{" ".join(gram[:j])!r}, which is no {j}-gram there'
      )
  return place


class _Reader:
  """The lines of a file, with what was expected where they end."""

  def __init__(self, path):
    self._path, self._number = path, 0
    self._lines = files.lines(path)
    self._back = None

  def _next(self, what):
    # The next line that isn't blank.
    if self._back is not None:
      line, self._back = self._back, None
      return line
    for line in self._lines:
      self._number += 1
      if line.strip():
        return line.strip()
    raise UserError(f'{self._path} is cut: it ends before {what}')

  def wrong(self, why):
    """Raises UserError about the line that was read."""
    raise UserError(f'{self._path}, line {self._number}: {why}')

  def header(self):
    """Returns [number of k-grams] of the orders from 1 on."""
    while self._next(r'\data\, so it is no ARPA file') != '\\data\\':
      pass
    promised = []
    while True:
      line = self._next(r'\1-grams:')
      match = re.fullmatch(r'ngram\s+(\d{1,4})\s*=\s*(\d{1,12})', line)
      if not match:
        self._back = line
        break
      k, number = map(int, match.groups())
      if k != len(promised) + 1 or k > MOST_ORDER:
        self.wrong(f'order {k}; orders go from 1 to {MOST_ORDER}, one by one')
      promised.append(number)
    if not promised:
      self.wrong('no order is announced, as by "ngram 1=5"')
    return promised

  def section(self, k):
    """Reads the title of the k-grams."""
    line = self._next(f'its {k}-grams')
    if line != f'\\{k}-grams:':
      self.wrong(f'{line[:40]!r} stands where \\{k}-grams: must')

  def grams(self, k, ids, number):
    """Returns ([ids], [p], [weight of back-off]) of a section.

    Args:
      k: order.
      ids: {word: id}, filled by order 1.
      number: of k-grams that the header promised.
    """
    rows, probs, backoffs = [], [], []
    while True:
      line = self._next(f'the end of its {number} {k}-grams')
      if line[0] == '\\' and re.fullmatch(r'\\(\d+-grams:|end\\)', line):
        self._back = line
        break
      p, *words = re.split(r'[ \t]+', line)
      weight = words.pop() if len(words) == k + 1 else '0'
      if len(words) != k:
        self.wrong(f'{len(words)} words in a {k}-gram')
      if k == 1:
        if words[0] in ids:
          self.wrong(f'{words[0]!r} stands there twice')
        ids[words[0]] = len(ids)
      try:
        rows.append([ids[word] for word in words])
        p, weight = float(p), float(weight)
      except KeyError as e:
        self.wrong(f'{e} is no 1-gram')
      except ValueError:
        self.wrong(f'{p!r} and {weight!r} must be numbers')
      if not (math.isfinite(p) and p <= 1e-4):
        self.wrong(f'{p} is the logarithm of no probability')
      if not (math.isfinite(weight) and weight < MOST):
        self.wrong(f'{weight} is the logarithm of no weight')
      probs.append(min(10.0**p, 1.0))
      backoffs.append(10.0**weight)
    if len(rows) != number:
      self.wrong(
        f'{len(rows)} {k}-grams stand there, and {number} were announced'
      )
    return rows, probs, backoffs

  def end(self):
    """Reads the last line."""
    line = self._next('\\end\\')
    if line != '\\end\\':
      self.wrong(f'{line[:40]!r} stands where \\end\\ must')
