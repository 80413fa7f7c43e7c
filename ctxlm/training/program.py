"""The one assembly: a config becomes a program that trains and judges.

The loop, the commands, the benchmarks and the tests all start from `build`.
A program holds no parameters: its state is what `init` gives, and its step is
compiled from that state's shapes, so also for devices that are not here.
"""

import dataclasses
import functools
import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from ctxlm import data as data_lib
from ctxlm import models, objectives, plugins, trees
from ctxlm.context import widened
from ctxlm.data import loader, sources
from ctxlm.errors import UserError
from ctxlm.evaluators.bench import Bench
from ctxlm.models import adapters, states
from ctxlm.models.variables import make_apply
from ctxlm.objectives import task as task_lib
from ctxlm.training import contexts, fit, optim, step


@dataclasses.dataclass(frozen=True)
class Program:
  """What `build` gives.

  Attributes:
    config: the whole config.
    placement: parallel.pmap.Pmap or parallel.mesh.Mesh.
    tokenizer: of the run.
    model: Flax module.
    tasks: [ctxlm.objectives.task.Task].
    given: {task: features [n, ...]}, or None, see `build`.
  """

  config: Any
  placement: Any
  tokenizer: Any
  model: Any
  tasks: list
  given: Any = None

  @functools.cached_property
  def apply(self):
    """See ctxlm.models.variables.make_apply."""
    return make_apply(self.model)

  @functools.cached_property
  def views(self):
    """{task: view} of the training data."""
    return {
      task.name: data_lib.open_view(
        self.config.tasks[task.name],
        task.objective,
        self.tokenizer,
        'train',
        task.objective.max_length,
      )
      for task in self.tasks
    }

  @property
  def meta(self):
    """What a checkpoint's state is of, and a resumed run must agree with."""
    return {
      'data': {name: view.fingerprint for name, view in self.views.items()},
      'tokenizer': self.tokenizer.fingerprint,
    }

  @functools.cached_property
  def features(self):
    """{task: features}, of which shapes are all that matters."""
    if self.given is not None:
      return self.given
    return {task.name: self._two_rows(task) for task in self.tasks}

  def _two_rows(self, task):
    if task.source is not None:
      batch = next(loader.numbered(2, 2, np.arange(2)))
      key = task_lib.data_key(self.config.seed, task.name, 'train')
      shapes = jax.eval_shape(lambda: task_lib.features(task, batch, key))
      return jax.tree.map(lambda s: np.zeros(s.shape, s.dtype), shapes)
    batches = loader.eval_batches(
      self.views[task.name],
      task.objective.prepare,
      seed=self.config.seed,
      task=task.name,
      batch_size=2,
      rows=np.arange(2),
    )
    return next(iter(batches))

  def init_params(self):
    """Returns fresh parameters; they are of config.seed."""
    key = jax.random.key(self.config.seed)
    return task_lib.init_params(self.model, self.tasks, self.features, key)

  def init_some(self, names):
    """Returns {path: fresh parameter}, placed, of some; see init_params."""

    def some():
      fresh = trees.flatten(self.init_params())
      return {name: fresh[name] for name in names}

    return self.placement.init(some)

  @property
  def counts(self):
    """Whether the model is counted, and not trained; see models.Counts."""
    return isinstance(self.model, models.Counts)

  @functools.cached_property
  def counted(self):
    """The parameters of a model that is counted: of all training text."""
    (view,) = self.views.values()
    return self.model.count(*view.stream())

  @functools.cached_property
  def shapes(self):
    """The parameters' tree of jax.ShapeDtypeStruct."""
    if self.counts:
      return jax.eval_shape(lambda: self.counted)
    return jax.eval_shape(self.init_params)

  @functools.cached_property
  def frozen(self):
    """The paths of the parameters that aren't trained.

    Raises:
      UserError: none is; see also adapters.frozen and optim.factors.
    """
    if self.counts:
      return frozenset()
    kept = optim.frozen(self.config.optimizer, self.shapes)
    model = self.model
    if isinstance(model, widened.Widened):
      kept |= model.frozen(trees.flatten(self.shapes))
      model = model.model
    if isinstance(model, adapters.Adapted):
      kept |= adapters.frozen(model.adapter, self.shapes)
    if kept.issuperset(trees.flatten(self.shapes)):
      raise UserError(
        'every parameter is frozen, so there is nothing to train: look at '
        'config.optimizer.factors and config.adapt'
      )
    return frozenset(kept)

  @functools.cached_property
  def optimizer(self):
    """The optax transformation of what is trained."""
    if self.counts:
      return optax.identity()
    return optim.make(self.config.optimizer, self.config.num_steps, self.shapes)

  @functools.cached_property
  def schedule(self):
    """The learning rate as a function of the step."""
    return optim.schedule(self.config.optimizer, self.config.num_steps)

  def _state(self, params=None):
    params = self.init_params() if params is None else params
    averaged = self.config.optimizer.ema_decay and not self.counts
    state = dict(
      step=jnp.zeros((), jnp.int32),
      params=params,
      opt_state=self.optimizer.init(trees.split(params, self.frozen)[0]),
      ema=jax.tree.map(jnp.copy, params) if averaged else None,
    )
    memory = {
      task.name: states.empty(self.apply, params, self.config.batch_size)
      for task in self.tasks
      if task.carries
    }
    if not memory:
      return step.TrainState(**state)
    return step.Carrying(**state, memory=memory)

  @functools.cached_property
  def abstract(self):
    """The TrainState of jax.ShapeDtypeStructs with their shardings."""
    state = jax.eval_shape(self._state, self.shapes)
    return trees.abstract(state, self.placement.shardings(state))

  def init(self, params=None):
    """Returns the first TrainState, placed.

    Args:
      params: parameters to start from; None makes fresh ones, or counts.
    """
    if self.counts:
      params = self.counted
    arguments = () if params is None else (params,)
    return self.placement.init(self._state, *arguments)

  @property
  def on_device(self):
    """Whether all data is made inside the step, so that a call takes many."""
    return all(task.source is not None for task in self.tasks)

  @functools.cached_property
  def step(self):
    """The compiled step: step.train_step, or step.many_steps if `on_device`."""
    options = dict(
      tasks=self.tasks,
      apply=self.apply,
      tx=self.optimizer,
      schedule=self.schedule,
      accumulation=self.config.accumulation,
      ema_decay=self.config.optimizer.ema_decay,
      frozen=self.frozen,
    )
    if self.on_device:
      capacity = self.config.log_every_steps
      function = functools.partial(
        step.many_steps, capacity=capacity, **options
      )
      return self.placement.compile(function, donate=True, whole=2)
    function = functools.partial(
      step.train_step, seed=self.config.seed, **options
    )
    return self.placement.compile(function, donate=True)

  def lower(self):
    """Returns the step's jax.stages.Lowered, from shapes alone.

    No array is made and no device used: it compiles for devices that are not
    here, whose memory and cost the compiled program tells.
    """
    size = self.config.batch_size
    row = next(loader.numbered(1, 1, np.arange(1)))
    batch = {
      task.name: self.features[task.name] if task.source is None else row
      for task in self.tasks
    }
    batch = jax.tree.map(
      lambda x: jax.ShapeDtypeStruct((size, *x.shape[1:]), x.dtype), batch
    )
    whole = (self.config.num_steps, self.config.seed) if self.on_device else ()
    return self.step.lower(
      self.abstract, self.placement.put_shapes(batch), *whole
    )

  def advance(self, state, batch, done, until):
    """Takes the step after `done`; if `on_device`, all of them to `until`.

    Args:
      state: TrainState; it is donated.
      batch: of `batches`.
      done: int, steps that the state has had.
      until: int, at most config.log_every_steps more.

    Returns:
      (state, steps done, metrics: {name: float32 [] or [n], n >= their
      number}).
    """
    batch = self.placement.put(batch)
    if self.on_device:
      state, metrics = self.step(state, batch, until, self.config.seed)
      return state, until, metrics
    state, metrics = self.step(state, batch)
    return state, done + 1, metrics

  def batches(self, start):
    """Yields {task: this process's rows of the batch} from step `start` on."""
    rows = self.placement.rows(self.config.batch_size)

    def stream(task):
      if task.source is not None:
        size = self.config.batch_size
        (batch,) = loader.numbered(size, size, rows)
        return itertools.repeat(batch)
      return loader.train_batches(
        self.views[task.name],
        task.objective.prepare,
        seed=self.config.seed,
        task=task.name,
        batch_size=self.config.batch_size,
        start_step=start,
        num_steps=self.config.num_steps,
        rows=rows,
        num_workers=self.config.num_workers,
      )

    streams = {task.name: iter(stream(task)) for task in self.tasks}
    while True:
      yield {name: next(stream) for name, stream in streams.items()}

  def num_tokens(self, batch):
    """Returns how many tokens a step learns from, over all processes."""
    own = sum(task.num_tokens(batch[task.name]) for task in self.tasks)
    return own * jax.process_count()

  @functools.cached_property
  def bench(self):
    """What evaluators are given."""
    return Bench(
      self.config,
      self.tokenizer,
      self.placement,
      self.model,
      self.apply,
      self.tasks,
    )

  def rehearse(self, params):
    """Tries every evaluator, before there is work to lose; see Bench.rehearse.

    Raises:
      UserError: one can't work, or config.checkpoint.best is no metric of one.
    """
    metrics = self.bench.rehearse(params)
    best = self.config.checkpoint.best
    if best and best not in metrics:
      raise UserError(
        f'config.checkpoint.best={best!r} is a metric of no evaluator.'
        + plugins.suggest(best, metrics)
        if metrics
        else f'config.checkpoint.best={best!r} needs an evaluator that gives it'
      )

  def evaluate(self, names, params):
    """Returns {'eval/NAME/METRIC': float} of evaluators of the config."""
    return self.bench.run(names, params)


