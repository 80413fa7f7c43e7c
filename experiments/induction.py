"""Induction heads: two layers learn to copy in context, one layer can't.

Claims:
- Edelman et al. 2024 (2402.11004), abstract and figure 1: attention-only
  Transformers trained on Markov chains, whose transitions are drawn anew for
  every sequence, go through phases: uniform, in-context unigram, then
  abruptly in-context bigram, which is Bayes optimal. One layer stays at the
  unigram.
- Olsson et al. 2022 (2209.11895), "induction heads form in a phase change":
  the loss drops when heads begin to attend to what followed an earlier copy.
- Bietti et al. 2023 (2306.00802): the same on bigram text with
  triggers whose next token is drawn anew for every sequence.

  ctxlm sweep experiments/induction.py --workdir runs/induction
  ctxlm report experiments/induction.py --workdir runs/induction

Scales: small is chains of 3 symbols, 16 wide, and triggers among 64 tokens, 64
wide; large has more symbols, more steps, and is meant for one GPU.

Tuned on seeds 0 to 5. Triggers are learned with Muon and learned positions:
with AdamW two of these seeds recalled 0.58 and 0.11 after 2,500 steps, and with
Muon and rotary positions one of the six recalled 0.16, and no more after 6,000.
The phase change was judged by attention to the previous token: there drop and
rise were 50 steps apart at most in five of the six, 1,025 in the other. By
Olsson et al. an induction head is one that matches prefixes, so that is judged
now. Even attention has a prefix score of 0.42 on the chains; of the triggers'
outputs 1 in 59 is right by chance.
"""

from types import SimpleNamespace as Scale

import numpy as np

from ctxlm.configs import common
from ctxlm.experiments import markov
from ctxlm.lab import verdicts
from ctxlm.lab.experiment import Claim, Line, Plot, Unfinished, product
from ctxlm.lab.results import Results
from ctxlm.lab.verdicts import Effect, Every, Finding

SEEDS = verdicts.Seeds(tuned=range(6))
DATA = 'tasks.text.data'
SCALES = {
  'smoke': Scale(
    num_steps=4,
    every_steps=2,
    batch_size=8,
    length=16,
    num_examples=8,
    more_symbols=(),
    triggers=Scale(size=16, length=16, batch_size=8, every_steps=2),
  ),
  'small': Scale(
    num_steps=2000,
    every_steps=25,
    batch_size=64,
    length=100,
    num_examples=512,
    more_symbols=(),
    triggers=Scale(size=64, length=128, batch_size=32, every_steps=100),
  ),
  'large': Scale(
    num_steps=8000,
    every_steps=50,
    batch_size=256,
    length=100,
    num_examples=512,
    more_symbols=(2, 5, 8),
    triggers=Scale(size=64, length=128, batch_size=32, every_steps=100),
  ),
}


def get_config(scale='small'):
  """Returns the recipe of the chain; `sweep` makes the triggers' of it."""
  s, c = SCALES[scale], common.base()
  c.num_steps = s.num_steps
  c.batch_size = s.batch_size
  c.max_length = s.length
  c.tokenizer.kind = 'none'
  c.model = {
    'name': 'transformer',
    'vocab_size': 3,
    'hidden_size': 16,
    'num_layers': 2,
    'num_heads': 1,
    'mlp_dim': -1,
    'position': 'rotary',
    'tie_embeddings': False,
    'init_stddev': 0.1,
  }
  data = {
    'name': 'ctxlm.experiments.markov',
    'kind': 'chain',
    'num_symbols': 3,
    'length': c.max_length,
    'num_examples': s.num_examples,
  }
  c.tasks.text = common.task(data, {'name': 'causal'})
  c.optimizer.learning_rate = 3e-3
  c.optimizer.b2 = 0.95
  c.optimizer.warmup_steps = min(50, s.num_steps)
  c.optimizer.schedule = 'constant'
  c.log_every_steps = s.every_steps
  c.checkpoint.every_steps = 20 * s.every_steps
  c.checkpoint.keep = 1
  c.evaluators.theory = {
    'name': 'ctxlm.experiments.heads',
    'every_steps': s.every_steps,
  }
  return c


