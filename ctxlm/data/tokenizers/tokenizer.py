"""Text to tokens and back, trained on the run's text or loaded from files."""

import functools
import json
from pathlib import Path

import numpy as np
import tokenizers

from ctxlm import files as cache
from ctxlm.data import framing
from ctxlm.data.sources import units
from ctxlm.data.tokenizers import bounds, chat_template, encoding, settings
from ctxlm.data.tokenizers import files as tokenizer_files
from ctxlm.data.tokenizers import pieces as pieces_lib
from ctxlm.data.tokenizers import training as tokenizer_training
from ctxlm.errors import UserError

VERSION = 4  # raise it whenever training gives something else


class Tokenizer:
  """A `tokenizers.Tokenizer` with its special tokens known; can be pickled.

  Attributes:
    vocab_size: number of ids.
    pad_id, bos_id, eos_id, cls_id, sep_id, mask_id, unk_id: int or None. Where
      a tokenizer lacks one that frames or fills rows, the nearest stands in:
      cls for bos, sep for eos, each other, and eos for pad.
    own_pad_id: pad_id, None where another stands in.
    special_ids: set of the ids that stand for no text.
    special_in_data: whether special tokens that training text spells are
      these tokens; else they are text like any other.
    chat_template: source of what joins the turns of a dialogue, or None.
  """

  def __init__(
    self, backend, roles=None, special_in_data=False, chat_template=None
  ):
    """Wraps a `tokenizers.Tokenizer`.

    Args:
      backend: it.
      roles: {role of settings.ROLES: id}; None goes by the entries' names.
      special_in_data, chat_template: see above.

    Raises:
      UserError: it has no token that ends a document.
    """
    self._backend = backend
    self.special_in_data = special_in_data
    self.chat_template = chat_template
    named = settings.by_names(backend)
    self._roles = named if roles is None else roles
    self._own_roles = (
      () if self._roles == named else tuple(sorted(self._roles.items()))
    )
    self._backend.no_padding()
    self._backend.no_truncation()
    self.vocab_size = 1 + max(backend.get_vocab().values(), default=-1)
    if self.vocab_size > bounds.MOST_TOKENS:
      raise UserError(
        f'the tokenizer has ids up to {self.vocab_size - 1:,}; '
        f'{bounds.MOST_TOKENS:,} tokens are the most'
      )
    for role in settings.ROLES:
      setattr(self, f'{role}_id', self._roles.get(role))
    begins = self.bos_id, self.cls_id, self.eos_id, self.sep_id
    ends = self.eos_id, self.sep_id, self.bos_id, self.cls_id
    self.bos_id, self.eos_id = (
      next((i for i in ids if i is not None), None) for ids in (begins, ends)
    )
    self.own_pad_id = self.pad_id
    if self.pad_id is None:
      self.pad_id = self.eos_id
    if self.eos_id is None:
      raise UserError(
        'the tokenizer has no token that ends a document, such as '
        '<|endoftext|>, </s> or [SEP]: add one to it'
      )
    added = backend.get_added_tokens_decoder()
    self.special_ids = {i for i, t in added.items() if t.special}
    self.special_ids |= set(self._roles.values())
    # Any text may hold what is unknown.
    others = {i for role, i in self._roles.items() if role != 'unk'}
    control = self.special_ids - ({self.unk_id} - others)
    self._encoder = encoding.Encoder(backend, control)

  def __getstate__(self):
    rest = self._roles, self.special_in_data, self.chat_template
    return self._backend.to_str(), *rest

  def __setstate__(self, state):
    text, *rest = state
    self.__init__(tokenizers.Tokenizer.from_str(text), *rest)

  def __call__(self, texts, length=None):
    """Returns texts as a model takes them, padded to the longest.

    Args:
      texts: string, or list of n strings; special tokens are put around each
        as the tokenizer's own template has them.
      length: ids of a text at most; None is no limit.

    Returns:
      {'tokens': int32 [n, l], 'segment_ids': int32 [n, l], 0 at padding}.
    """
    texts = [texts] if isinstance(texts, str) else list(texts)
    rows = framing.texts(self, texts, length)
    width = max(map(len, rows), default=0)
    tokens = np.full((len(rows), width), self.pad_id, np.int32)
    used = np.arange(width) < np.array([[len(row)] for row in rows])
    tokens[used] = [i for row in rows for i in row]
    return {'tokens': tokens, 'segment_ids': used.astype(np.int32)}

  def encode(self, text, data=False):
    """Returns the ids of a text, no special tokens added.

    Args:
      text: str; a lone surrogate, which is no character, is U+FFFD.
      data: whether it is training text; see `special_in_data`.
    """
    self._check(text)
    return self._encoder(text, data and not self.special_in_data)

  def encode_batch(self, texts, data=False):
    """Returns the ids of each text, on all cores; see `encode`."""
    self._check(any(texts))
    return self._encoder.batch(texts, data and not self.special_in_data)

  def _check(self, text):
    if text and self.vocab_size == 1:
      raise UserError(
        "the tokenizer knows no text: config.tokenizer.kind='none' is for "
        'data that is none'
      )

  @property
  def special_tokens(self):
    """{role of settings.ROLES: entry} of those that it has."""
    return dict(zip(self._roles, self.tokens(self._roles.values())))

  @functools.cached_property
  def template(self):
    """(ids before, ids after) a text by the tokenizer's own post-processor.

    None where it has none; see data.framing, which puts them there.
    """
    if self._backend.post_processor is None:
      return None
    word = tokenizers.Tokenizer(tokenizers.models.WordLevel({'a': 0}))
    with bounds.said("the tokenizer's post_processor fails"):
      whole = self._backend.post_process(word.encode('a'))
    own = [i for i, mask in enumerate(whole.special_tokens_mask) if not mask]
    return tuple(whole.ids[: own[0]]), tuple(whole.ids[own[-1] + 1 :])

  @functools.cached_property
  def pair_template(self):
    """What stands around a pair of texts by the tokenizer's post-processor.

    Returns:
      ((ids before, their type ids), (between), (after), the texts' type ids),
      tuples of int; None where it has none.
    """
    if self._backend.post_processor is None:
      return None
    word = tokenizers.Tokenizer(tokenizers.models.WordLevel({'a': 0}))
    whole = self._backend.post_process(word.encode('a'), word.encode('a'))
    ids, types = tuple(whole.ids), tuple(whole.type_ids)
    special = whole.special_tokens_mask
    a, b = (i for i, mask in enumerate(special) if not mask)
    cuts = slice(a), slice(a + 1, b), slice(b + 1, None)
    return *((ids[c], types[c]) for c in cuts), (types[a], types[b])

  def places(self, text, data=False):
    """Returns (ids, [(start, end)]): a text's, and the characters of each.

    Args:
      text, data: see `encode`.
    """
    self._check(text)
    return self._encoder.places(text, data and not self.special_in_data)

  def decode(self, ids, skip_special=True):
    """Returns the text of ids; special tokens are left out by default."""
    ids = [int(i) for i in ids]
    with bounds.said('the tokenizer fails to decode'):
      return self._backend.decode(ids, skip_special_tokens=skip_special)

  @functools.cached_property
  def special_entries(self):
    """{entry: id} of the tokens that stand for no text."""
    ids = sorted(self.special_ids)
    return dict(zip(self.tokens(ids), ids))

  def tokens(self, ids):
    """Returns the vocabulary's entry of each id, as it is stored."""
    return [self._backend.id_to_token(int(i)) or '' for i in ids]

  def pieces(self, ids):
    """Returns what each id stands for in a text, as a person reads it.

    The pieces of a word-wise vocabulary are its entries; a byte that is no
    whole character is escaped, as what can't be printed is.
    """
    entries = self.tokens(ids)
    if self._mark == '##':
      return entries
    return [
      entry if data is None else pieces_lib.readable(data)
      for entry, data in zip(entries, (self.token_bytes[int(i)] for i in ids))
    ]

  def token_id(self, token):
    """Returns the id of a vocabulary entry, or None."""
    return self._backend.token_to_id(token)

  @functools.cached_property
  def word_starts(self):
    """Bool [v]: whether a token begins a word, by its entry alone.

    A word is what spaces delimit; each punctuation mark is its own, and where
    scripts have no spaces (Chinese, Japanese) each character.
    """
    added = self._backend.get_added_tokens_decoder()
    starts = [t is None or pieces_lib.starts_word(t) for t in self.token_bytes]
    return np.array([s or i in added for i, s in enumerate(starts)], bool)

  @functools.cached_property
  def token_bytes(self):
    """UTF-8 that each token adds to a text; None for special tokens.

    A text's first token loses its leading space if `strips_first`.
    """
    mark = self._mark
    added = self._backend.get_added_tokens_decoder()
    pieces = []
    for i, entry in enumerate(self.tokens(range(self.vocab_size))):
      if i in self.special_ids:
        pieces.append(None)
      elif i in added:
        pieces.append(entry.encode())
      else:
        pieces.append(pieces_lib.bytes_of(entry, mark))
    return pieces

  @property
  def strips_first(self):
    """Whether decoding leaves out the space that a text begins with."""
    return self._mark != 'Ġ'

  @functools.cached_property
  def tidies(self):
    """Whether decoding leaves out spaces that `token_bytes` has, as in ' .'."""
    decoder = json.loads(self._backend.to_str())['decoder'] or {}
    steps = decoder.get('decoders', [decoder])
    return any(step.get('cleanup', False) for step in steps)

  @functools.cached_property
  def _mark(self):
    model = json.loads(self._backend.to_str())
    if model['model']['type'] == 'WordPiece':
      return '##'
    parts = json.dumps([model['pre_tokenizer'], model['decoder']])
    return 'Ġ' if 'ByteLevel' in parts else '▁'

  @functools.cached_property
  def fingerprint(self):
    """Hash of everything that decides what text becomes."""
    return cache.digest(self._backend.to_str(), *self._own_roles)

  def save(self, folder):
    """Writes tokenizer.json, which Hugging Face reads too, into a folder.

    Roles that the entries' names don't tell go into tokenizer_config.json.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    text = self._backend.to_str(pretty=True)
    cache.write_text(folder / 'tokenizer.json', text + '\n')
    if self._own_roles:
      names = self.tokens(self._roles.values())
      content = {'tokenizer_class': 'PreTrainedTokenizerFast'} | {
        f'{role}_token': name
        for role, name in zip(self._roles, names, strict=True)
      }
      text = json.dumps(content, indent=2, ensure_ascii=False)
      cache.write_text(folder / 'tokenizer_config.json', text + '\n')
    if self.chat_template is not None:
      cache.write_text(folder / chat_template.FILE, self.chat_template)


def load(path, special_in_data=False):
  """Loads a tokenizer.

  Args:
    path: tokenizer.json, BERT's vocab.txt, a SentencePiece .model, or a
      folder with one of them or with GPT-2's vocab.json and merges.txt.
    special_in_data: see Tokenizer.

  Raises:
    UserError: nothing there that can be read.

  >>> train('bpe', 300, ['the cat and the dog'] * 9).save(FOLDER)
  >>> load(FOLDER).decode(load(FOLDER).encode('a dog'))
  'a dog'
  """
  path = Path(path)
  read, template = tokenizer_files.read(path), chat_template.read(path)
  return Tokenizer(*read, special_in_data, template)


def train(kind, vocab_size, texts):
  """Trains a tokenizer: the same texts give the same one.

  Args:
    kind: 'bpe' (byte level), 'wordpiece' (lower case, as BERT's), 'unigram' or
      'word' (what stands between spaces).
    vocab_size: ids at most, the special tokens included.
    texts: iterable of str.

  Raises:
    UserError: a vocabulary too small for the alphabet, or no text.

  >>> tokenizer = train('wordpiece', 100, ['the cat and the dog'] * 9)
  >>> tokenizer.tokens(tokenizer.encode('the cat'))
  ['the', 'cat']
  """
  if kind not in tokenizer_training.KINDS:
    raise UserError(
      f'config.tokenizer.kind={kind!r} must be one of '
      f'{(*tokenizer_training.KINDS, "file")}'
    )
  return Tokenizer(tokenizer_training.KINDS[kind](vocab_size, texts))


def get(config, source):
  """Returns the config's tokenizer, from the cache if it was trained before.

  Args:
    config: block with `kind`, `vocab_size`, `path` and `special_in_data`. Of
      kind 'none', for
      data that is no text, it has one token only, that of an end.
    source: data source; its training text trains the tokenizer.
  """
  if config.kind == 'none':
    words = tokenizers.models.WordLevel({'</s>': 0})
    return Tokenizer(tokenizers.Tokenizer(words))
  if config.kind == 'file':
    if not config.path:
      raise UserError(
        "config.tokenizer.kind='file' needs config.tokenizer.path"
      )
    return load(config.path, config.special_in_data)
  key = cache.digest(
    VERSION,
    tokenizers.__version__,
    config.kind,
    config.vocab_size,
    source.fingerprint('train'),
  )

  def build(folder):
    texts = units.every_text(source.records('train'))
    train(config.kind, config.vocab_size, texts).save(folder)

  folder = cache.folder('tokenizers', key, build)
  return load(folder, config.special_in_data)
