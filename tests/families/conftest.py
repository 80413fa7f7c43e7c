"""A small tokenizer that was trained here."""

import pytest

from ctxlm.data.tokenizers import tokenizer as tokenizer_lib

TEXTS = ['the quick brown fox jumps over the lazy dog', 'pack my box'] * 9


@pytest.fixture(scope='session')
def tokenizer():
  return tokenizer_lib.train('wordpiece', 90, TEXTS)
