"""Pictures hold what they are given."""

import numpy as np
import pytest
from matplotlib import pyplot as plt
from matplotlib.colors import to_hex
from matplotlib.container import BarContainer

from ctxlm.lab import plots
from ctxlm.lab.experiment import Line, Plot, Series

X = np.array([1.0, 2, 4, 8])
YS = np.array(
  [[1.0, 0.5, 0.2, 0.1], [1.2, 0.7, 0.2, 0.3], [1.1, 0.6, 0.2, 0.2]]
)


@pytest.fixture
def axis():
  figures = []

  def make(**options):
    series = [Series('ours', X, YS), Series('one seed', X, YS[:1] / 2)]
    series += [Series('two', X, YS[:2] / 4)]
    lines = [Line('level', 0.4), Line('theory', (X, 1e-12 * X))]
    plot = Plot('n', 'title', 'examples', 'nats', series, lines, **options)
    figures.append(plots.make(plot))
    return figures[-1].axes[0]

  yield make
  for figure in figures:
    plt.close(figure)


def test_means_seeds_and_theory_are_drawn(axis):
  axes = axis()
  drawn = {line.get_label(): line.get_xydata() for line in axes.lines}
  np.testing.assert_allclose(drawn['ours'], np.stack([X, YS.mean(0)], 1))
  np.testing.assert_allclose(drawn['one seed'][:, 1], YS[0] / 2)
  np.testing.assert_allclose(drawn['theory'][:, 1], 1e-12 * X)
  assert set(drawn['level'][:, 1]) == {0.4}
  seeds = [x.get_ydata() for x in axes.lines if x.get_label()[0] == '_']
  np.testing.assert_allclose(seeds, [*YS, *YS[:2] / 4])
  # Student's t with two degrees of freedom: 4.3027 of the standard error. Of
  # two seeds there is no band.
  (band,) = axes.collections
  top = band.get_paths()[0].vertices[:, 1].max()
  half = 4.3027 * YS[:, 0].std(ddof=1) / 3**0.5
  assert top == pytest.approx(1.1 + half, rel=1e-3)
  assert (axes.get_xlabel(), axes.get_ylabel()) == ('examples', 'nats')
  assert axes.get_title() == 'title'


def test_curves_fill_the_picture(axis):
  low, high = axis().get_ylim()
  assert -0.2 < low <= 0 and 1.2 <= high < 1.4
  # A theory that is 0 leaves the curves their room.
  axes = axis(log='xy')
  low, high = axes.get_ylim()
  assert 0.01 < low <= 0.025 and 1.2 <= high < 2
  assert axes.get_xscale() == axes.get_yscale() == 'log'


def test_bars_are_medians_and_quartiles_over_repeats():
  rows = [
    {'ours': [4.0, 1, 2, 3, 50], '_x$y$': [7.0, 7, 7]},
    {'ours': [2.0, 4]},
  ]
  figure = plots.make_bars(['a', 'b'], rows, 'tokens / s', 'a machine')
  (axes,) = figure.axes
  ours, theirs = [x for x in axes.containers if isinstance(x, BarContainer)]
  assert [bar.get_height() for bar in ours] == [3, 3]
  assert [bar.get_height() for bar in theirs] == [7]
  spreads = ours.errorbar.lines[2][0].get_segments()
  np.testing.assert_allclose([s[:, 1] for s in spreads], [[2, 4], [2.5, 3.5]])
  # Bars of a case are side by side, in the house's colours.
  places = [bar.get_x() + bar.get_width() / 2 for bar in (*ours, *theirs)]
  np.testing.assert_allclose(places, [-0.2, 0.8, 0.2])
  colours = [to_hex(x[0].get_facecolor()).upper() for x in (ours, theirs)]
  assert tuple(colours) == plots.COLOURS[:2]
  assert axes.get_ylabel() == 'tokens / s, median and quartiles'
  named = [text.get_text() for text in figure.legends[0].get_texts()]
  assert named == ['ours', r' _x\$y\$']
  plt.close(figure)


def test_points_are_not_joined_and_have_an_interval_of_three_seeds():
  ys = np.vstack([YS[:, :2], [[np.nan, 0.9]]])  # a seed fewer at the first
  few = np.where(np.arange(2) == 0, np.nan, YS[2:, :2])
  series = [
    Series('', X[:2], np.vstack([YS[:2, :2], few]), 'points'),
    Series('all', X[:2], ys, 'points'),
    Series('best', X[:1], [[0.1]], 'star'),
  ]
  figure = plots.make(Plot('n', 'title', 'x', 'y', series))
  (axes,) = figure.axes
  points, everything, best = (
    line for line in axes.lines if line.get_marker() not in ('None', None, '')
  )
  assert points.get_linestyle() == everything.get_linestyle() == 'None'
  np.testing.assert_allclose(points.get_ydata(), [1.1, 0.6])
  np.testing.assert_allclose(everything.get_ydata(), [1.1, 0.675])
  # Of two seeds there is no bar.
  bars = [c.get_segments() for c in axes.collections]
  assert [[len(s) == 2 for s in segments] for segments in bars] == [
    [False, True],
    [True, True],
  ]
  half = 4.3027 * YS[:, 1].std(ddof=1) / 3**0.5
  assert np.ptp(bars[0][1][:, 1]) == pytest.approx(2 * half, rel=1e-3)
  assert best.get_marker() == '*'
  plt.close(figure)


def test_what_is_faint_takes_no_room():
  series = [Series('ours', X, YS), Series('', X, 100 * YS, 'faint')]
  figure = plots.make(Plot('n', 'title', 'x', 'y', series))
  assert figure.axes[0].get_ylim()[1] < 2
  plt.close(figure)


@pytest.mark.parametrize('xs, base', [(X, 2), (X / 1000, 10)])
def test_sizes_are_doubled_and_rates_are_not(xs, base):
  figure = plots.make(
    Plot('n', 'title', 'x', 'y', [Series('', xs, YS)], log='x')
  )
  assert figure.axes[0].xaxis.get_transform().base == base
  plt.close(figure)
