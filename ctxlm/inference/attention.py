"""How much a word attends to the tokens of its text, and its drawing."""

import jax.numpy as jnp
import numpy as np

from ctxlm.data import framing
from ctxlm.errors import UserError
from ctxlm.models.variables import variables


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

  def forward(model):
    read = model.encode if model.encoder_decoder else model
    return read(jnp.asarray([ids], jnp.int32))

  _, sown = model.apply(
    variables(loaded.params), method=forward, mutable=['intermediates']
  )
  weights = _layers(sown.get('intermediates', {}))
  return t.tokens(ids), weights[:, 0, :, places].mean(axis=2)


def _layers(intermediates):
  """Returns [layers, b, h, q, k] from what the blocks have sown."""
  sown = {
    name: np.asarray(value)
    for name, value in _walk(intermediates)
    if name.endswith('attention/attention') and 'cross' not in name
  }
  if not sown:
    raise UserError('attend needs a model with attention; this one has none')
  first = next(iter(sown.values()))
  if first.ndim == 5:
    return first  # scanned layers are stacked already

  def number(name):
    return int(name.split('layers_')[1].split('/')[0])

  return np.stack([sown[name] for name in sorted(sown, key=number)])


def _walk(tree, where=''):
  for key, value in tree.items():
    if isinstance(value, dict):
      yield from _walk(value, f'{where}{key}/')
    else:
      yield f'{where}{key}', value[0]


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
