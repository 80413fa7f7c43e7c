"""A small tokenizer, for folders that need one."""

import pytest

from ctxlm.data import tokenizer as tokenizer_lib

TEXTS = ['the quick brown fox jumps over the lazy dog', 'pack my box'] * 9


@pytest.fixture(scope='module')
def tokenizer():
  """WordPiece of 90 entries."""
  return tokenizer_lib.train('wordpiece', 90, TEXTS)
