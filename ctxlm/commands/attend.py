"""`ctxlm attend --text TEXT --word WORD --out FILE.png`.

Draws how much a word's tokens attend to each token of the sentence, one panel
a layer, one row a head.
"""

import jax.numpy as jnp
import numpy as np
from absl import flags

from ctxlm import cli
from ctxlm.data import framing
from ctxlm.errors import UserError
from ctxlm.inference import loading
from ctxlm.parallel import processes


def attention_of(run, text, word):
  """Returns (tokens, weights [layers, heads, tokens]) of a word.

  The weights of a word of several tokens are averaged over them.

  Raises:
    UserError: the word isn't in the text, or the text is too long.
  """
  t = run.tokenizer
  start = text.find(word) if word else -1
  if start < 0:
    raise UserError(f'--word {word!r} is not in the text')
  before, upto = text[:start].rstrip(), text[: start + len(word)]
  causal = run.model.causal
  frame = framing.document(t) if causal else framing.text(t)
  ids = [*frame.first, *t.encode(text), *(() if causal else frame.last)]
  if len(ids) > run.max_length:
    raise UserError(
      f'--text has {len(ids)} tokens; the model takes {run.max_length}'
    )
  places = slice(1 + len(t.encode(before)), 1 + len(t.encode(upto)))
  if places.start >= places.stop:
    raise UserError(f'--word {word!r} is no token of the text')

  def forward(model):
    return model(jnp.asarray([ids], jnp.int32))

  _, variables = run.model.apply(
    {'params': run.params}, method=forward, mutable=['intermediates']
  )
  weights = _layers(variables['intermediates'])
  return t.tokens(ids), weights[:, 0, :, places].mean(axis=2)


def _layers(intermediates):
  """Returns [layers, b, h, q, k] from what the blocks have sown."""
  found = {}
  for name, value in _walk(intermediates):
    if name.endswith('attention/attention') and 'cross' not in name:
      found[name] = np.asarray(value)
  if len(found) == 1 and next(iter(found.values())).ndim == 5:
    return next(iter(found.values()))  # scanned layers are stacked already

  def number(name):
    return int(name.split('layers_')[1].split('/')[0])

  return np.stack([found[name] for name in sorted(found, key=number)])


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


def define_flags():
  """Defines the flags of `ctxlm attend`."""
  cli.define_run_flags('runs/quickstart_mlm')
  flags.DEFINE_string('text', None, 'the sentence')
  flags.DEFINE_string('word', None, 'a word of it')
  flags.DEFINE_string('out', 'attention.png', 'picture to write')


def main():
  """Entry point of `ctxlm attend`."""
  F = flags.FLAGS
  processes.start()
  if F.text is None or F.word is None:
    raise UserError('--text "..." and --word WORD are needed')
  run = loading.load_with_tokenizer(F.workdir, F.step)
  tokens, weights = attention_of(run, F.text, F.word)
  try:
    draw(tokens, weights, F.word, F.out)
  except (OSError, ValueError) as e:
    raise UserError(f'--out {F.out}: {e}') from e
  print(f'{F.out}: {weights.shape[0]} layers, {weights.shape[1]} heads')
