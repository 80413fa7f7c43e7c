"""Induction heads: two layers learn to copy in context, one layer can't.

Claims:
- Edelman et al. 2024 (2402.11004), abstract and figure 1: attention-only
  Transformers trained on Markov chains, whose transitions are drawn anew for
  every sequence, go through phases: uniform, in-context unigram, then
  abruptly in-context bigram, which is Bayes optimal. One layer stays at the
  unigram.
- Olsson et al. 2022 (2209.11895), "induction heads form in a phase change":
  the loss drops when heads begin to attend to previous tokens.
- Bietti et al. 2023 (2306.00802): the same on bigram text with
  triggers whose next token is drawn anew for every sequence.

  ctxlm sweep experiments/induction.py --workdir runs/induction --seeds=3
  ctxlm report experiments/induction.py --workdir runs/induction

Scales: small is chains of 3 symbols, 16 wide, and triggers among 64 tokens, 64
wide; large has more symbols, more steps, and is meant for one GPU. Triggers are
learned with Muon and learned positions: with AdamW two seeds recalled 0.58 and
0.11 after 2,500 steps, and with Muon and rotary positions one of six seeds
recalled 0.16, and no more after 6,000 steps.
"""

import dataclasses
import functools
from types import SimpleNamespace as Scale

import jax
import numpy as np

from ctxlm.configs import common
from ctxlm.experiments import theory
from ctxlm.lab.experiment import (
  Claim,
  Finding,
  Line,
  Plot,
  Unfinished,
  product,
)
from ctxlm.lab.results import Results

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


@dataclasses.dataclass(frozen=True)
class Evaluator:
  """The model beside theory, and what its heads attend to.

  Attributes:
    task: '' is the first.
  """

  task: str = ''

  def run(self, bench):
    """Returns loss, KL to theory, accuracy of recall, and heads' scores.

    'previous' is the first layer's attention to the token before, 'prefix'
    the last one's to tokens after an earlier copy of the current one; means
    over places.
    """
    source = bench.task(self.task).source
    batch, lines = fixed_batch(source)
    logits, sown = bench.call(forward, batch['tokens'])
    log_p = np.asarray(jax.nn.log_softmax(logits), np.float64)
    targets = batch['targets']
    nats = -np.take_along_axis(log_p, targets[..., None], -1)[..., 0]
    metrics = {'loss': nats.mean()}
    for name, line in lines.items():
      at = np.take_along_axis(line, targets[..., None], -1)
      metrics[f'{name}_loss'] = -np.log(at).mean()
      metrics[f'{name}_kl'] = (line * (np.log(line) - log_p)).sum(-1).mean()
    asked = batch['asked']
    if asked.any():
      metrics['recall'] = (log_p.argmax(-1) == targets)[asked].mean()
    return metrics | heads(batch['tokens'], sown)


def forward(model, tokens):
  """Returns logits [b, l, v]."""
  return model.logits(model(tokens))


@functools.cache
def fixed_batch(source):
  """Returns the sequences that all runs are judged on, and theory's lines."""
  keys = jax.random.split(jax.random.key(2024), source.num_examples)
  batch = jax.device_get(jax.jit(jax.vmap(source.example))(keys))
  if source.kind != 'chain':
    return batch, {}
  lines = {
    'unigram': theory.unigram_in_context(batch['tokens'], source.num_symbols),
    'bigram': theory.bigram_in_context(batch['tokens'], source.num_symbols),
  }
  return batch, lines


def heads(tokens, sown):
  """Returns the 'previous' and 'prefix' scores, each the best head's."""
  place = np.arange(tokens.shape[1])
  copies = tokens[:, :, None] == tokens[:, None, :]  # [b, q, k]
  after = np.zeros_like(copies)
  after[:, :, 1:] = copies[:, :, :-1]  # the token before k is q's
  after &= place[None, :, None] >= place[None, None, :]
  asked = after.any(-1)
  layers = [name for name in sown['stack'] if name.startswith('layers_')]

  def attention(layer):  # [b, h, q, k]
    return np.asarray(sown['stack'][layer]['attention']['attention'][0])

  before = attention(min(layers))[..., place[1:], place[:-1]].mean((0, 2))
  matched = (attention(max(layers)) * after[:, None]).sum(-1)
  matched = (matched * asked[:, None]).sum((0, 2)) / asked.sum()
  return {'previous': before.max(), 'prefix': matched.max()}


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
    'name': 'ctxlm.experiments.induction',
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
      'at least with 1, every seed',
      _optimal,
    ),
    Claim(
      'the model predicts unigrams before it predicts bigrams',
      'Edelman et al. 2024, figure 1',
      'phases: uniform, unigram, bigram',
      'with 2 layers KL(unigram||model) < 0.5 KL(bigram||model) at some step, '
      'and the reverse at the end, every seed',
      _phases,
    ),
    Claim(
      'the loss drops when a head comes to attend to the previous token',
      'Olsson et al. 2022, "phase change"',
      'both in the same narrow window of training',
      'once past the unigram phase (least KL(unigram || model)), the largest '
      'drop of cross-entropy in 100 steps and the largest rise of the '
      'previous-token score in 100 steps, 0.1 at least, are 100 steps apart '
      'at most, every seed',
      _coincide,
    ),
    Claim(
      'two layers recall what followed a trigger in this sequence, one cannot',
      'Bietti et al. 2023',
      'recall with 2 layers, not with 1; no figure checked',
      'accuracy on outputs of triggers seen before: 0.85 at least with 2 '
      'layers, 0.55 at most with 1, every seed',
      _recall,
    ),
  ]


