"""Writing a datastore of what a model says of a text; see context.store."""

from pathlib import Path

import jax
import numpy as np

from ctxlm import models
from ctxlm.context import store
from ctxlm.inference import judging, widening
from ctxlm.parallel import locks


def write(output, split, task='', **opened):
  """Writes the states of a split's predicted tokens, and these tokens.

  What is there already of the same is gone on with.

  Args:
    output: folder to be.
    split: of the task's data.
    task: '' is the first.
    **opened: see judging.open_program.

  Returns:
    store.Store.

  Raises:
    UserError: as there; the task isn't causal, the model has no vectors, or
      the folder holds something else.
  """
  program, loaded, _ = judging.open_program(**opened)
  models.need_vectors(loaded.model)
  widening.need_plain(loaded)
  bench = program.bench
  task = judging.causal_task(bench, task)
  view = bench.view(task, split)
  of = loaded.fingerprint, view.fingerprint, program.config.batch_size
  with locks.held(Path(output), 'writes a datastore'):
    writer = store.Writer(output, _width(program), *of)
    if not writer.done:
      start = writer.batches
      _fill(writer, bench.outputs(task, split, _states, loaded.params, start))
  return store.open_folder(output)


def _fill(writer, batches):
  done = False
  try:
    for batch, states in batches:
      counted = judging.counted(batch)
      writer.put(states[counted], batch['targets'][counted])
    done = True
  finally:
    writer.close(done)


def _width(program):
  # Of the states, whatever the model calls it.
  def forward(params):
    return program.apply(params, lambda m: m(np.zeros((1, 2), np.int32)))

  return jax.eval_shape(forward, program.shapes).shape[-1]


def _states(model, batch):
  return model(
    batch['tokens'],
    segment_ids=batch['segment_ids'],
    positions=batch['positions'],
  )