def sweep(scale):
  """Yields one and two layers, of the chain and of the triggers."""
  s = SCALES[scale]
  triggers = {
    f'{DATA}.kind': 'trigger',
    f'{DATA}.num_symbols': s.triggers.size,
    f'{DATA}.length': s.triggers.length,
    'max_length': s.triggers.length,
    'model.vocab_size': s.triggers.size,
    'model.hidden_size': s.triggers.size,
    'model.position': 'learned',
    'optimizer.name': 'muon',
    'batch_size': s.triggers.batch_size,
    'num_steps': s.num_steps,
    'evaluators.theory.every_steps': s.triggers.every_steps,
  }
  kinds = [{f'{DATA}.kind': 'chain'}, triggers]
  kinds += [
    {f'{DATA}.kind': 'chain', f'{DATA}.num_symbols': v, 'model.vocab_size': v}
    for v in s.more_symbols
  ]
  listed = product(kinds, {'model.num_layers': (1, 2)})
  # Smoke takes each kind and each depth once.
  return listed if scale != 'smoke' else listed[1:3]


def criteria():
  """Returns the claims."""
  return [
    Claim(
      'two layers reach the in-context bigram, which is Bayes optimal; one '
      'stays at the unigram',
      'Edelman et al. 2024, abstract',
      '2 layers at the bigram, 1 layer at the unigram',
      'final cross-entropy above Bayes: 0.03 nats at most with 2 layers, 0.08 '
      'at least with 1, whose loss is at most 0.02 above the unigram, every '
      'seed; nothing is below Bayes',
      _optimal,
    ),
    Claim(
      'the model predicts unigrams before it predicts bigrams',
      'Edelman et al. 2024, figure 1',
      'phases: uniform, unigram, bigram',
      'with 2 layers KL(unigram || model) is at most half of KL(bigram || '
      'model) and 0.05 nats at some step, and KL(bigram || model) at most half '
      'of the other at the end, every seed; the loss ends at most 0.02 above '
      'the unigram, and not below Bayes',
      _phases,
    ),
    Claim(
      'the loss drops when a head comes to attend to what followed an earlier '
      'copy',
      'Olsson et al. 2022, "phase change"',
      'both in the same narrow window of training',
      'once past the unigram phase (least KL(unigram || model)), the largest '
      'drop of cross-entropy in 100 steps, 0.02 at least, and the largest rise '
      'of the prefix score in 100 steps, 0.1 at least, are 100 steps apart '
      'at most, every seed; the loss ends at most 0.06 above Bayes, and not '
      'below',
      _coincide,
    ),
    Claim(
      'two layers recall what followed a trigger in this sequence, one cannot',
      'Bietti et al. 2023',
      'recall with 2 layers, not with 1; no figure checked',
      'accuracy on outputs of triggers seen before (chance 1 in 59): 0.85 at '
      'least with 2 layers, 0.55 at most with 1, whose loss is at most 0.05 '
      'above that of the text without recall, every seed; nothing is below '
      'Bayes',
      _recall,
    ),
  ]


def _chains(results, layers, symbols=3):
  points = results.where(kind='chain', num_layers=layers).points
  return Results([p for p in points if _symbols(p) == symbols])


def _symbols(point):
  return point.overrides.get(f'{DATA}.num_symbols', 3)


def _above(runs, line):  # nats, at the end
  loss = runs.final('eval/theory/loss')
  return loss - runs.final(f'eval/theory/{line}_loss')


def _sound(what, runs):
  above, error = (
    runs.final(f'eval/theory/{name}') for name in ('above', 'above_error')
  )
  return verdicts.sound(f'{what}, nats above Bayes', above, error)


def _optimal(results):
  symbols = sorted(set(map(_symbols, results.where(kind='chain').points)))
  one, two = ([_chains(results, n, s) for s in symbols] for n in (1, 2))
  least = np.min([_above(runs, 'bigram') for runs in one], 0)
  most = np.max([_above(runs, 'bigram') for runs in two], 0)
  floor = np.max([_above(runs, 'unigram') for runs in one], 0)
  return Finding(
    wanted=[
      Every('2 layers, nats above Bayes', most, high=0.03),
      Every('1 layer, nats above Bayes', least, low=0.08),
    ],
    learned=[Every('1 layer, nats above the unigram', floor, high=0.02)],
    sound=[
      _sound(f'{n}, {s} symbols', runs)
      for n, arm in (('1 layer', one), ('2 layers', two))
      for s, runs in zip(symbols, arm)
    ],
    effect=Effect('1 layer - 2 layers, nats', least - most, low=0.05),
  )


