"""Training tokenizers so that the same text gives the same one.

BPE: Sennrich et al. 2016; WordPiece: Schuster and Nakajima 2012, as in BERT;
unigram: Kudo 2018. The special tokens come first, then the alphabet.
"""

import tokenizers
from tokenizers import (
  AddedToken,
  decoders,
  models,
  normalizers,
  pre_tokenizers,
  trainers,
)

from ctxlm.errors import UserError

SPECIAL = ('[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]', '<|endoftext|>')


def special_tokens():
  """Returns the trained tokenizers' special tokens, in the order of ids.

  [MASK] takes the space before it: 'the [MASK] fox' masks ' quick', not a
  space and a word.
  """
  return [
    AddedToken(t, special=True, normalized=False, lstrip=t == '[MASK]')
    for t in SPECIAL
  ]


def train_bpe(vocab_size, texts):
  """Byte-level BPE, GPT-2's: every text can be written, and read back."""
  _check_size(vocab_size, 256 + len(SPECIAL))
  tokenizer = tokenizers.Tokenizer(models.BPE())
  tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
  tokenizer.decoder = decoders.ByteLevel()
  trainer = trainers.BpeTrainer(
    vocab_size=vocab_size,
    special_tokens=special_tokens(),
    initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
    show_progress=False,
  )
  tokenizer.train_from_iterator(_some(texts), trainer)
  return tokenizer


def _some(texts):
  empty = True
  for text in texts:
    empty = empty and not text.strip()
    yield text
  if empty:
    raise UserError('there is no text to train a tokenizer on')


def _check_size(vocab_size, least):
  if vocab_size < least:
    raise UserError(
      f'config.tokenizer.vocab_size={vocab_size} is too small: the special '
      f'tokens and the alphabet alone are {least}'
    )


KINDS = {'bpe': train_bpe}
