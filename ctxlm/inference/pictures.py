"""Attention drawn: a word's on a page of a paper, a text's as a page to try.

A picture has a tile for each token of the text, in reading order: layers from
top to bottom, heads from left to right. The word that attends has a frame.
"""

import base64
import html
import json
import math
from pathlib import Path

import numpy as np

from ctxlm import files

WIDTH = 7.0  # inches, of a page
FONTS = ('DejaVu Sans', 'Noto Sans CJK JP', 'Noto Sans CJK SC')
FONTS += ('WenQuanYi Zen Hei', 'Hiragino Sans', 'Noto Emoji', 'Symbola')


def draw(tokens, weights, word, path):
  """Writes a word's attention as a picture: PNG, PDF or SVG.

  Args:
    tokens: n texts.
    weights: [layers, heads, n] of the word.
    word: slice of the tokens that attend.
    path: whose suffix says the format.

  Raises:
    OSError, ValueError: it can't be written; no such format.
  """
  import matplotlib

  matplotlib.use('Agg')
  from matplotlib import pyplot as plt

  layers, heads, n = weights.shape
  columns = min(n, max(4, math.ceil(math.sqrt(n * 1.6))))
  rows = -(-n // columns)
  side = WIDTH / columns
  height = side * layers / heads if layers < heads else side
  style = {
    'font.size': 7,
    'font.family': families(),
    'svg.fonttype': 'none',  # text stays text
  }
  with plt.rc_context(style):
    figure, axes = plt.subplots(
      rows,
      columns,
      figsize=(WIDTH, rows * (height + 0.22) + 0.7),
      squeeze=False,
      layout='constrained',
    )
    attending = range(n)[word]
    for i, axis in enumerate(axes.flat):
      axis.set(xticks=[], yticks=[])
      if i >= n:
        axis.axis('off')
        continue
      image = axis.imshow(
        weights[:, :, i], cmap='viridis', vmin=0, vmax=weights.max()
      )
      axis.set_title(drawable(tokens[i]), pad=2)
      if i in attending:
        axis.title.set_fontweight('bold')
        for spine in axis.spines.values():
          spine.set(color='#D55E00', linewidth=1.8)
    axes[0, 0].set_ylabel(f'{layers} layers')
    axes[0, 0].set_xlabel(f'{heads} heads')
    name = ''.join(tokens[i] for i in attending).strip()
    figure.suptitle(f'attention of {drawable(name)!r}', fontsize=8)
    bar = figure.colorbar(image, ax=axes.ravel().tolist(), shrink=0.6)
    bar.set_label('weight')
    with files.new_file(path) as new:
      figure.savefig(new, dpi=200, format=Path(path).suffix[1:])
    plt.close(figure)


def families():
  """Returns those of FONTS that there are, in whose order they are tried."""
  from matplotlib import font_manager

  there = set(font_manager.get_font_names())
  return [family for family in FONTS if family in there]


def drawable(text):
  """Returns a text as matplotlib draws it as it stands, with `families`.

  What no font here draws is written as its code, not as an empty box.
  """
  from matplotlib import font_manager

  fonts = [
    font_manager.get_font(font_manager.findfont(family))
    for family in families()
  ]

  def one(character):
    if any(font.get_char_index(ord(character)) for font in fonts):
      return '\\$' if character == '$' else character
    return f'U+{ord(character):X}'

  return ''.join(map(one, text))


def write_page(tokens, weights, word, path):
  """Writes a text's attention as one HTML file, which asks for nothing else.

  A token is pointed at and shows what it attends to, by a layer and a head or
  the mean of them.

  Args:
    tokens: n texts.
    weights: [layers, heads, n, n].
    word: slice of the tokens that are shown first.
    path: of the file.
  """
  layers, heads, n, _ = weights.shape
  levels = np.round(weights * 255).clip(0, 255).astype(np.uint8)
  data = {
    'tokens': list(tokens),
    'layers': layers,
    'heads': heads,
    'first': range(n)[word][0],
    'weights': base64.b64encode(levels.tobytes()).decode(),
  }
  # '<' would end the script, in a token such as </script>.
  text = json.dumps(data).replace('<', '\\u003c')
  title = html.escape(' '.join(tokens)[:60])
  page = PAGE.replace('TITLE', title).replace('DATA', text)
  files.write_text(path, page)


PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>TITLE</title>
<style>
  body { font: 16px/1.9 system-ui, sans-serif; max-width: 60em;
         margin: 2em auto; padding: 0 1em; color: #222; background: #fff }
  #text span { padding: .2em .15em; border-radius: .2em; cursor: pointer;
               white-space: pre-wrap }
  #text .query { outline: 2px solid #D55E00 }
  #grid { display: grid; gap: 1px; margin-top: 1em; max-width: 30em }
  #grid i { aspect-ratio: 1; cursor: pointer }
  #grid .chosen { outline: 2px solid #D55E00 }
  label { margin-right: 1em } p { color: #555; font-size: 14px }
</style></head><body>
<div><label>layer <select id="layer"></select></label>
<label>head <select id="head"></select></label></div>
<p>Point at a token: what it attends to is blue. Click to keep it.</p>
<div id="text"></div>
<p>Its greatest weight on another token, layers down and heads across:</p>
<div id="grid"></div>
<script>
const d = DATA;
const w = Uint8Array.from(atob(d.weights), c => c.charCodeAt(0));
const n = d.tokens.length, at = id => document.getElementById(id);
const make = (parent, kind, text) => {
  const e = parent.appendChild(document.createElement(kind));
  e.textContent = text; return e;
};
const weight = (l, h, q, k) => w[((l * d.heads + h) * n + q) * n + k] / 255;
const all = c => [...Array(c).keys()];
for (const [id, count] of [['layer', d.layers], ['head', d.heads]]) {
  make(at(id), 'option', 'mean').value = -1;
  all(count).forEach(i => { make(at(id), 'option', i + 1).value = i; });
  at(id).onchange = () => show();
}
let query = d.first, kept = false;
const spans = d.tokens.map((t, i) => {
  const s = make(at('text'), 'span', t);
  s.onmouseenter = () => { if (!kept) { query = i; show(); } };
  s.onclick = () => { kept = !(kept && query === i); query = i; show(); };
  return s;
});
at('grid').style.gridTemplateColumns = `repeat(${d.heads}, 1fr)`;
const cells = all(d.layers).map(l => all(d.heads).map(h => {
  const c = make(at('grid'), 'i', '');
  c.onclick = () => { at('layer').value = l; at('head').value = h; show(); };
  return c;
}));
function show() {
  const l = +at('layer').value, h = +at('head').value;
  const ls = l < 0 ? all(d.layers) : [l], hs = h < 0 ? all(d.heads) : [h];
  spans.forEach((s, k) => {
    let sum = 0;
    for (const a of ls) for (const b of hs) sum += weight(a, b, query, k);
    const mean = sum / (ls.length * hs.length);
    s.style.background = `rgba(0, 114, 178, ${mean.toFixed(3)})`;
    s.style.color = mean > 0.6 ? '#fff' : '';
    s.title = mean.toFixed(3);
    s.className = k === query ? 'query' : '';
  });
  cells.forEach((row, a) => row.forEach((c, b) => {
    const most = Math.max(0, ...all(n).filter(k => k !== query)
                                      .map(k => weight(a, b, query, k)));
    c.style.background = `rgba(0, 114, 178, ${Math.max(most, .03).toFixed(3)})`;
    c.title = `layer ${a + 1}, head ${b + 1}: ${most.toFixed(3)}`;
    c.className = a === l && b === h ? 'chosen' : '';
  }));
}
show();
</script></body></html>
"""