def _phases(results):
  runs = _chains(results, 2).finished()
  _, unigram = runs.curves('eval/theory/unigram_kl')
  _, bigram = runs.curves('eval/theory/bigram_kl')
  at = (unigram / bigram).argmin(1)[:, None]
  near = np.take_along_axis(unigram, at, 1)[:, 0]
  early = near / np.take_along_axis(bigram, at, 1)[:, 0]
  late = (bigram / unigram)[:, -1]
  return Finding(
    wanted=[
      Every('least KL(unigram) / KL(bigram)', early, high=0.5),
      Every('KL(unigram) there, nats', near, high=0.05),
      Every('KL(bigram) / KL(unigram), end', late, high=0.5),
    ],
    learned=[
      Every('nats above the unigram', _above(runs, 'unigram'), high=0.02)
    ],
    sound=[_sound('2 layers', runs)],
    effect=Effect(
      'log of the ratios, the nearer to 0',
      -np.log(np.maximum(early, late)),
      low=0.2,
    ),
  )


def _coincide(results):
  runs = _chains(results, 2).finished()
  steps, loss = runs.curves('eval/theory/loss')
  _, prefix = runs.curves('eval/theory/prefix')
  _, unigram = runs.curves('eval/theory/unigram_kl')
  # Before, there is the drop from uniform to unigram, which is none of it.
  span = max(int(round(100 / (steps[1] - steps[0]))), 1)
  if len(steps) <= span:
    raise Unfinished  # too short to have phases, as smoke is
  before = np.arange(len(steps) - span) < unigram.argmin(1)[:, None]

  def largest(values):  # gain in 100 steps, and the middle of these
    change = values[:, span:] - values[:, :-span]
    change = np.where(before, -np.inf, change)
    return change.max(1), steps[change.argmax(1)] + 50

  (fall, drop), (gain, rise) = largest(-loss), largest(prefix)
  return Finding(
    wanted=[
      Every('steps apart', abs(drop - rise), high=100),
      Every('rise of the prefix score', gain, low=0.1),
      Every('drop of the loss, nats', fall, low=0.02),
    ],
    learned=[Every('nats above Bayes', _above(runs, 'bigram'), high=0.06)],
    sound=[_sound('2 layers', runs)],
    beside={'step of the drop': drop, 'step of the rise': rise},
  )


def _recall(results):
  one, two = (results.where(kind='trigger', num_layers=n) for n in (1, 2))
  recall = [runs.final('eval/theory/recall') for runs in (one, two)]
  floor = _above(one, 'without_recall')
  return Finding(
    wanted=[
      Every('2 layers, accuracy', recall[1], low=0.85),
      Every('1 layer, accuracy', recall[0], high=0.55),
    ],
    learned=[Every('1 layer, nats above no recall', floor, high=0.05)],
    sound=[_sound('1 layer', one), _sound('2 layers', two)],
    effect=Effect('2 layers - 1 layer', recall[1] - recall[0], low=0.1),
  )


def report(results):
  """Returns the phases, what heads do meanwhile, and the recall."""
  chains = {n: _chains(results, n) for n in (1, 2)}
  triggers = {n: results.where(kind='trigger', num_layers=n) for n in (1, 2)}
  sizes = {p.overrides[f'{DATA}.num_symbols'] for p in triggers[2].points}
  others = max(sizes, default=64) - markov.Source.triggers

  def by_depth(runs, metric):
    names = {1: '1 layer', 2: '2 layers'}
    return [runs[n].series(name, metric) for n, name in names.items()]

  return [
    Plot(
      'loss',
      'Markov chains in context',
      'step',
      'cross-entropy (nats a token)',
      by_depth(chains, 'eval/theory/loss'),
      [
        Line(f'{name} in context', chains[2].level(f'eval/theory/{name}_loss'))
        for name in ('unigram', 'bigram')
      ],
      log='x',
    ),
    Plot(
      'phases',
      'two layers: nearer to which predictor?',
      'step',
      'KL(predictor || model) (nats)',
      [
        chains[2].series(f'{name} in context', f'eval/theory/{name}_kl')
        for name in ('unigram', 'bigram')
      ],
      log='x',
    ),
    Plot(
      'heads',
      'two layers: what the heads attend to',
      'step',
      'share of attention',
      [
        chains[2].series('previous token', 'eval/theory/previous'),
        chains[2].series('after an earlier copy', 'eval/theory/prefix'),
      ],
      [
        Line(
          'after an earlier copy, even attention',
          chains[2].level('eval/theory/prefix_even'),
        )
      ],
      log='x',
    ),
    Plot(
      'recall',
      "triggers' outputs, seen before",
      'step',
      'accuracy',
      by_depth(triggers, 'eval/theory/recall'),
      [Line(f'chance, 1 in {others}', 1 / others)],
    ),
  ]
