r"""What does each way of reading passages buy, and at what cost?

Claims: a model that reads passages beside its text comes near the best there
is with them, and without them near the best without (retrieval helps: Borgeaud
et al. 2022, RETRO, 2112.04426; Ram et al. 2023, in front of the text,
2302.00083); a gate lets in what is relevant; in front of a text passages cost
quadratically, by cross-attention linearly (Izacard & Grave 2021, 2007.01282).

  ctxlm sweep experiments/context_fusion.py --workdir runs/context_fusion
  ctxlm report experiments/context_fusion.py --workdir runs/context_fusion

Texts and passages are drawn in the compiled step, see experiments/facts.py, so
the best losses are known exactly: ln(values) nats a value without passages, and
that times the share of values that no relevant passage has with them. A quarter
of the texts have no relevant passage at all.

Real text is the embedded corpus, or files that `sweep` is told of by
`--config.tasks.text.data.name=files --config.tasks.text.data.pattern=FILES`.
Beside each row stand passages of the same document's earlier pages, found by
BM25, `pip install 'ctxlm[retrieval]'`; the row is predicted by each way of
reading, and without.

What a reading costs is told of 8 texts beside up to 64 passages of 17 tokens:
floating-point operations that XLA counts, and seconds, which vary.

Tuned on seed 0: 2 heads, no MLPs, Muon at 3e-3; of 2.60 nats that passages can
bring, cross-attention lacks 0.04 after 600 steps and the gate 0.00 after 1,200,
mixing at the output 0.42, in front 0.48. The last two know the values of keys,
and not whether the title is theirs: the output's gate sees the text alone, and
in front two layers have no room for it. With 1 head the gate let in 0.45 of
irrelevant passages and 0.61 of relevant ones, with 2 heads 0.22 and 0.51. In
front 4 layers had learned less than 2 after 700 steps; 2 with AdamW lacked 0.25
after 2,000, cross-attention with it 0.01 after 1,000.

The encoder of passages is causal. One that sees both sides does not bind a key
to the value behind it: with Muon cross-attention stops at 2.00 nats of values
that it has, of eight that it could be ln 8 = 2.08, after 1,200 steps (a causal
one has 0.02 after 300), and with AdamW at 1.95 after 2,000 of one passage that
is always relevant, with learned positions as with T5's.

Tried before, and not solved by any reading: texts that say the values as well,
each key once, so that values not yet said are likelier. Of 8 keys, all told and
asked, cross-attention and the gate came to 1.05 nats, which is what the set of
values says without keys; of 16 keys, 8 of them asked, to 2.76.
"""

import dataclasses
from types import SimpleNamespace as Scale

import numpy as np

from ctxlm.configs import common
from ctxlm.experiments import facts
from ctxlm.lab import verdicts
from ctxlm.lab.experiment import Claim, Line, Plot, Series
from ctxlm.lab.verdicts import Effect, Every, Finding, Mean

SEEDS = verdicts.Seeds(tuned=(0,))
ALONE, IN_FRONT = 'alone', 'in front'
# How passages are read.
READINGS = {
  ALONE: {'name': 'transformer'},
  IN_FRONT: {'name': 'transformer'},
  'cross-attention': {'name': 'reader', 'reading': 'cross_attention'},
  'gate': {'name': 'reader', 'reading': 'gate'},
  'output': {'name': 'reader', 'reading': 'output'},
}
COUNTS = (1, 2, 4, 8, 16, 32, 64)  # of passages, whose cost is told
FUSED = [name for name in READINGS if name != ALONE]
SCALES = {
  'smoke': Scale(
    steps=2,
    batch_size=4,
    every_steps=1,
    size=16,
    layers=1,
    num_examples=8,
    counts=(1, 2),
    # Shorter rows and passages would be many, and are found in minutes.
    text=Scale(
      steps=2, batch_size=2, length=256, passage=128, size=16, vocab_size=300
    ),
  ),
  'small': Scale(
    steps=1200,
    batch_size=64,
    every_steps=100,
    size=64,
    layers=2,
    num_examples=256,
    counts=COUNTS,
    text=Scale(
      steps=300,
      batch_size=16,
      length=128,
      passage=64,
      size=128,
      vocab_size=2048,
    ),
  ),
  'large': Scale(
    steps=10000,
    batch_size=256,
    every_steps=500,
    size=256,
    layers=4,
    num_examples=2048,
    counts=COUNTS,
    text=Scale(
      steps=10000,
      batch_size=64,
      length=512,
      passage=64,
      size=512,
      vocab_size=8192,
    ),
  ),
}


