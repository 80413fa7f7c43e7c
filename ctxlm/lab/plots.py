"""Pictures of experiments: column width, colour-blind safe, with their spread.

Each is written twice: as PNG, and beside it as PDF, whose text is text.
"""

import textwrap
from pathlib import Path

import matplotlib
import numpy as np

from ctxlm import files
from ctxlm.inference import pictures
from ctxlm.lab.verdicts import interval

matplotlib.use('Agg')
from matplotlib import pyplot as plt  # noqa: E402

# Okabe & Ito's palette; styles tell curves apart in black and white.
COLOURS = (
  '#0072B2', '#D55E00', '#009E73', '#CC79A7', '#E69F00', '#56B4E9', '#000000'
)  # fmt: skip
STYLES = ('-', '--', '-.', ':')
MARKERS = 'os^Dv<>'
HATCHES = ('', '////', '....', 'xxxx')
WIDTH = 3.4  # inches, a column of a paper
STYLE = {
  'font.family': pictures.families(),
  'font.size': 8,
  'axes.linewidth': 0.6,
  'hatch.linewidth': 0.4,
}
LONG = 26  # letters of a label, of which two don't fit beside each other


def draw_bars(labels, rows, unit, title, path):
  """Writes `make_bars` as PNG, and as PDF."""
  save(make_bars(labels, rows, unit, title), path)


def save(figure, path):
  """Writes a figure as PNG, and as PDF, and ends it."""
  with plt.rc_context({'pdf.fonttype': 42}):
    with files.new_file(path) as new:
      figure.savefig(new, dpi=200, format='png')
    with files.new_file(Path(path).with_suffix('.pdf')) as new:
      figure.savefig(new, format='pdf', metadata={'CreationDate': None})
  plt.close(figure)


def make_bars(labels, rows, unit, title):
  """Returns the figure of a benchmark: medians, and quartiles over repeats.

  Args:
    labels: of the cases.
    rows: {contender: values [repeats]}, one mapping a case.
    unit: of the values.
    title: of the figure.
  """
  names = list(dict.fromkeys(name for row in rows for name in row))
  width, columns = 0.8 / len(names), 1 + (len(names) * len(rows) > 8)
  with plt.rc_context(STYLE):
    figure, axis = plt.subplots(
      figsize=(columns * WIDTH, 2.8), layout='constrained'
    )
    for i, name in enumerate(names):
      places = [k for k, row in enumerate(rows) if name in row]
      low, middle, high = np.array(
        [np.quantile(rows[k][name], (0.25, 0.5, 0.75)) for k in places]
      ).T
      bars = axis.bar(
        [k + (i - (len(names) - 1) / 2) * width for k in places],
        middle,
        width,
        yerr=(middle - low, high - middle),
        error_kw={'elinewidth': 0.8, 'capsize': 2, 'capthick': 0.8},
        color=COLOURS[i % len(COLOURS)],
        edgecolor='white',
        linewidth=0.4,
        hatch=HATCHES[i % len(HATCHES)],
        label=_text(name),
      )
      axis.bar_label(bars, fmt='%.0f', fontsize=6, padding=1)
    axis.set_xticks(range(len(labels)), labels)
    axis.set_ylabel(f'{unit}, median and quartiles')
    axis.set_title(textwrap.fill(title, 55 * columns), fontsize=7)
    axis.spines[['top', 'right']].set_visible(False)
    figure.legend(
      loc='outside lower center', ncols=2 * columns, fontsize=7, frameon=False
    )
    return figure


def _text(label):
  # matplotlib hides what begins with an underscore.
  label = pictures.drawable(label)
  return f' {label}' if label.startswith('_') else label


