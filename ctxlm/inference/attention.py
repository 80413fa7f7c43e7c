"""How much a word attends to the tokens of its text, and its drawing."""

import jax.numpy as jnp

from ctxlm.data import framing
from ctxlm.errors import UserError
from ctxlm.inference import passes


def attention_of(loaded, text, word):
  """Returns (tokens, weights [layers, heads, tokens]) of a word.

  The weights of a word of several tokens are averaged over them. Of an
  encoder-decoder they are the encoder's.

  Args:
    loaded: ctxlm.inference.loading.Loaded, or a Run.
    text: str.
    word: str, the first of these in the text is meant.

  Raises:
    UserError: the word isn't in the text, the text is too long, or the model
      attends to nothing.
  """
  t = loaded.tokenizer
  start = text.find(word) if word else -1
  if start < 0:
    raise UserError(f'--word {word!r} is not in the text')
  before, upto = text[:start].rstrip(), text[: start + len(word)]
  model = loaded.model
  if model.encoder_decoder:
    frame = framing.source(t)
  elif model.causal:  # which the end of the text tells nothing
    frame = framing.Frame(framing.document(t).first, ())
  else:
    frame = framing.text(t)
  ids = frame(t.encode(text))
  if len(ids) > loaded.max_length:
    raise UserError(
      f'--text has {len(ids)} tokens; the model takes {loaded.max_length}'
    )
  start = len(frame.first)
  places = slice(start + len(t.encode(before)), start + len(t.encode(upto)))
  if places.start >= places.stop:
    raise UserError(f'--word {word!r} is no token of the text')

  (weights,) = attentions(loaded, [ids])
  return t.pieces(ids), weights[:, :, places].mean(axis=2)


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


def draw(tokens, weights, word, path):
  """Writes the picture: panels of layers, rows of heads, columns of tokens."""
  import matplotlib

  matplotlib.use('Agg')
  from matplotlib import pyplot as plt

  layers, heads, length = weights.shape
  figure, axes = plt.subplots(
    layers,
    1,
    figsize=(max(4, 0.45 * length + 1.5), layers * (0.22 * heads + 0.35) + 1),
    squeeze=False,
    sharex=True,
    layout='constrained',
  )
  for i, axis in enumerate(axes[:, 0]):
    image = axis.imshow(
      weights[i], aspect='auto', cmap='viridis', vmin=0, vmax=weights.max()
    )
    axis.set_ylabel(f'layer {i + 1}\nhead', fontsize=8)
    axis.set_yticks(range(heads), range(1, heads + 1), fontsize=7)
  axes[-1, 0].set_xticks(range(length), tokens, rotation=60, ha='right')
  axes[0, 0].set_title(f'attention of {word!r}', fontsize=10)
  figure.colorbar(image, ax=axes[:, 0].tolist(), label='weight')
  figure.savefig(path, dpi=150)
  plt.close(figure)