def _chains(results, layers, symbols=3):
  points = results.where(kind='chain', num_layers=layers).points
  return Results([p for p in points if _symbols(p) == symbols])


def _symbols(point):
  return point.overrides.get(f'{DATA}.num_symbols', 3)


def _optimal(results):
  gap = {}
  for symbols in sorted(set(map(_symbols, results.where(kind='chain').points))):
    for layers in (2, 1):
      runs = _chains(results, layers, symbols)
      gap[symbols, layers] = runs.final('eval/theory/loss') - runs.final(
        'eval/theory/bigram_loss'
      )
  one, two = (
    np.stack([v for (_, layers), v in gap.items() if layers == n])
    for n in (1, 2)
  )
  return Finding(
    {
      f'{symbols} symbols, {layers} layers, nats above Bayes': v
      for (symbols, layers), v in gap.items()
    },
    (two <= 0.03).all() and (one >= 0.08).all(),
    (two < one).all(),
  )


def _phases(results):
  runs = _chains(results, 2).finished()
  _, unigram = runs.curves('eval/theory/unigram_kl')
  _, bigram = runs.curves('eval/theory/bigram_kl')
  early = (unigram / bigram).min(1)
  late = (bigram / unigram)[:, -1]
  names = 'least KL(unigram) / KL(bigram)', 'KL(bigram) / KL(unigram), end'
  return Finding(
    dict(zip(names, (early, late), strict=True)),
    (early < 0.5).all() and (late < 0.5).all(),
    (early < 1).all() and (late < 1).all(),
  )


def _coincide(results):
  runs = _chains(results, 2).finished()
  steps, loss = runs.curves('eval/theory/loss')
  _, previous = runs.curves('eval/theory/previous')
  _, unigram = runs.curves('eval/theory/unigram_kl')
  # Before, there is the drop from uniform to unigram, which is none of it.
  span = max(int(round(100 / (steps[1] - steps[0]))), 1)
  if len(steps) <= span:
    raise Unfinished  # too short to have phases, as smoke is
  before = np.arange(len(steps) - span) < unigram.argmin(1)[:, None]

  def largest(values, without):  # gain in 100 steps, and the middle of these
    change = values[:, span:] - values[:, :-span]
    change = np.where(without, -np.inf, change)
    return change.max(1), steps[change.argmax(1)] + 50

  (_, drop), (gain, rise) = largest(-loss, before), largest(previous, before)
  apart = np.where(gain >= 0.1, abs(drop - rise), np.inf)
  return Finding(
    {
      'step of the drop': drop,
      'step of the rise': rise,
      'rise': gain,
      'of the whole run: drop': largest(-loss, False)[1],
      'of the whole run: rise': largest(previous, False)[1],
    },
    (apart <= 100).all(),
    (apart <= 300).all(),
  )


def _recall(results):
  recall = {
    layers: results.where(kind='trigger', num_layers=layers).final(
      'eval/theory/recall'
    )
    for layers in (1, 2)
  }
  return Finding(
    {'2 layers, accuracy': recall[2], '1 layer, accuracy': recall[1]},
    (recall[2] >= 0.85).all() and (recall[1] <= 0.55).all(),
    (recall[2] > recall[1]).all(),
  )


def report(results):
  """Returns the phases, what heads do meanwhile, and the recall."""
  chains = {n: _chains(results, n) for n in (1, 2)}
  theory_lines = []

  def by_depth(runs, metric):
    names = {1: '1 layer', 2: '2 layers'}
    return [runs[n].series(name, metric) for n, name in names.items()]

  for name in ('unigram', 'bigram'):
    _, level = chains[2].curves(f'eval/theory/{name}_loss')
    if level.size:
      theory_lines.append(Line(f'{name} in context', level[0, -1]))
  return [
    Plot(
      'loss',
      'Markov chains in context',
      'step',
      'cross-entropy (nats a token)',
      by_depth(chains, 'eval/theory/loss'),
      theory_lines,
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
    ),
    Plot(
      'recall',
      "triggers' outputs, seen before",
      'step',
      'accuracy',
      by_depth(
        {n: results.where(kind='trigger', num_layers=n) for n in (1, 2)},
        'eval/theory/recall',
      ),
    ),
  ]
