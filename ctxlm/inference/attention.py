"""How much the tokens of a text attend to each other; of a word, in short."""

import re

import jax.numpy as jnp

from ctxlm.data import framing
from ctxlm.errors import UserError
from ctxlm.inference import passes


def attention_of(loaded, text, word, occurrence=1):
  """Returns (tokens, weights [layers, heads, tokens], slice) of a word.

  The weights of a word of several tokens, which the slice says, are averaged
  over them. Of an encoder-decoder they are the encoder's.

  Args:
    loaded: ctxlm.inference.loading.Loaded.
    text: str.
    word: str.
    occurrence: which of them in the text, from 1; a part of a word counts
      where no whole word is so.

  Raises:
    UserError: the word isn't in the text, the text is too long, or the model
      attends to nothing.
  """
  tokens, weights, spans = whole(loaded, text)
  start, stop = _find(text, word, occurrence)
  places = [i for i, (a, b) in enumerate(spans) if a < stop and b > start]
  if not places:
    raise UserError(f'--word {word!r} is no token of the text')
  places = slice(places[0], places[-1] + 1)
  return tokens, weights[:, :, places].mean(axis=2), places


def whole(loaded, text):
  """Returns (tokens, weights [layers, heads, l, l], spans) of a text.

  Spans are (start, end) characters of each token, (0, 0) of special ones.

  Raises:
    UserError: the text is too long, or the model attends to nothing.
  """
  t = loaded.tokenizer
  frame = framing.reading(t, loaded.model)
  ids, places = t.places(text)
  ids = frame(ids)
  limit = loaded.max_length
  if limit is not None and len(ids) > limit:
    raise UserError(f'the text has {len(ids)} tokens; the model takes {limit}')
  (weights,) = attentions(loaded, [ids])
  spans = [(0, 0)] * len(frame.first) + places + [(0, 0)] * len(frame.last)
  return t.pieces(ids), weights, spans


def attentions(loaded, rows):
  """Returns [float32 [layers, heads, l, l]] of rows of ids.

  Of an encoder-decoder they are its encoder's.

  Raises:
    UserError: the model attends to nothing.
  """
  out = loaded.passes(_weights, [{'tokens': row} for row in rows])
  return [w[..., : len(row), : len(row)] for row, w in zip(rows, out)]


def _weights(apply, batch):
  _, sown = apply(
    lambda model: passes.read(model, batch), mutable=['intermediates']
  )
  weights = passes.layers_of(sown, 'attention/attention')
  if weights is None:
    raise UserError('attend needs a model with attention; this one has none')
  return jnp.moveaxis(weights, 0, 1)


def _find(text, word, occurrence):
  # (start, end) of a word in a text.
  escaped = re.escape(word)
  places = [m.span() for m in re.finditer(rf'(?<!\w){escaped}(?!\w)', text)]
  places = places or [m.span() for m in re.finditer(escaped, text)]
  if not word or not places:
    raise UserError(f'--word {word!r} is not in the text')
  if not 1 <= occurrence <= len(places):
    raise UserError(
      f'--occurrence {occurrence}: {word!r} is there {len(places)} times'
    )
  return places[occurrence - 1]
