"""n-gram models out of ARPA files, and into them."""

import jax
import tokenizers

from ctxlm import trees
from ctxlm.data.tokenizers.tokenizer import Tokenizer
from ctxlm.errors import UserError
from ctxlm.families import opened
from ctxlm.families.formats import arpa
from ctxlm.models import ngram

SUFFIXES = ('.arpa', '.arpa.gz')


def is_one(path):
  """Whether a path is called as an ARPA file."""
  return str(path).endswith(SUFFIXES)


def open_file(path):
  """Returns the opened.Opened of a file.

  Its tokenizer takes words as spaces delimit them.

  Args:
    path: pathlib.Path.

  Raises:
    UserError: see formats.arpa.read.
  """
  params, order, words = arpa.read(path)
  arrays = trees.flatten(params)
  block = {
    'name': 'ngram',
    'vocab_size': len(words),
    'order': order,
    'estimator': 'given',
  }
  backend = tokenizers.Tokenizer(
    tokenizers.models.WordLevel(
      {word: i for i, word in enumerate(words)}, unk_token=arpa.UNKNOWN
    )
  )
  backend.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
  backend.add_special_tokens([arpa.START, arpa.END, arpa.UNKNOWN])

  def read(abstract):
    return trees.map_with_name(
      lambda name, leaf: jax.device_put(arrays[name], leaf.sharding), abstract
    )

  shapes = jax.eval_shape(lambda: params)
  return opened.Opened(path, block, shapes, read, Tokenizer(backend), path)


def write(path, model, params, tokenizer):
  """Writes a file; the words are the tokenizer's entries.

  Raises:
    UserError: the model is no such, or has what such a file can't hold.
  """
  if not isinstance(model, ngram.Model) or not model.backs_off:
    raise UserError(
      f'{path}: an ARPA file is of an n-gram model that backs off'
    )
  t = tokenizer
  words = t.tokens(range(t.vocab_size))
  words += [f'<unused{i}>' for i in range(len(words), model.vocab_size)]
  if t.unk_id is not None and t.unk_id not in (t.bos_id, t.eos_id):
    words[t.unk_id] = arpa.UNKNOWN
  arpa.write(path, params, model.order, words, t.bos_id, t.eos_id)
