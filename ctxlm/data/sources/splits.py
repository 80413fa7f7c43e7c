"""Splits by the hash of a name or text, where the data has none of its own."""

import hashlib

from ctxlm import plugins
from ctxlm.errors import UserError

SPLITS = ('train', 'validation', 'test')


def of(name):
  """Returns the split of a document: 90, 5 and 5 % by the hash of its name."""
  share = int(hashlib.sha256(name.encode()).hexdigest()[:8], 16) / 2**32
  return 'train' if share < 0.9 else 'validation' if share < 0.95 else 'test'


def check(split, known, data):
  """Raises UserError unless `split` is one of `known` that `data` has."""
  if split not in known:
    raise UserError(
      f'data {data!r} has no split {split!r}.{plugins.suggest(split, known)}'
    )
