"""Regular expressions: those of published tokenizers pass, none explodes."""

import pytest

from ctxlm.data.tokenizers import patterns
from ctxlm.errors import UserError

PUBLISHED = (
  # GPT-2, RoBERTa and BART; LLaMA 3; GPT-4o; Kimi; Bloom; Command R; DeepSeek;
  # cl100k's later form; T5; CLIP.
  r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
  r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|"
  r' ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+',
  r'[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{M}]+'
  r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s+",
  r'[\p{Han}]+|[\p{Lu}\p{M}&&[^\p{Han}]]*[\p{Ll}&&[^\p{Han}]]+',
  r' ?[^(\s|[.,!?…。，、।۔،])]+',
  r'\d{1,3}(?=(?:\d{3})*\b)',
  '[!"#$%&\'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[一-龥ࠀ-一가-퟿]+',
  r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+|"
  r' ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]|\s+(?!\S)|\s',
  ' {2,}',
  r'<\|startoftext\|>|<\|endoftext\|>|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+',
)
EXPLODE = (
  '(a+)+$', '(a|a)*b', '(?:a|aa)+$', '((a{1,900}){1,900}){1,900}b',
  'a{999}{99}',
  '.*.*.*.*,', 'a?' * 25 + 'b', '(a|a)' * 25 + 'b', r'(?=(a+)+b)', 'a**b',
  'a{1,2}+b', '(?<x>a\\g<x>?)b', r'(a)\1', '(?~a)', '(?(1)a|b)', r'\Ka', r'\X*',
  '[]a](b+)+]', r'[\c](b+)+]', '[[:a]b)+]', '(?x)(a +)+', 'a{3,2}', '(' * 40,
  '[' * 99, '[', '(', ')', '\\', 'a{99999999999}', 'a' * 9999, 7, None,
)  # fmt: skip


@pytest.mark.parametrize('pattern', PUBLISHED)
def test_published_patterns_pass(pattern):
  assert patterns.check(pattern).least >= 1


@pytest.mark.parametrize('pattern', EXPLODE, ids=lambda p: repr(p)[:30])
def test_others_are_refused(pattern):
  with pytest.raises(UserError, match='regular expression') as e:
    patterns.check(pattern)
  assert str(e.value).isprintable() and len(str(e.value)) < 200


def test_what_may_be_empty_is_known():
  for pattern in ('a*', 'a?', '', 'a|', '(?=a)', '^', r'\b', 'a{0,2}'):
    assert patterns.check(pattern).least == 0, pattern
  assert patterns.check('(?:ab){2,3}c|[^a]{9}').least == 5