def make(plot):
  """Returns a Plot's figure: means, seeds, bands of 95 % over them, theory."""
  with plt.rc_context(STYLE):
    lines = [line for line in plot.lines if line.y is not None]
    labels = [x.label for x in (*plot.series, *lines) if x.label]
    columns = 1 if max(map(len, labels), default=0) > LONG else 2
    rows = -(-len(labels) // columns)
    figure, axis = plt.subplots(
      figsize=(WIDTH, 2.3 + 0.16 * rows), layout='constrained'
    )
    for i, series in enumerate(plot.series):
      _curve(axis, series, i)
    for i, line in enumerate(lines):
      style = dict(
        color='0.35', linewidth=0.9, linestyle=(0, (1 + 2 * i, 1.5)), zorder=1
      )
      if np.ndim(line.y) == 0:
        axis.axhline(line.y, label=line.label, **style)
      else:
        axis.plot(*line.y, label=line.label, **style)
    xs = np.concatenate([np.ravel(s.x) for s in plot.series] or [[]])
    whole = (xs == np.round(xs)).all()
    if whole and 'x' not in plot.log:
      axis.xaxis.get_major_locator().set_params(integer=True)
    if 'x' in plot.log:  # sizes are doubled; rates are not
      axis.set_xscale('log', base=2 if whole else 10)
      if whole:
        axis.xaxis.set_major_formatter(_plain)
      else:
        _mark(axis.xaxis, axis.get_xlim())
    if 'y' in plot.log:
      axis.set_yscale('log')
    _fit(axis, plot)
    if 'y' in plot.log:
      _mark(axis.yaxis, axis.get_ylim())
    axis.set_xlabel(plot.x)
    axis.set_ylabel(plot.y)
    axis.set_title(plot.title, fontsize=8)
    axis.spines[['top', 'right']].set_visible(False)
    axis.grid(color='0.9', linewidth=0.5)
    if axis.get_legend_handles_labels()[0]:
      figure.legend(
        loc='outside lower center', ncols=columns, fontsize=7, frameon=False
      )
    return figure


def _mark(axis, limits):
  # Ticks of a logarithmic axis, a few however far it reaches.
  low, high = limits
  subs = (1, 2, 5) if high / low < 100 else (1,)
  axis.set_major_locator(matplotlib.ticker.LogLocator(subs=subs))
  axis.set_major_formatter(_plain)
  axis.set_minor_formatter('')


def _plain(value, _):
  return f'{value:g}'


def _fit(axis, plot):
  # The curves fill the picture: a band of few seeds may be very wide.
  log = axis.get_yscale() == 'log'

  def flat(values):
    ys = np.concatenate([np.zeros(0), *(np.ravel(v) for v in values)])
    return ys[np.isfinite(ys) & ((ys > 0) | (not log))]

  ys = flat([s.ys for s in plot.series if s.kind != 'faint'])
  lines = flat([np.atleast_1d(l.y)[-1] for l in plot.lines if l.y is not None])
  if log and ys.size:  # a theory's 0 would leave the curves no room
    lines = lines[lines > ys.min() / 10]
  ys = np.concatenate([ys, lines])
  if not ys.size or ys.min() == ys.max():
    return
  low, high = (
    (np.log(ys.min()), np.log(ys.max())) if log else (ys.min(), ys.max())
  )
  margin = 0.08 * (high - low)
  limits = np.array([low - margin, high + margin])
  axis.set_ylim(*(np.exp(limits) if log else limits))


def _curve(axis, series, i):
  x, ys = np.asarray(series.x, float), np.asarray(series.ys, float)
  if not ys.size:
    return
  colour = COLOURS[i % len(COLOURS)]
  mean, half = np.array([interval(y[~np.isnan(y)]) for y in ys.T]).T
  label = _text(series.label) or None
  if series.kind == 'faint':
    axis.plot(x, mean, color='0.75', linewidth=0.6, label=label, zorder=1)
    return
  if series.kind == 'star':
    axis.plot(
      x,
      mean,
      color='black',
      marker='*',
      markersize=9,
      linestyle='',
      fillstyle='none',
      label=label,
      zorder=4,
    )
    return
  joined = series.kind == 'line'
  few = len(x) <= 12
  axis.plot(
    x,
    mean,
    color=colour,
    linestyle=STYLES[i % len(STYLES)] if joined else '',
    linewidth=1.2,
    marker=MARKERS[i % len(MARKERS)] if few or not joined else None,
    markersize=3,
    label=label,
  )
  if not joined:
    half = np.where((~np.isnan(ys)).sum(0) > 2, half, np.nan)
    axis.errorbar(x, mean, half, color=colour, linestyle='', linewidth=0.8)
    return
  if len(ys) > 1:
    axis.plot(x, ys.T, color=colour, linewidth=0.4, alpha=0.6)
  if len(ys) > 2:  # of two seeds the interval is 13 times their half distance
    axis.fill_between(
      x, mean - half, mean + half, color=colour, alpha=0.2, linewidth=0
    )
