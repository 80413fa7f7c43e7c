"""What the experiments' tests share: a smoke run, and made-up results."""

import dataclasses
import functools
import json
import math
import shlex
import subprocess
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


def smoke(name, folder, *settings):
  """Trains and reports at the smallest scale; returns results.json.

  The points are the commands that the sweep prints. Each runs in a process that
  has imported everything.
  """
  log = folder.with_name('log')

  def run(*words):
    argv = [sys.executable, '-m', 'ctxlm', *words]
    status = tiny.ended(tiny.fork(argv, 1, log, haste=True))
    assert status == 0, log.read_text()
    return log.with_name('log.out').read_text()

  path, where = f'experiments/{name}.py', f'--workdir={folder}'
  flags = ['--scale=smoke', '--seeds=1', '--launcher=print']
  for line in run('sweep', path, where, *flags, *settings).splitlines():
    run(*shlex.split(line)[1:])
  run('report', path, where)
  return _finished(folder)


def _finished(folder):
  summary = json.loads((folder / 'results.json').read_text())
  assert summary['points']
  assert all(p['done'] for p in summary['points'].values())
  return summary


def smoke_by_command(name, folder):
  """Does so by the commands alone, whose points the sweep starts itself."""
  for verb, flags in (
    ('sweep', ['--scale=smoke', '--seeds=1', '--jobs=2']),
    ('report', []),
  ):
    argv = [sys.executable, '-m', 'ctxlm', verb, f'experiments/{name}.py']
    argv += [f'--workdir={folder}', *flags]
    done = subprocess.run(
      argv,
      cwd=tiny.ROOT,
      env=tiny.environment(haste=True),
      capture_output=True,
      text=True,
      timeout=300,
    )
    assert done.returncode == 0, done.stderr
  return _finished(folder)


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
  return sweep.points(module, 'small', range(first, first + 5), {})


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
    found.append((these, verdicts))
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
          for these, verdicts in found
          if (part, bound.what) in failing(these[i])
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


def draw(module, rows_of, folder):
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
    plots.draw(plot, folder / f'{plot.name}.png')
    show(begun)
  # Nothing has begun, and there is a report all the same.
  for plot in module.report(results(module, lambda own: [], done=False)):
    show(plot)


def show(plot):
  """Draws a plot, and writes nothing."""
  figure = plots.make(plot)
  figure.draw_without_rendering()
  plt.close(figure)
