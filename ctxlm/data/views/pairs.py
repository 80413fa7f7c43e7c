"""Chunks of consecutive sentences, each with a rival from another document.

Tokenised once, on disk: what next-sentence prediction and sentence order read.
"""

import array
import functools

import numpy as np

from ctxlm import files
from ctxlm.data.sources import records, sentences, units
from ctxlm.errors import UserError

VERSION = 2  # raise it whenever chunks change


class View(records.Lazy):
  """Chunks of sentences, memory mapped.

  A chunk is as many consecutive sentences of a document as fit into
  `length` - 3 tokens (BERT's [CLS] A [SEP] B [SEP]); every sentence is in
  exactly one, and a longer one is cut. A chunk of one token is no pair and is
  left out; its document is a rival still.
  """

  _opened = ('_arrays',)

  def __init__(self, folder, length, fingerprint):
    self.folder, self.length = folder, length
    self.fingerprint = fingerprint

  @classmethod
  def open(cls, base, fingerprint, tokenizer, max_length, objective):
    """See ctxlm.data.views.View; records are documents.

    Raises:
      UserError: fewer than two documents, or a row too short.
    """
    del objective  # it cuts and pairs what it reads
    if max_length < 5:
      raise UserError('config.max_length must be 5 or more for pairs')
    key = files.digest(
      'pairs', VERSION, sentences.VERSION, fingerprint,
      tokenizer.fingerprint, tokenizer.special_in_data, max_length,
    )  # fmt: skip

    def build(folder):
      write(folder, base, tokenizer, max_length - 3)

    return cls(files.folder('pairs', key, build), max_length, key)

  @functools.cached_property
  def _arrays(self):
    names = ('tokens', 'ends', 'documents', 'chunks')
    return [np.load(self.folder / f'{n}.npy', mmap_mode='r') for n in names]

  def __len__(self):
    return len(self._arrays[3])

  def read(self, i, rng):
    """Returns a chunk and a rival from another document, drawn with `rng`.

    Returns:
      'sentences': list of int32 arrays, length - 3 tokens together at most;
      'other': int32 array of at least one token, as long at most, a run of
      consecutive sentences of another document; 'document': its number.
    """
    tokens, ends, documents, chunks = self._arrays
    room = self.length - 3
    document, first, last = (int(x) for x in chunks[i])
    # Any document but this one, each as likely.
    other = int(rng.integers(len(documents) - 2))
    other += other >= document
    begin = int(rng.integers(documents[other], documents[other + 1]))
    stop = int(ends[documents[other + 1]])
    start = int(ends[begin])
    return {
      'sentences': [
        tokens[ends[s] : ends[s + 1]][:room].astype(np.int32)
        for s in range(first, last)
      ],
      'other': tokens[start : min(stop, start + room)].astype(np.int32),
      'document': document,
    }


def write(folder, base, tokenizer, room):
  """Writes documents as sentences, and the chunks that they are read in.

  tokens.npy [n]; ends.npy: sentence s is tokens[ends[s]:ends[s + 1]];
  documents.npy: document d has sentences documents[d] to documents[d + 1];
  chunks.npy [c, 3]: document, first sentence, last plus one: as many as fit
  into `room` tokens.
  """
  tokens, ends = array.array('I'), array.array('q', [0])
  documents, chunks = array.array('q', [0]), []
  for _, text in units.texts(base):
    # A sentence within a text follows a space, and byte-level BPE sees it.
    parts = [' ' * (n > 0) + s for n, s in enumerate(sentences.split(text))]
    first, used = len(ends) - 1, 0
    for ids in tokenizer.encode_batch(parts, data=True):
      if not ids:
        continue
      at = len(ends) - 1
      if used and used + len(ids) > room:
        if used > 1:
          chunks.append((len(documents) - 1, first, at))
        first, used = at, 0
      used += len(ids)
      tokens.extend(ids)
      ends.append(len(tokens))
    if used > 1:
      chunks.append((len(documents) - 1, first, len(ends) - 1))
    if used:
      documents.append(len(ends) - 1)
  if len(documents) < 3:
    raise UserError(
      'pairs need two documents or more: separate them, see data.separator'
    )
  if not chunks:
    raise UserError('pairs need documents of two tokens or more')
  np.save(folder / 'tokens.npy', np.array(tokens, np.uint32))
  np.save(folder / 'ends.npy', np.array(ends, np.int64))
  np.save(folder / 'documents.npy', np.array(documents, np.int64))
  np.save(folder / 'chunks.npy', np.array(chunks, np.int64))