def get_config(scale='small'):
  """Returns the recipe of real text alone; `sweep` makes the facts' of it."""
  s, c = SCALES[scale], common.base()
  c.num_steps = s.text.steps
  c.batch_size = s.text.batch_size
  c.max_length = s.text.length
  c.tokenizer.vocab_size = s.text.vocab_size
  # In front of a row, or for its cost, passages make it longer.
  c.model = common.gpt2_shape(
    s.text.size, s.layers, 4, position='learned', max_length=2048
  )
  c.tasks.text = common.task({'name': 'corpus'}, {'name': 'causal'})
  c.optimizer.learning_rate = 3e-3
  c.optimizer.b2 = 0.95
  c.optimizer.warmup_steps = s.text.steps // 10
  c.checkpoint.every_steps = 0
  c.checkpoint.keep = 1
  own = {'name': 'ctxlm.experiments.facts'}
  c.evaluators.fusion = own
  c.evaluators.cost = own | {'counts': s.counts}
  return c


def sweep(scale):
  """Yields each way of reading, of facts and of real text."""
  s = SCALES[scale]
  source = facts.Source(num_examples=s.num_examples)
  drawn = {
    'tasks.text.data': {'name': 'ctxlm.experiments.facts'}
    | dataclasses.asdict(source),
    'tokenizer.kind': 'none',
    'num_steps': s.steps,
    'batch_size': s.batch_size,
    'max_length': 1 + source.asked,
    'optimizer.warmup_steps': s.steps // 20,
    'optimizer.name': 'muon',
    'evaluators.fusion.every_steps': s.every_steps,
  }
  shape = get_config(scale).model.to_dict()
  small = {
    'vocab_size': source.vocab_size,
    'hidden_size': s.size,
    'num_heads': 2,
    'mlp_dim': -1,
    'init_stddev': 0.1,
    'tie_embeddings': False,
  }
  told = 1 + 2 * source.told
  points = []
  for length, own, more in ((told, small, drawn), (s.text.passage, {}, {})):
    for name, reading in READINGS.items():
      objective = {'name': 'causal'}
      if name != ALONE:
        objective = {'name': 'retrieved', 'passage_length': length}
      model = shape | own | reading
      if drawn is more and 'reading' in reading:
        model['passage_encoder_causal'] = True
      points.append({'model': model, 'tasks.text.objective': objective} | more)
  # Smoke takes each kind of text, and each kind of reading, once.
  return points if scale != 'smoke' else [points[0], points[3], points[6]]


def criteria():
  """Returns the claims."""
  return [
    Claim(
      'beside passages a model comes near the best there is with them',
      'Borgeaud et al. 2022; Ram et al. 2023; Izacard & Grave 2021',
      'lower losses of real text and better answers; of this source no figure',
      'facts: nats a value above the best, as a share of what passages can '
      f'bring: 0.2 at most for each reading; {CONTROL}; nothing is below the '
      'best',
      _near,
    ),
    Claim(
      'a gate closes on irrelevant passages',
      'a control of this code; of no paper',
      'no figure',
      'facts: what the gate lets in where no passage is relevant is at most '
      'half of that where one is, every seed; it reads them, 0.5 at most as '
      'above',
      _gate,
    ),
    Claim(
      'in front of a text passages cost quadratically, apart from it linearly',
      'Izacard & Grave 2021, section 2',
      'quadratic and linear in passages',
      'from 32 to 64 passages operations grow as their number to a power of '
      '1.5 at least in front, of 0.9 to 1.1 by the other readings',
      _costs,
    ),
    Claim(
      'passages of the same document lower the loss of real text',
      'Borgeaud et al. 2022, figure 1; Ram et al. 2023, figure 1',
      'lower losses with passages of other texts; no figure of earlier pages',
      'alone - each reading, nats a token: the 95 % interval over seeds is '
      'above 0; alone it is below 6 nats',
      _real,
    ),
  ]


CONTROL = 'alone it is within 0.05 of the best without passages'


def _of(results, name, drawn=True):
  # The runs of a reading, of facts or of real text.
  model, reading = READINGS[name]['name'], READINGS[name].get('reading')

  def objective(block):
    return (block['name'] == 'causal') == (name == ALONE)

  def shaped(block):
    same = block['name'] == model and block.get('reading') == reading
    return same and ('vocab_size' in block) == drawn

  return results.where(model=shaped, objective=objective)


