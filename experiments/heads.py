"""What heads of attention do, and how near a model of sequences is to theory.

The judgement of experiments/induction.py, on what experiments/markov.py draws.
"""

import dataclasses
import functools

import jax
import numpy as np
from scipy import special

from ctxlm.experiments import markov, theory
from ctxlm.lab import verdicts


@dataclasses.dataclass(frozen=True)
class Evaluator:
  """The model beside theory, and what its heads attend to."""

  def run(self, bench):
    """Returns loss, KL to theory, accuracy of recall, and heads' scores.

    'previous' is the first layer's attention to the token before, 'prefix'
    the last one's to tokens after an earlier copy of the current one; means
    over places. 'above' is the loss minus Bayes', see verdicts.excess.
    """
    source = bench.task().source
    batch, lines = fixed(source)
    logits, sown = bench.call(forward, batch['tokens'])
    log_p = np.asarray(jax.nn.log_softmax(logits), np.float64)
    targets = batch['targets']
    nats = -np.take_along_axis(log_p, targets[..., None], -1)[..., 0]
    metrics = {'loss': nats.mean()}
    for name, line in lines.items():
      at = np.take_along_axis(line, targets[..., None], -1)[..., 0]
      metrics[f'{name}_loss'] = -np.log(at).mean()
      kl = special.rel_entr(line, np.exp(log_p)).sum(-1)
      metrics[f'{name}_kl'] = kl.mean()
    metrics |= verdicts.excess((nats + np.log(at)).mean(1))
    asked = batch['asked']
    if asked.any():
      metrics['recall'] = (log_p.argmax(-1) == targets)[asked].mean()
    return metrics | scores(batch['tokens'], sown)


def forward(model, tokens):
  """Returns logits [b, l, v]."""
  return model.logits(model(tokens))


@functools.cache
def fixed(source):
  """Returns the sequences that all runs are judged on, and theory's lines.

  The last line is Bayes'.
  """
  keys = jax.random.split(jax.random.key(2024), source.num_examples)
  batch = jax.device_get(jax.jit(jax.vmap(source.example))(keys))
  tokens, v = batch['tokens'], source.num_symbols
  if source.kind == 'chain':
    return batch, {
      'unigram': theory.unigram_in_context(tokens, v),
      'bigram': theory.bigram_in_context(tokens, v),
    }
  base, _, order = markov.fixed_chain(v)
  triggers = order[: source.triggers]
  return batch, {
    'without_recall': theory.trigger_text(tokens, base, triggers, False),
    'with_recall': theory.trigger_text(tokens, base, triggers),
  }


def scores(tokens, sown):
  """Returns the 'previous' and 'prefix' scores, each the best head's.

  And 'prefix_even', what even attention has.
  """
  place = np.arange(tokens.shape[1])
  copies = tokens[:, :, None] == tokens[:, None, :]  # [b, q, k]
  after = np.zeros_like(copies)
  after[:, :, 1:] = copies[:, :, :-1]  # the token before k is q's
  after &= place[None, :, None] >= place[None, None, :]
  asked = after.any(-1)
  layers = [name for name in sown['stack'] if name.startswith('layers_')]

  def attention(layer):  # [b, h, q, k]
    return np.asarray(sown['stack'][layer]['attention']['attention'][0])

  def prefix(weights):
    matched = (weights * after[:, None]).sum(-1)
    return ((matched * asked[:, None]).sum((0, 2)) / asked.sum()).max()

  before = attention(min(layers))[..., place[1:], place[:-1]].mean((0, 2))
  return {
    'previous': before.max(),
    'prefix': prefix(attention(max(layers))),
    'prefix_even': prefix(1 / (1 + place[:, None])),
  }
