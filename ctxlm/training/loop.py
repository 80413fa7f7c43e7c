"""The training loop, one for every objective, model and number of devices."""

import math
import time
from contextlib import closing
from pathlib import Path

import jax

from ctxlm import config as config_lib
from ctxlm.errors import UserError
from ctxlm.parallel import placement as placement_lib
from ctxlm.training import cadence, fit, initial, pace, run_folder, tracking
from ctxlm.training import profile as profile_lib
from ctxlm.training import program as program_lib
from ctxlm.training.preemption import Stop


def train(config, workdir, placement=None, profile=0):
  """Trains, or goes on; returns the last evaluation, {metric: float}.

  Args:
    config: config, see ctxlm.config.
    workdir: run folder.
    placement: see ctxlm.parallel; None is what the config says.
    profile: steps to trace, see profile.Profile.

  Raises:
    UserError: for all that the user can mend.
  """
  config_lib.check(config)
  tracking.check(config)
  profile_lib.check(profile, config.num_steps)
  placement = placement_lib.make(config) if placement is None else placement
  workdir = Path(workdir)
  config = program_lib.settle(config)
  run_folder.agree(config, workdir)
  fit.check_rows(config)
  with run_folder.held(workdir):
    return _train(config, workdir, placement, profile)


def _train(config, workdir, placement, profile):
  tokenizer = run_folder.get_tokenizer(config, workdir)
  program = program_lib.build(config, placement, tokenizer)
  fit.check_streams(program)
  fit.check_memory(program)
  start, state, saved = initial.begin(program, workdir)
  profile_lib.check(profile, config.num_steps, start)
  done, pending, results = start, [], {}
  with (
    saved,
    Stop() as stop,
    closing(tracking.Tracker(workdir, config, start)) as tracker,
    closing(tracking.Progress(config.num_steps, start)) as progress,
    closing(pace.Pace()) as paced,
    closing(
      profile_lib.Profile(profile, start, config.num_steps, workdir)
    ) as traced,
  ):
    batches, clock = program.batches(start), tracking.Clock(start)

    def settle(due, stopping=False):
      judged = {}
      if due.evaluators:
        with clock.paused(), saved.on_error(done, state):
          judged = program.evaluate(due.evaluators, state.judged)
        tracker.write(done, judged)
        told = tracking.with_intervals(judged, '.4f')
        progress.say(
          f'step {done}: ' + ', '.join(f'{k} {v}' for k, v in told.items())
        )
        for name, text in tracker.sign(program.bench.signatures).items():
          progress.say(f'{name}: {text}')
      if due.save or stopping:
        saved.save(done, state, judged)
      return judged

    untrained = not config.num_steps and saved.latest() is None
    if untrained:
      results = settle(cadence.Due.at(config, done))
    while done < config.num_steps:
      first, begun = done, time.monotonic()
      batch = stop.wait(next, batches)
      if batch is None:
        newest(pending, saved)
        saved.save(done, state)
        break
      until = traced.until(done, cadence.next_stop(config, done))
      got = time.monotonic()
      state, done, metrics = program.advance(state, batch, done, until)
      paced.add(begun, got, done - first, metrics)
      clock.count((done - first) * program.num_tokens(batch))
      pending.append((first, done, metrics))
      for line in traced.after(done, metrics):
        progress.say(line)
      due, stopping = cadence.Due.at(config, done), stop.asked(done)
      if due or stopping:
        values = newest(pending, saved)
        pending = []
        if due.log:
          rate, left = clock.lap(done, config.num_steps)
          row = {f'train/{name}': value for name, value in values.items()}
          row['train/tokens_per_second'] = rate
          used = paced.lap() | pace.usage(program, rate)
          tracker.write(done, row | used)
          text = f'loss {values["loss"]:.4f}  {rate:,.0f} tokens/s'
          progress.show(done, text + pace.told(used), left)
      progress.advance(done)
      results = settle(due, stopping) or results
      if stopping:
        break
    saved.close()
    if waited := paced.complaint(config.num_workers):
      progress.say(waited)
  if done < config.num_steps:
    initial.say(
      f'stopped at step {done} of {config.num_steps}, saved in {workdir}; '
      'run the same command again to go on'
    )
  elif untrained and program.counts:
    initial.say(f'counted, judged and saved in {workdir}')
    if config.optimizer != config_lib.base().optimizer:
      initial.say('config.optimizer is left out: there was nothing to optimize')
  elif untrained:
    initial.say(
      'config.num_steps=0: what it begins from is judged, and saved in '
      f'{workdir}; nothing was trained'
    )
  elif start >= config.num_steps:
    initial.say(f'{workdir} is already at step {start}; nothing to do')
  return results


def newest(pending, saved):
  """Returns the last step's metrics as floats, having looked at every loss.

  Args:
    pending: [(steps before, steps after, metrics)], see Program.advance.
    saved: checkpoint.Checkpoints, of which a mistake tells.

  Raises:
    UserError: the first step whose loss isn't finite.
  """
  values = {}
  for first, last, metrics in pending:
    metrics = {k: v.reshape(-1) for k, v in jax.device_get(metrics).items()}
    for i in range(last - first):
      values = {k: float(v[i]) for k, v in metrics.items()}
      if not math.isfinite(values['loss'] + values['grad_norm']):
        at = first + i + 1
        advice = (
          'lower config.optimizer.learning_rate, or look at what that step read'
          if at > 1
          else 'look at the data, and at what the parameters begin from'
        )
        raise UserError(
          f'loss {values["loss"]} and gradient norm {values["grad_norm"]} at '
          f'step {at} are not finite; {saved.resumable()}: {advice}'
        )
  return values
