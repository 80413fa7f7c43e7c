"""What the model writes for a split, against what is right there.

A seq2seq task's targets of its sources, or a causal model's completions of
prompts, by any strategy of ctxlm.decoding:

    c.evaluators.translation = {
      'name': 'generation',
      'metrics': ('bleu', 'chrf:word_order=2'),
      'decoding': {'strategy': 'beam:num_beams=4', 'max_new_tokens': 64},
    }

Each figure has an interval of 95 %, `bleu_low` to `bleu_high`, see
ctxlm.evaluators.metrics.bootstrap.
"""

import dataclasses
from typing import Any

import numpy as np

from ctxlm import decoding as decoding_lib
from ctxlm import objectives, plugins
from ctxlm.data.views import texts
from ctxlm.decoding import build, stream
from ctxlm.errors import UserError, note
from ctxlm.evaluators.bench import FEW
from ctxlm.evaluators.metrics import bootstrap
from ctxlm.ranges import Whole


@dataclasses.dataclass(frozen=True)
class Evaluator:
  """Judges texts that the model writes.

  Attributes:
    metrics: names of ctxlm.evaluators.metrics, with their options as in
      'bleu:tokenize=intl'.
    decoding: settings of ctxlm.decoding.build.config_of: strategy, processors,
      max_new_tokens, temperature, ... Left out, the strategy is greedy.
    data: ctxlm.data.sources.Source whose records are such as the task's; beside
      a target may be 'references', a list of texts each of which is right. Left
      out, it is the task's own.
    task: whose objective is ctxlm.objectives.Writes; '' is the first.
    split: of the data.
    limit: records, the first ones of the split; 0 is all.
    batch_size: texts that are written at a time; 0 is config.batch_size.
  """

  metrics: tuple[str, ...] = ()
  decoding: dict = dataclasses.field(default_factory=dict)
  data: Any = plugins.field('data.sources')
  task: str = ''
  split: str = 'validation'
  limit: Whole = 0
  batch_size: Whole = 0

  def __post_init__(self):
    if not self.metrics:
      known = plugins.names('evaluators.metrics')
      raise UserError(
        f'evaluator generation needs metrics, of {", ".join(known)}'
      )
    metrics_of(self.metrics)
    config_of(self.decoding)

  def run(self, bench):
    """Returns the metrics' figures, tokens of a text (mean), and examples."""
    task = bench.task(self.task)
    objective = task.objective
    if not isinstance(objective, objectives.Writes) or task.source:
      raise UserError(
        f'evaluator generation: task {task.name!r} does not learn to write '
        'texts: it is for seq2seq and causal'
      )
    generator = bench.writer(task, config_of(self.decoding))
    try:
      prompts, references = self._examples(bench, task, generator)
      size = self.batch_size or bench.config.batch_size
      written = write(generator, prompts, size)
    finally:
      generator.take(None)
    found = [stream.clean(generator, tokens).strip() for tokens in written]
    figures = {
      'tokens': np.mean([len(tokens) for tokens in written]),
      'examples': len(written),
    }
    return figures | measured(bench, self.metrics, found, references)

  def _examples(self, bench, task, generator):
    """Returns (ids of each prompt, [texts] that are right for each)."""
    source = self.data or plugins.build(
      'data.sources', bench.config.tasks[task.name].data
    )
    view = texts.View.open(
      source.records(self.split),
      source.fingerprint(self.split),
      *(bench.tokenizer, task.objective.max_length, task.objective),
    )
    room = generator.room
    prompts, references, left_out = [], [], 0
    for i in range(min(len(view), self.limit or len(view))):
      rng = np.random.default_rng([bench.config.seed, i])
      record = view.read(i, rng)
      try:
        for ids, target in task.objective.prompted(record, rng, room):
          right = self._right(record.get('references', target))
          if ids is None:
            left_out += 1
            continue
          generator.check(ids)
          prompts.append(ids)
          references.append(right)
      except UserError as e:
        raise UserError(
          f'evaluator generation: record {i} of the split {self.split!r}: {e}'
        ) from e
    if left_out:
      note(
        f'evaluator generation: {left_out} of {len(prompts) + left_out} '
        f'prompts are left out: they are longer than {room} tokens'
      )
    if not prompts:
      raise UserError('evaluator generation: no prompt has room')
    if bench.enough(len(prompts)):
      return prompts[:FEW], references[:FEW]
    return prompts, references

  def _right(self, right):
    right = [right] if isinstance(right, str) else right
    if not isinstance(right, (list, tuple)) or not all(
      isinstance(one, str) for one in right
    ):
      raise UserError('what is right for it is no text, or list of them')
    return [one.strip() for one in right]


def metrics_of(texts):
  """Returns {name: Metric} of names with their options; see Evaluator.

  Raises:
    UserError: one is unknown, or twice.
  """
  kind, found = 'evaluators.metrics', {}
  for text in texts:
    block = build.parse(kind, text)
    name = block['name']
    if name in found:
      raise UserError(f'an evaluator: the metric {name} is twice')
    found[name] = plugins.build(kind, block)
  return found


def measured(bench, names, found, references):
  """Returns the figures of texts, and signs them; see Evaluator.

  Args:
    bench: ctxlm.evaluators.bench.Bench.
    names: see `metrics_of`.
    found: texts.
    references: for each, a list of texts that are right.
  """
  figures = {}
  for name, metric in metrics_of(names).items():
    score, signature = metric.measure(found, references)
    figures |= bootstrap.figures(score, len(found), metric.halves)
    if signature:
      bench.sign(name, signature)
  return figures


def config_of(settings):
  """Returns the decoding config of an evaluator, in which nothing is None.

  Args:
    settings: see Evaluator.

  Raises:
    UserError: they can't be, or are not for one text of each prompt.
  """
  config, said = decoding_lib.base(), build.config_of(settings)
  config.strategy.name = 'greedy'
  for key, value in said.items():
    if value is not None:
      config[key] = value
  build.check(config)
  if config.num_samples > 1 or config.strategy.get('draft'):
    raise UserError(
      'an evaluator: one text an example is judged, without a draft model: '
      "leave out decoding's num_samples and draft"
    )
  return config


def write(generator, prompts, size):
  """Returns the ids that are written after each prompt, in their order.

  Those of like length are written together, as they end at like times.
  """
  order = sorted(range(len(prompts)), key=lambda i: -len(prompts[i]))
  out = [None] * len(prompts)
  for start in range(0, len(order), size):
    chosen = order[start : start + size]
    texts = generator([prompts[i] for i in chosen], chosen, size)
    for i, own in zip(chosen, texts, strict=True):
      out[i] = own[0]['tokens']
  return out
