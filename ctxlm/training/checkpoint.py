"""Checkpoints by Orbax: asynchronous, atomic, newest n and best kept.

A save is written under a temporary name and renamed when it is whole, so a
killed save is never picked up. A newest checkpoint that can't be read is
moved to `WORKDIR/damaged/` with a line that says so, and the one before it
is taken. Orbax doesn't notice bits that changed on the disk, so each tensor
has a checksum.
"""

import contextlib
import json
import math
import os
import shutil
from pathlib import Path

import jax
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers as policies

from ctxlm import files, trees
from ctxlm.errors import UserError, reason
from ctxlm.training import checksums, damage, tracking


class Checkpoints:
  """The folder `WORKDIR/checkpoints`; its trainer holds the run folder."""

  def __init__(self, workdir, config, meta, say=print):
    """Opens the folder, and makes it if need be.

    Args:
      workdir: pathlib.Path of the run.
      config: the whole config.
      meta: what a resumed run must agree with; plain JSON.
      say: function that shows a line to the user.
    """
    self.workdir, self._meta, self._say = workdir, meta, say
    damage.hush()
    self._manager = ocp.CheckpointManager(
      (workdir / 'checkpoints').resolve(),
      options=ocp.CheckpointManagerOptions(
        preservation_policy=kept(config.checkpoint),
        # It chooses nothing beside a policy; but without it Orbax writes no
        # metrics, and a run that goes on would drop its best checkpoint.
        best_fn=(lambda metrics: 0.0) if config.checkpoint.best else None,
        step_prefix=None,
        cleanup_tmp_directories=True,
      ),
    )

  def latest(self):
    """Returns the newest step, or None."""
    return self._manager.latest_step()

  def save(self, step, state, metrics=None):
    """Starts to save in the background; waits for the save before it.

    Args:
      step: int.
      state: TrainState.
      metrics: {name: float} of this step's evaluations.

    Raises:
      UserError: the state holds a number that isn't finite; nothing is saved.
    """
    if step in self._manager.all_steps():
      return
    if name := trees.non_finite(state):
      raise UserError(
        f'{name} is not finite after step {step}, which is not saved; '
        f'{self.resumable()}: look at config.optimizer, such as its '
        'learning_rate, eps and ema_decay'
      )
    meta = {**self._meta, 'checksums': checksums.of(state)}
    with damage.writing(self.workdir / 'checkpoints'):
      self._manager.save(
        step,
        args=ocp.args.Composite(
          state=ocp.args.PyTreeSave(state), meta=ocp.args.JsonSave(meta)
        ),
        metrics=metrics or {},
        force=True,
      )

  @contextlib.contextmanager
  def on_error(self, step, state):
    """Saves `state` if the block fails, so that the step isn't lost."""
    try:
      yield
    except Exception:  # whatever it is, it is raised when the step is safe
      self.save(step, state)
      self.wait()
      raise

  def restore(self, abstract):
    """Returns the newest readable (step, state), or None where none is.

    Args:
      abstract: TrainState of ShapeDtypeStructs with shardings.

    Raises:
      UserError: the checkpoint is of another model or other data, or none can
        be read.
    """
    steps = sorted(self._manager.all_steps(), reverse=True)
    changed = [self._changed(step, abstract.params) for step in steps]
    if steps and all(changed):  # so the model's code did; none is damaged
      raise UserError(changed[0])
    for step in steps:
      try:
        state, saved = self._read(step, abstract)
      except Exception as e:  # Orbax and TensorStore raise many kinds.
        if not self._is_damage(step, e):
          raise
        if step == steps[-1]:  # the last one is never moved
          raise UserError(
            f'{self.workdir}: no checkpoint can be read; {step}, the last, is '
            f'damaged ({reason(e)}) and stays where it is. Use another '
            '--workdir to start anew'
          ) from e
        self._set_aside(step, e)
        continue
      for key, value in self._meta.items():
        if saved.get(key) != value:
          raise UserError(
            f'{self.workdir} was started with other {key}; use another '
            '--workdir, or put back what was changed'
          )
      return step, state
    return None

  def _is_damage(self, step, error):
    """Whether an error in reading comes from the checkpoint's own files.

    It is read a second time by other means: what a mistake of a program, or a
    want of memory on the devices, kept from being read is whole there.
    """
    if damage.is_elsewhere(error):
      return False
    try:
      path = self.workdir.resolve() / 'checkpoints' / str(step)
      with damage.quiet():
        state = ocp.PyTreeCheckpointer().restore(path / 'state')
      meta = json.loads((path / 'meta' / 'metadata').read_text())
      checksums.verify(state, meta['checksums'])
    except Exception as e:  # Orbax and TensorStore raise many kinds.
      return not damage.is_elsewhere(e)
    return False

  def _read(self, step, abstract):
    restore = ocp.args.PyTreeRestore(
      abstract,
      restore_args=ocp.checkpoint_utils.construct_restore_args(abstract),
    )
    with damage.quiet():
      got = self._manager.restore(
        step,
        args=ocp.args.Composite(state=restore, meta=ocp.args.JsonRestore()),
      )
    checksums.verify(got['state'], got['meta']['checksums'])
    return got['state'], got['meta']

  def _changed(self, step, params):
    # How the model differs from the checkpoint's, if that can be said.
    try:
      with damage.quiet():
        _, _, shapes = find(self.workdir, step)
    except Exception:  # damaged; restore says so
      return ''
    saved, wanted = _shapes(shapes), _shapes(params)
    where = f'{self.workdir}, checkpoint {step}, is of another model: '
    for name in sorted({*saved, *wanted}):
      if saved.get(name) != wanted.get(name):
        was, now = saved.get(name, 'absent'), wanted.get(name, 'absent')
        return f'{where}{name} is {was} there, {now} now; use another --workdir'
    return ''

  def _set_aside(self, step, error):
    self._say(
      f'checkpoint {step} is damaged ({reason(error)}): moved to '
      f'{self.workdir / "damaged" / str(step)}; trying the one before'
    )
    if jax.process_index() == 0:
      target = self.workdir / 'damaged' / str(step)
      if target.exists():
        shutil.rmtree(target)
      target.parent.mkdir(exist_ok=True)
      os.replace(self.workdir / 'checkpoints' / str(step), target)
    self._manager.reload()

  def resumable(self):
    """Returns what there is to go on from, in words."""
    self.wait()
    step = self.latest()
    what = 'no checkpoint yet' if step is None else f'checkpoint {step} is kept'
    return f'{what} in {self.workdir}'

  def wait(self):
    """Returns when all saves are on disk.

    Raises:
      OSError, UserError: one can't be written.
    """
    with damage.writing(self.workdir / 'checkpoints'):
      self._manager.wait_until_finished()

  def close(self):
    """Waits and closes."""
    self.wait()
    self._manager.close()

  def __enter__(self):
    return self

  def __exit__(self, kind, *_):
    if kind:  # its threads end before the interpreter does
      with contextlib.suppress(Exception):
        self.close()


