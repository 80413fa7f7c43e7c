"""Texts and passages that share hidden facts, and how well they are read.

Plug-ins of experiments/context_fusion.py: the source, which is made in the
compiled step, and its evaluator.
"""

import dataclasses
import functools
import time

import jax
import jax.numpy as jnp
import numpy as np

from ctxlm.lab import verdicts
from ctxlm.objectives import retrieved
from ctxlm.ranges import Count, Share


@dataclasses.dataclass(frozen=True)
class Source:
  """Texts that ask for facts, beside passages that have some of them.

  A title stands for a table in which every key has a value, drawn anew for
  every example. A passage is a title, and keys, with its value behind each. The
  text is a title, and keys whose values are to be said, and say nothing of each
  other. Of the relevant passage the title is the text's, and so are the values,
  and the text's keys are among its own; all of the others is of other tables.

  Attributes:
    titles, keys, values: how many there are; tokens are numbered from 1 in this
      order, and 0 is nothing.
    asked: keys of the text.
    told: keys of a passage.
    passages: of a text; one at most is relevant, in a random place.
    relevant: share of texts that have a relevant one.
    num_examples: of an evaluation.
  """

  titles: Count = 4
  keys: Count = 32
  values: Count = 32
  asked: Count = 8
  told: Count = 8
  passages: Count = 2
  relevant: Share = 0.75
  num_examples: Count = 512

  def __post_init__(self):
    if self.told > self.keys:
      raise ValueError(f'told is keys={self.keys} at most')
    if self.asked > self.told:
      raise ValueError(f'asked is told={self.told} at most')
    if self.titles <= self.passages:
      raise ValueError('each of the passages and the text has its title')

  @property
  def vocab_size(self):
    """Tokens, with the one that is nothing."""
    return 1 + self.titles + self.keys + self.values

  def example(self, key, step=None):
    """Returns the features of objectives.retrieved; targets are keys' values.

    And 'known', where a relevant passage has the value; 'related', whether
    there is one.
    """
    drawn, there, where, own, *others = jax.random.split(key, 4 + self.passages)
    titles = 1 + jax.random.permutation(drawn, self.titles)
    related = jax.random.uniform(there) < self.relevant
    relevant = jax.random.randint(where, (), 0, self.passages)
    keys, table = self._keys(own), self._table(own)
    asked = jax.random.permutation(jax.random.fold_in(own, 2), keys)
    asked = asked[: self.asked]
    passages = []
    for i, (other, title) in enumerate(zip(others, titles[1:])):
      same = related & (relevant == i)
      passages.append(
        self._said(
          jnp.where(same, titles[0], title),
          jnp.where(same, keys, self._keys(other)),
          jnp.where(same, table, self._table(other)),
        )
      )
    passages = jnp.stack(passages)
    length = 1 + self.asked
    answer = jnp.arange(length) > 0
    return {
      'tokens': jnp.append(titles[0], 1 + self.titles + asked),
      'targets': jnp.append(0, table[asked]),
      'weights': answer.astype(jnp.float32),
      'segment_ids': jnp.ones(length, jnp.int32),
      'positions': jnp.arange(length),
      'passages': passages,
      'passage_ids': jnp.ones(passages.shape, jnp.int32),
      'known': related & answer,
      'related': related,
    }

  def _keys(self, key):
    # The numbers of those that are told.
    order = jax.random.permutation(jax.random.fold_in(key, 1), self.keys)
    return order[: self.told]

  def _table(self, key):
    # The value of each key.
    drawn = jax.random.randint(
      jax.random.fold_in(key, 0), (self.keys,), 0, self.values
    )
    return 1 + self.titles + self.keys + drawn

  def _said(self, title, keys, table):
    # A title, and keys with values of a table.
    pairs = jnp.stack([1 + self.titles + keys, table[keys]], axis=1)
    return jnp.append(title, pairs.ravel())


