"""Training tokenizers so that the same text gives the same one.

BPE: Sennrich et al. 2016; WordPiece: Schuster and Nakajima 2012, as in BERT;
unigram: Kudo 2018. The special tokens come first, then the alphabet. Whole
words are those of before: n-grams, and Bengio et al. 2003.
"""

import collections
import io

import sentencepiece
import tokenizers
from tokenizers import (
  AddedToken,
  Regex,
  decoders,
  models,
  normalizers,
  pre_tokenizers,
  trainers,
)

from ctxlm.data.tokenizers import spm
from ctxlm.errors import UserError

SPECIAL = ('[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]', '<|endoftext|>')


MAX_ALPHABET = 1000


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


def train_wordpiece(vocab_size, texts):
  """WordPiece as BERT's uncased: lower case, no accents, words split.

  The library's trainer numbers the alphabet in the order of a hash map, and
  breaks ties by these numbers. So the alphabet comes in sorted, as special
  tokens, and the model is rebuilt from the vocabulary without them.
  """
  texts = list(_some(texts))
  tokenizer = wordpiece({'[UNK]': 0}, lowercase=True)
  letters = collections.Counter()
  for text in texts:
    for word in _words(tokenizer, text):
      letters.update(word)
  # The commonest characters; a word with another one is [UNK].
  ranked = sorted(letters, key=lambda c: (-letters[c], c))
  alphabet = sorted(ranked[:MAX_ALPHABET])
  units = [*alphabet, *('##' + c for c in alphabet)]
  _check_size(vocab_size, len(SPECIAL) + len(units))
  trainer = trainers.WordPieceTrainer(
    vocab_size=vocab_size,
    special_tokens=[*SPECIAL, *units],
    initial_alphabet=alphabet,
    limit_alphabet=len(alphabet),
    show_progress=False,
  )
  tokenizer.train_from_iterator(texts, trainer)
  vocab = tokenizer.get_vocab()
  ranked = sorted(vocab, key=vocab.get)
  tokenizer = wordpiece({t: i for i, t in enumerate(ranked)}, lowercase=True)
  tokenizer.add_special_tokens(special_tokens())
  return tokenizer


def wordpiece(vocab, lowercase, unknown='[UNK]'):
  """Returns BERT's tokenizer of a vocabulary {entry: id}."""
  tokenizer = tokenizers.Tokenizer(
    models.WordPiece(vocab, unk_token=unknown, max_input_chars_per_word=100)
  )
  tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
  tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
  tokenizer.decoder = decoders.WordPiece()
  return tokenizer


def train_unigram(vocab_size, texts):
  """Unigram LM by sentencepiece, on one thread so that sums are the same."""
  lines = [line for text in _some(texts) for line in text.splitlines() if line]
  model = io.BytesIO()
  try:
    sentencepiece.SentencePieceTrainer.train(
      sentence_iterator=iter(lines),
      model_writer=model,
      model_type='unigram',
      vocab_size=vocab_size,
      hard_vocab_limit=False,
      num_threads=1,
      max_sentence_length=1 << 20,
      pad_id=0,
      pad_piece='[PAD]',
      unk_id=1,
      unk_piece='[UNK]',
      bos_id=-1,
      eos_id=-1,
      control_symbols=list(SPECIAL[2:]),
      minloglevel=2,
    )
  except (RuntimeError, OSError) as e:
    raise UserError(
      f'config.tokenizer.vocab_size={vocab_size} does not suit this text: '
      f'{str(e).splitlines()[-1]}'
    ) from e
  tokenizer = spm.convert(model.getvalue())
  tokenizer.add_special_tokens(special_tokens())
  return tokenizer


def train_word(vocab_size, texts):
  """Whole words, between spaces: the commonest, and the rest is [UNK]."""
  _check_size(vocab_size, len(SPECIAL) + 1)
  tokenizer = tokenizers.Tokenizer(models.WordLevel({}, unk_token='[UNK]'))
  tokenizer.normalizer = normalizers.Sequence(
    [normalizers.Strip(), normalizers.Replace(Regex(r'\s+'), ' ')]
  )
  tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
  tokenizer.decoder = decoders.Metaspace()
  often = collections.Counter(
    word for text in _some(texts) for word in _words(tokenizer, text)
  )
  ranked = sorted(often, key=lambda word: (-often[word], word))
  entries = [*SPECIAL, *ranked][:vocab_size]
  tokenizer.model = models.WordLevel(
    {e: i for i, e in enumerate(entries)}, unk_token='[UNK]'
  )
  tokenizer.add_special_tokens(special_tokens())
  return tokenizer


def _words(tokenizer, text):
  # What its model is given, one after the other.
  text = tokenizer.normalizer.normalize_str(text)
  return [w for w, _ in tokenizer.pre_tokenizer.pre_tokenize_str(text)]


def _some(texts):
  empty = True
  for text in texts:
    empty = empty and not text.strip()
    yield text
  if empty:
    raise UserError(
      'there is no text to train a tokenizer on: is it in another field? '
      'Name it, --data FILES:FIELD, or in config.tasks.NAME.data.fields'
    )


def _check_size(vocab_size, least):
  if vocab_size < least:
    raise UserError(
      f'config.tokenizer.vocab_size={vocab_size} is too small: the special '
      f'tokens and the alphabet alone are {least}'
    )


KINDS = {
  'bpe': train_bpe,
  'wordpiece': train_wordpiece,
  'unigram': train_unigram,
  'word': train_word,
}