def _final(results, name, metric, drawn=True, evaluator='fusion'):
  return _of(results, name, drawn).final(f'eval/{evaluator}/{metric}')


def _share(results, name):
  # Nats above the best, as a share of what passages can bring.
  loss, best, alone = (
    _final(results, name, m) for m in ('loss', 'best', 'alone')
  )
  return (loss - best) / (alone - best)


def _sound(results, name):
  above, error = (_final(results, name, m) for m in ('above', 'above_error'))
  return verdicts.sound(f'{name}, nats above the best', above, error)


def _near(results):
  control = _final(results, ALONE, 'above')
  least = _final(results, ALONE, 'loss') - np.max(
    [_final(results, name, 'loss') for name in FUSED], 0
  )
  return Finding(
    wanted=[Every(name, _share(results, name), high=0.2) for name in FUSED],
    learned=[Every(f'{ALONE}, nats above its best', control, high=0.05)],
    sound=[_sound(results, name) for name in READINGS],
    effect=Effect('alone - the worst reading, nats', least, low=0.1),
  )


def _gate(results):
  there, none = (
    _final(results, 'gate', m) for m in ('let_in', 'let_in_irrelevant')
  )
  return Finding(
    wanted=[Every('irrelevant / relevant', none / there, high=0.5)],
    learned=[Every('gate', _share(results, 'gate'), high=0.5)],
    effect=Effect('relevant - irrelevant', there - none, low=0.05),
    beside={'relevant': there, 'irrelevant': none},
  )


def _grows(results, name, what):
  first, last = COUNTS[-2:]
  cost = [
    _final(results, name, f'{what}_{n}', evaluator='cost')
    for n in (first, last)
  ]
  return np.log2(cost[1] / cost[0]) / np.log2(last / first)


def _costs(results):
  power = {n: _grows(results, n, 'operations') for n in FUSED}
  others = [n for n in FUSED if n != IN_FRONT]
  return Finding(
    wanted=[Every(IN_FRONT, power[IN_FRONT], low=1.5)]
    + [Every(n, power[n], low=0.9, high=1.1) for n in others],
    effect=Effect(
      f'{IN_FRONT} - the most of the others',
      power[IN_FRONT] - np.max([power[n] for n in others], 0),
      low=0.1,
    ),
    beside={f'{n}, of seconds': _grows(results, n, 'seconds') for n in FUSED},
  )


def _real(results):
  alone = _final(results, ALONE, 'loss', drawn=False)
  gains = {n: alone - _final(results, n, 'loss', drawn=False) for n in FUSED}
  return Finding(
    wanted=[Mean(n, gain, low=0) for n, gain in gains.items()],
    learned=[Every('alone, nats', alone, high=6)],
    effect=Effect('the best gain, nats', np.max([*gains.values()], 0), 0.005),
    beside={'alone, nats': alone},
  )


def report(results):
  """Returns losses while training, what gates let in, and costs."""

  def costs(what, y):
    series = []
    for name in FUSED:
      runs = _of(results, name)
      found = [runs.curves(f'eval/cost/{what}_{n}')[1] for n in COUNTS]
      if all(x.size for x in found):
        ys = np.concatenate([x[:, -1:] for x in found], axis=1)
        series.append(Series(name, COUNTS, ys))
    return Plot(what, '8 texts', 'passages', y, series, log='xy')

  gate = _of(results, 'gate')
  return [
    Plot(
      'facts',
      'facts beside passages, one of them relevant or none',
      'step',
      'nats a value',
      [_of(results, n).series(n, 'eval/fusion/loss') for n in READINGS],
      [
        Line(word, _of(results, ALONE).level(f'eval/fusion/{m}'))
        for word, m in (
          ('the best alone', 'alone'),
          ('the best with passages', 'best'),
        )
      ],
    ),
    Plot(
      'gate',
      'what the gate lets in of passages',
      'step',
      'mean of 1 - gate',
      [
        gate.series('one is relevant', 'eval/fusion/let_in'),
        gate.series('none is', 'eval/fusion/let_in_irrelevant'),
      ],
    ),
    costs('operations', 'floating-point operations'),
    costs('seconds', 'seconds'),
  ]