def _folder(workdir):
  return Path(workdir).resolve() / 'checkpoints'


def steps(workdir):
  """Returns the steps of a run's checkpoints, the newest last."""
  folder = _folder(workdir)
  return sorted(
    int(p.name)
    for p in (folder.iterdir() if folder.is_dir() else ())
    if p.name.isdigit() and (p / '_CHECKPOINT_METADATA').exists()
  )


def kept(config):
  """Returns Orbax's policy of which checkpoints stay.

  Args:
    config: the block `config.checkpoint`.
  """
  stay = [policies.LatestN(max(config.keep, 1))]
  if config.best:
    stay.append(
      policies.BestN(
        # The last of the sorted list is the best; one that lacks the metric
        # comes before all that have it.
        get_metric_fn=lambda metrics: _merit(
          metrics.get(config.best, math.nan), config.best_mode
        ),
        n=1,
        keep_checkpoints_without_metrics=False,
      )
    )
  return policies.AnyPreservationPolicy(stay)


def find(workdir, step=''):
  """Returns (step, 'ema' or 'params', shapes) of a run's checkpoint.

  Args:
    workdir: run folder.
    step: '' for the newest, 'best' for the best, or a number.

  Raises:
    UserError: there is no such checkpoint.
  """
  known = steps(workdir)
  if not known:
    raise UserError(f'{workdir} has no checkpoint; train it first')
  if step == 'best':
    step = _best(Path(workdir), known)
  step = known[-1] if step == '' else step
  if str(step) not in map(str, known):
    raise UserError(f'{workdir} has no checkpoint {step}; it has {known}')
  path = _folder(workdir) / str(step) / 'state'
  _refuse_links(path.parent)
  try:
    with damage.quiet():
      tree = ocp.PyTreeCheckpointer().metadata(path).item_metadata.tree
  except Exception as e:  # Orbax and TensorStore raise many kinds.
    raise _damaged(workdir, step, e) from e
  key = 'ema' if tree.get('ema') else 'params'
  shapes = jax.tree.map(
    lambda m: jax.ShapeDtypeStruct(m.shape, m.dtype), tree[key]
  )
  return int(step), key, shapes