def settle(config):
  """Returns the config with what its objectives take from the training data.

  Raises:
    UserError: data that can't be learned from.
  """
  settled = None
  for name, block in config.tasks.items():
    objective = plugins.build('objectives', block.objective)
    if not isinstance(objective, objectives.Settles):
      continue
    source = plugins.build('data.sources', block.data)
    found = objective.settled(source.records('train'))
    if found:
      settled = settled or config.copy_and_resolve_references()
      with settled.unlocked():
        whole = block.objective.to_dict() | found
        del settled.tasks[name]['objective']
        settled.tasks[name].objective = whole
  return settled or config


def build(config, placement, tokenizer, features=None):
  """Returns the Program of a config.

  Args:
    config: checked config.
    placement: where it runs, see ctxlm.parallel.
    tokenizer: see run_folder.get_tokenizer.
    features: {task: features [n, ...]}, as the objectives prepare them, where
      the data need not be opened for their shapes; None is the data's own.

  Raises:
    UserError: the parts don't fit each other.
  """
  block = config.model.to_dict()
  size = block.pop('vocab_size', 0) or tokenizer.vocab_size
  if size < tokenizer.vocab_size:
    raise UserError(
      f'the tokenizer has {tokenizer.vocab_size} tokens, more than '
      f'config.model.vocab_size={size}: raise it, or leave it at 0'
    )
  if 'max_length' in block and block['max_length'] < config.max_length:
    raise UserError(
      f'config.max_length={config.max_length} is more than '
      f'config.model.max_length={block["max_length"]}'
    )
  given = {'vocab_size': size, 'max_length': config.max_length}
  model = adapters.build(block, config.adapt, **given)
  model = contexts.around(model, config, tokenizer)
  tasks = [_task(config, name, tokenizer) for name in config.tasks]
  fit.check_parts(config, model, tasks)
  return Program(config, placement, tokenizer, model, tasks, features)


def _task(config, name, tokenizer):
  block = config.tasks[name]
  source = plugins.build('data.sources', block.data)
  objective = plugins.build(
    'objectives',
    block.objective,
    tokenizer=tokenizer,
    max_length=config.max_length,
  )
  made = isinstance(source, sources.OnDevice)
  return task_lib.Task(
    name, objective, float(block.weight), source if made else None
  )
