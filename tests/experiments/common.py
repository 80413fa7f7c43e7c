"""What the experiments' tests share: a smoke run, and made-up results."""

import dataclasses
import functools
import json
import math
import sys

import numpy as np
import torch
import transformers
from matplotlib import pyplot as plt

from ctxlm.data.tokenizers import tokenizer as tokenizer_lib
from ctxlm.lab import plots, report
from ctxlm.lab import points as sweep
from ctxlm.lab import results as results_lib
from tests import tiny
from tests.experiments import in_turn


def smoke(name, folder, *settings):
  """Trains and reports at the smallest scale; returns results.json.

  The points are the commands that the sweep prints.
  """
  log = folder.with_name('log')
  argv = [sys.executable, '-m', 'ctxlm', 'sweep', f'experiments/{name}.py']
  argv += [f'--workdir={folder}', '--scale=smoke', '--seeds=1', *settings]
  status = tiny.ended(tiny.fork(argv, 1, log, haste=True, main=in_turn.main))
  assert status == 0, log.read_text()
  summary = json.loads((folder / 'results.json').read_text())
  assert summary['points']
  assert all(p['done'] for p in summary['points'].values())
  return summary


def write_bert(folder, texts):
  """Writes a tiny BERT of random weights, and its tokenizer; returns folder."""
  folder.mkdir()
  tokenizer = tokenizer_lib.train('wordpiece', 60, texts)
  torch.manual_seed(0)
  config = transformers.BertConfig(
    vocab_size=tokenizer.vocab_size,
    hidden_size=16,
    num_hidden_layers=1,
    num_attention_heads=2,
    intermediate_size=64,
    initializer_range=0.2,
  )
  transformers.BertModel(config).save_pretrained(folder)
  tokenizer.save(folder)
  return folder


@functools.cache
def points(module):
  """Returns the points of the small sweep, of five seeds that are judged."""
  first = module.SEEDS.first
  seeds = range(first, first + 5)
  return [  # of one seed they are checked, as the others are the same
    (name.replace(f'seed={first}', f'seed={d}'), own | {'seed': d}, config)
    for name, own, config in sweep.points(module, 'small', seeds[:1], {})
    for d in seeds
  ]


def results(module, rows_of, done=True):
  """Returns Results of the small sweep whose metrics are made up.

  Args:
    module: the experiment.
    rows_of: function of a point's overrides, by the keys' last words, that
      gives its rows of metrics.
    done: whether the points are, or a function of the overrides that says so.
  """
  made = []
  for name, overrides, config in points(module):
    own = {k.split('.')[-1]: v for k, v in overrides.items()}
    rows = rows_of(own)
    is_done = done(own) if callable(done) else done
    made.append(
      results_lib.Point(name, overrides, config.num_steps, rows, is_done)
    )
  return results_lib.Results(made)


LETTERS = {
  'R': 'reproduced',
  'D': 'direction only',
  'N': 'not reproduced',
  'U': 'not judged: untrained',
  'L': 'not judged: better than the best, a leak',
  'O': 'not judged: another text',
}


def check(module, rows, cases, coarse=None, without=()):
  """Cases have their verdicts, and every bound decides at least one of them.

  Args:
    module: the experiment.
    rows: function of a point's overrides, and of what a case changes.
    cases: [({what: value}, a letter of LETTERS a claim)]; those beside a bound
      are within 1 % of it, or 0.001 of 0.
    coarse: {what: share} of bounds that are met in larger steps.
    without: bounds that no metric decides.
  """
  found = []
  for change, letters in cases:
    judged = results(module, lambda own, c=change: rows(own, **c))
    these = [claim.check(judged) for claim in module.criteria()]
    verdicts = [finding.verdict(5, 5) for finding in these]
    assert verdicts == [LETTERS[letter] for letter in letters], (
      change,
      verdicts,
    )
    found.append((these, verdicts, [failing(finding) for finding in these]))
  undecided = []
  for i, finding in enumerate(found[0][0]):
    for part, bound in finding.bounds:
      for side, sign in (('low', -1), ('high', 1)):
        at = getattr(bound, side)
        share = (coarse or {}).get(bound.what, 0.02)
        looser = {side: at + sign * (abs(at) * share or 0.002)}
        if bound.what in without or not math.isfinite(at):
          continue
        if not any(
          loosened(these[i], bound.what, part, looser).verdict(5, 5)
          != verdicts[i]
          for these, verdicts, failed in found
          if (part, bound.what) in failed[i]
        ):
          undecided.append((i, part, bound.what, side))
  assert not undecided, undecided
  judged = results(module, lambda own: rows(own), done=False)
  for row in report.judge(module.criteria(), judged, module.SEEDS):
    assert row['verdict'] == 'unfinished'


def failing(finding):
  """Returns {(part, what)} of the bounds that don't hold."""
  return {(part, one.what) for part, one in finding.bounds if not one.holds}


def loosened(finding, what, part, change):
  """Returns the Finding with one bound of a part changed."""

  def changed(one):
    same = one is not None and one.what == what
    return dataclasses.replace(one, **change) if same else one

  kept = getattr(finding, part)
  new = changed(kept) if part == 'effect' else [changed(one) for one in kept]
  return dataclasses.replace(finding, **{part: new})


def draw(module, rows_of):
  """Draws the report's plots of made-up metrics."""
  whole, first = module.report(results(module, rows_of)), module.SEEDS.first
  # One seed is done, and the other has just begun: it takes nothing away.
  half = module.report(
    results(
      module,
      lambda own: rows_of(own)[: None if own['seed'] == first else 1],
      lambda own: own['seed'] == first,
    )
  )
  for plot, begun in zip(whole, half, strict=True):
    for both, one in zip(plot.series, begun.series, strict=True):
      assert both.label == one.label and len(both.x) == len(one.x) > 0
      assert np.isfinite(both.ys).all()
      np.testing.assert_array_equal(np.asarray(both.ys)[:1], one.ys)
    show(plot)
    show(begun)
  # Nothing has begun, and there is a report all the same.
  for plot in module.report(results(module, lambda own: [], done=False)):
    show(plot)


def show(plot):
  """Draws a plot, and writes nothing."""
  figure = plots.make(plot)
  figure.draw_without_rendering()
  plt.close(figure)