def _refuse_links(folder):
  # Orbax would follow them out of a folder that somebody else made.
  for top, folders, names in os.walk(folder):
    for name in (*folders, *names):
      files.inside(folder, (Path(top) / name).relative_to(folder))


def read_params(workdir, abstract, step=''):
  """Reads parameters only, the averaged ones where the run has them.

  Args:
    workdir: run folder.
    abstract: tree of ShapeDtypeStructs with shardings, or a part of it.
    step: see find.

  Returns:
    the parameters' tree.

  Raises:
    UserError: no such checkpoint, or a damaged one.
  """
  step, key, _ = find(workdir, step)
  args = ocp.checkpoint_utils.construct_restore_args(abstract)
  path = Path(workdir).resolve() / 'checkpoints' / str(step) / 'state'
  try:
    with damage.quiet():
      got = ocp.PyTreeCheckpointer().restore(
        path,
        args=ocp.args.PyTreeRestore(
          {key: abstract}, restore_args={key: args}, partial_restore=True
        ),
      )
    meta = json.loads((path.parent / 'meta' / 'metadata').read_text())
    checksums.verify({key: got[key]}, meta['checksums'])
  except Exception as e:
    raise _damaged(workdir, step, e) from e
  return got[key]


def _damaged(workdir, step, error):
  others = [n for n in steps(workdir) if n != int(step)]
  advice = (
    f'name another, --step={others[-1]}' if others else 'it is the only one'
  )
  return UserError(
    f'{workdir}: checkpoint {step} is damaged ({reason(error)}); {advice}'
  )


def _shapes(tree):
  return {name: list(x.shape) for name, x in trees.flatten(tree).items()}


def _merit(value, mode):
  # What sorts by how good a metric is: no number is worse than any number,
  # where comparing with NaN would leave a list as it happens to be.
  if math.isnan(value):
    return (0, 0.0)
  return (1, value if mode == 'max' else -value)


def _best(workdir, steps):
  config = files.read_json(workdir / 'config.json').get('checkpoint')
  name, mode = (dict(config or {}).get(k) for k in ('best', 'best_mode'))
  if not name:
    raise UserError(f'{workdir}: config.checkpoint.best names no metric')
  merits = {}
  for row in tracking.read(workdir):
    if name in row and row['step'] in steps and not math.isnan(row[name]):
      merits[row['step']] = _merit(row[name], mode)
  if not merits:
    raise UserError(f'{workdir}: no checkpoint has a number for {name!r}')
  return max(merits, key=lambda step: (merits[step], step))
