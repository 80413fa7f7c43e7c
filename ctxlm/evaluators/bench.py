"""What an evaluator is given: the model, the tasks, and their data."""

import functools
import itertools

import jax
import numpy as np

from ctxlm import context, plugins
from ctxlm import data as data_lib
from ctxlm.data import framing, loader
from ctxlm.decoding.continuations import Continuations
from ctxlm.decoding.generator import Generator, Writer
from ctxlm.errors import UserError
from ctxlm.models import states
from ctxlm.objectives import task as task_lib
from ctxlm.parallel import rows as rows_lib
from ctxlm.parallel.collectives import gather

FEW = 2  # examples of a rehearsal, where an evaluator reads one by one


class Bench:
  """One for a run; it keeps compiled functions and opened views.

  Attributes:
    config: the whole config.
    tokenizer: the run's tokenizer.
    tasks: {name: Task}.
    params: the parameters to judge; set by `run`.
    signatures: {'eval/NAME/METRIC': how it is computed}, of those that say it.
    examples: {'eval/NAME': [what an evaluator says of each example]}, likewise.
    frame: framing.Frame of what the model goes on from; None is a document's.
    vectors_by: (folder, texts) -> their vectors float32 [n, m] by an encoder,
      see training.initial.vectors_by; None where none can be opened.
  """

  def __init__(self, config, tokenizer, placement, model, apply, tasks):
    self.config = config
    self.model = model
    self.tokenizer = tokenizer
    self.tasks = {task.name: task for task in tasks}
    self.params = None
    self.signatures = {}
    self.examples = {}
    self.frame = None
    self.vectors_by = None
    self._name = ''
    self._rehearsing = False
    self._placement = placement
    self._apply = apply
    self._views = {}
    self._compiled = {}

  def run(self, names, params):
    """Runs evaluators of the config.

    Args:
      names: keys of `config.evaluators`.
      params: parameters, placed as the training step leaves them.

    Returns:
      {'eval/NAME/METRIC': float}.
    """
    self.params = params
    metrics = {}
    for name in names:
      self._name = name
      evaluator = plugins.build('evaluators', self.config.evaluators[name])
      for metric, value in evaluator.run(self).items():
        metrics[f'eval/{name}/{metric}'] = float(value)
    self.params = None
    return metrics

  def rehearse(self, params):
    """Runs every evaluator of the config on its first examples; see `run`.

    So that one that can't work is found before there is work to lose. What is
    compiled for it serves the judgements to come.

    Raises:
      UserError: an evaluator names what isn't there.
    """
    self._rehearsing = True
    try:
      return self.run(self.config.evaluators, params)
    finally:
      self._rehearsing = False

  def enough(self, count):
    """Whether an evaluator that has read `count` examples needs no more."""
    return self._rehearsing and count >= FEW

  def sign(self, metric, signature):
    """Keeps the text that says how a metric of this evaluator is computed."""
    self.signatures[f'eval/{self._name}/{metric}'] = signature

  def keep(self, examples):
    """Keeps what this evaluator says of each example: mappings, as JSON is."""
    self.examples[f'eval/{self._name}'] = examples

  def task(self, name=''):
    """Returns the Task of that name; '' is the first.

    Raises:
      UserError: no such task.
    """
    name = name or next(iter(self.tasks))
    if name not in self.tasks:
      raise UserError(
        f'an evaluator names the task {name!r}.'
        + plugins.suggest(name, self.tasks)
      )
    return self.tasks[name]

  def labelled(self, evaluator, objective, target=None):
    """Returns (task, records, targets) of a split whose labels are known.

    Every one is looked at, before the training too; a rehearsal has FEW.

    Args:
      evaluator: with `task` and `split`.
      objective: class that the task's objective must be of.
      target: (objective, record, number) -> the record's target; None is the
        objective's, of a record that has its texts.

    Raises:
      UserError: another objective, or a label that can't be.
    """
    task = self.task(evaluator.task)
    if not isinstance(task.objective, objective):
      raise UserError(
        f'task {task.name!r} is of another objective than its evaluator'
      )
    target = target or _target
    records = self.view(task, evaluator.split).records
    records = [records[i] for i in range(len(records))]
    try:
      targets = [target(task.objective, r, i) for i, r in enumerate(records)]
    except UserError as e:
      raise UserError(f'split {evaluator.split!r}: {e}') from e
    few = FEW if self.enough(len(records)) else len(records)
    return task, records[:few], targets[:few]

  def view(self, task, split):
    """Returns the view of a task's data on a split."""
    key = task.name, split
    if key not in self._views:
      view = data_lib.open_view(
        self.config.tasks[task.name],
        task.objective,
        self.tokenizer,
        split,
        task.objective.max_length,
      )
      if not len(view):
        raise UserError(f'task {task.name!r} has no example in split {split!r}')
      context.note_own(getattr(self.model, 'contexts', ()), view, split)
      self._views[key] = view
    return self._views[key]

  def sums(self, task, split):
    """Returns {name: (numerator, denominator)} over a whole split.

    Every example counts exactly once: rows that fill up the last batch are
    not valid. Masks and the like are drawn from the config's seed, so they
    are the same at every evaluation. Where a state is carried, the split is one
    stream from its first token to its last.
    """
    key = task_lib.data_key(self.config.seed, task.name, split)
    step = self._compile(
      ('sums', task.name, split),
      functools.partial(
        task_lib.eval_step,
        task=task,
        apply=self._apply,
        made=lambda batch: task_lib.features(task, batch, key),
      ),
    )
    total, memory = {}, self._memory(task)
    for batch in self._batches(self.view(task, split), task):
      state = self.params, memory
      sums, memory = step(state, self._placement.put(batch))
      for name, (numerator, denominator) in sums.items():
        n, d = total.get(name, (0.0, 0.0))
        total[name] = n + float(numerator), d + float(denominator)
    return total

  def outputs(self, task, split, function, params, start=0):
    """Yields (batch, what the function makes of it) of a whole split, in order.

    Args:
      task, split: see `sums`. Every batch begins anew, so none of
        kind='stream', which inference.judging.causal_task refuses.
      function: (model, batch) -> tree of arrays [b, ...], inside of `apply`.
      params: parameters, placed.
      start: number of the first batch.
    """

    def gathered(params, batch, axis):
      return gather(
        self._apply(params, lambda model: function(model, batch)), axis
      )

    compiled = self._placement.compile(gathered)
    batches = self._all_batches(self.view(task, split), task)
    for batch in itertools.islice(batches, start, None):
      yield batch, jax.device_get(compiled(params, self._placement.put(batch)))

  def call(self, function, *args):
    """Returns `function(model, *args)`, and what the layers have sown.

    Compiled once for each function. The arguments are whole on every device:
    for judgements of a few hundred rows that the evaluator chose itself.
    """

    def compiled(params, *args):
      out, variables = self._apply(
        params,
        lambda model: function(model, *args),
        mutable=['intermediates'],
      )
      return out, variables.get('intermediates', {})

    key = 'call', function
    if key not in self._compiled:
      self._compiled[key] = jax.jit(compiled)
    return self._compiled[key](self.params, *args)

  def vectors(self, task, rows):
    """Returns sentence vectors float32 [n, m] of token rows.

    Args:
      task: whose objective is ctxlm.objectives.Embeds.
      rows: list of (tokens int32 [l], segment_ids int32 [l]).
    """
    objective = task.objective

    def embed(model, batch):
      return objective.embed(model, **batch)

    named = [{'tokens': t[s > 0].tolist()} for t, s in rows]
    return np.stack(self._ask(('vectors', task.name), embed, named, objective))

  def answers(self, task, records):
    """Returns [what the head gave for each row of a record] of records.

    Args:
      task: whose objective is ctxlm.objectives.Answers.
      records: list, of its data.
    """
    objective = task.objective
    asked = [objective.ask(record) for record in records]
    rows = [row for own in asked for row in own]
    given = iter(
      self._ask(('answers', task.name), objective.outputs, rows, objective)
    )
    return [[next(given) for _ in own] for own in asked]

  def _ask(self, key, function, rows, objective):
    if key not in self._compiled:
      self._compiled[key] = rows_lib.Rows(
        self._placement,
        lambda params, batch: self._apply(
          params, lambda model: function(model, batch)
        ),
        self.config.batch_size,
        lambda length: objective.max_length,
      )
    return self._compiled[key](self.params, rows)

  def continuations(self, batch_size):
    """Returns the function of decoding.continuations, of these parameters.

    Args:
      batch_size: rows at a time.
    """
    key = 'continuations', batch_size
    if key not in self._compiled:
      self._compiled[key] = Continuations(
        self.model, self._placement, batch_size, self.config.max_length
      )
    return functools.partial(self._compiled[key], self.params)

  def writer(self, task, decoding):
    """Returns the Generator of a task's model, with the present parameters.

    It is given back by `take(None)`, so that they aren't held.

    Args:
      task: whose objective is ctxlm.objectives.Writes.
      decoding: decoding config, see ctxlm.decoding.base.
    """
    key = 'writer', task.name, decoding.to_json(sort_keys=True)
    if key not in self._compiled:
      t, model = self.tokenizer, self.model
      start, first = (), (self.frame or framing.document(t)).first
      if model.encoder_decoder:
        start, first = (getattr(t, f'{model.decoder_start}_id'),), ()
      self._compiled[key] = Generator(
        Writer(
          model,
          self.params,
          t,
          task.objective.ends,
          t.pad_id,
          start,
          first,
          placement=self._placement,
        ),
        decoding,
      )
    self._compiled[key].take(self.params)
    return self._compiled[key]

  def _memory(self, task):
    # What the model has kept before the first batch.
    if not task.carries:
      return {}
    key, rows = ('memory', task.name), self._size(task)
    if key not in self._compiled:
      self._compiled[key] = self._placement.init(
        lambda params: states.empty(self._apply, params, rows), self.params
      )
    return self._compiled[key]

  def _size(self, task):
    # Rows of a batch: of one stream no more than the devices ask for.
    if task.carries:
      return self._placement.shards
    return self.config.batch_size

  def _batches(self, view, task):
    batches = self._all_batches(view, task)
    return itertools.islice(batches, 1) if self._rehearsing else batches

  def _all_batches(self, view, task):
    size = self._size(task)
    if task.source is not None:
      return loader.numbered(len(view), size, self._placement.rows(size))
    return loader.eval_batches(
      view,
      task.objective.prepare,
      seed=self.config.seed,
      task=task.name,
      batch_size=size,
      rows=self._placement.rows(size),
    )

  def _compile(self, key, function):
    if key not in self._compiled:
      self._compiled[key] = self._placement.compile(function)
    return self._compiled[key]


def _target(objective, record, number):
  objective.texts(record, number)  # are there
  return objective.target(record, number)