@dataclasses.dataclass(frozen=True)
class Evaluator:
  """A model beside the best there is, its gate, and what passages cost it.

  Attributes:
    counts: of passages, whose cost is told in place of all else; () is none.
  """

  counts: tuple = ()

  def run(self, bench):
    """Returns nats of what is predicted, gates, and costs.

    Of real text the 'loss' and the mean of the gates alone. Of facts also the
    'best' there is with passages and 'alone'; 'known' and 'unknown', nats of
    values that a relevant passage has and of others; 'let_in', what gates let
    in of passages where one is relevant, and 'let_in_irrelevant', where none
    is; 'above', see verdicts.excess. Of costs, of 8 texts with N passages each,
    'operations_N' and 'seconds_N', see `cost`.
    """
    task = bench.task()
    if self.counts:
      return self._costs(bench, task)
    if task.source is None:
      sums = bench.sums(task, 'validation')
      # Rows of a rehearsal may all be without passages.
      return {name: n / d for name, (n, d) in sums.items() if d}
    batch = fixed_batch(task.source)
    (nats, gates), _ = bench.call(_judged(task.objective), batch)
    asked = np.asarray(batch['weights']) > 0
    related = batch['related'][:, None] & asked
    known, guess = batch['known'], np.log(task.source.values)
    nats = np.asarray(nats, np.float64)
    best = np.where(known, 0.0, guess)
    found = {
      'loss': nats[asked].mean(),
      'best': best[asked].mean(),
      'alone': guess,
      'known': nats[known].mean(),
      'unknown': nats[asked & ~known].mean(),
    }
    if not isinstance(task.objective, retrieved.Objective):
      best = np.full_like(best, guess)
    above = (nats - best)[asked].reshape(len(nats), -1).mean(1)
    found |= verdicts.excess(above)
    if gates is not None:
      found['let_in'] = 1 - np.mean(gates[related])
      found['let_in_irrelevant'] = 1 - np.mean(gates[asked & ~related])
    return found

  def _costs(self, bench, task):
    if task.source is None:
      return {}
    found, few = {}, {k: v[:8] for k, v in fixed_batch(task.source).items()}
    logits = _logits(bench.model, task.objective)
    params = jax.device_put(bench.params, jax.local_devices()[0])
    for count in self.counts:
      more = {
        name: np.repeat(few[name][:, :1], count, axis=1)
        for name in ('passages', 'passage_ids')
      }
      told = cost(logits, params, few | more)
      found[f'operations_{count}'], found[f'seconds_{count}'] = told
    return found


@functools.cache
def fixed_batch(source):
  """Returns the texts that all runs are judged on."""
  keys = jax.random.split(jax.random.key(2024), source.num_examples)
  batch = jax.device_get(jax.jit(jax.vmap(source.example))(keys))
  index = np.arange(len(keys))
  return batch | {'valid': np.ones(len(keys), np.float32), 'index': index}


@functools.cache
def _judged(objective):
  # Of one objective one function, which is compiled once.
  def judged(model, batch):
    gates = None
    if isinstance(objective, retrieved.Objective):
      hidden, gates = objective.read(model, batch)
    else:
      hidden = objective.hidden(model, batch)
    logps = jax.nn.log_softmax(model.logits(hidden))
    targets = batch['targets'][..., None]
    return -jnp.take_along_axis(logps, targets, -1)[..., 0], gates

  return judged


@functools.cache
def _logits(model, objective):
  # Of one model one function, which is compiled once for its rehearsal too.
  @jax.jit
  def logits(params, batch):
    return model.apply(
      {'params': params}, method=lambda model: objective.outputs(model, batch)
    )

  return logits


def cost(function, *args):
  """Returns (floating-point operations, seconds) of a jitted function's call.

  The operations are those that XLA counts in the compiled program; the seconds
  the least of five calls.
  """
  compiled = function.lower(*args).compile()
  operations = compiled.cost_analysis()['flops']
  taken = []
  for _ in range(5):
    begun = time.perf_counter()
    jax.block_until_ready(compiled(*args))
    taken.append(time.perf_counter() - begun)
  return operations, min(taken)
