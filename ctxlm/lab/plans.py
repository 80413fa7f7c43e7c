"""Plans of runs, in words; see ctxlm.training.planning."""

from ctxlm.errors import note
from ctxlm.lab import tables
from ctxlm.parallel.memory import size

SHOWN = 8  # rows of the table of a search


def text(plan, chip, name, slices=1):
  """Returns a plan as lines of text.

  Args:
    plan: planning.Plan.
    chip: chips.Chip.
    name: of the topology.
    slices: how many.
  """
  many = f'{slices} slices of ' if slices > 1 else ''
  mesh = ', '.join(f'{k} {v}' for k, v in plan.mesh.items() if v > 1)
  lines = [f'{many}{name}: {plan.chips} chips ({mesh or "one device"})']
  if plan.estimate:
    lines.append(
      'an estimate: compiled for CPUs, which fuse and keep other things'
    )
  rows = [[k, _bytes(v)] for k, v in plan.memory.items() if v]
  if not plan.seconds:
    rows.append(['in all, at least', _bytes(plan.total)])
  else:
    rows.append(['in all', _bytes(plan.total)])
  rows.append([f'{chip.name} has', _bytes(plan.capacity)])
  lines += ['', 'memory of a chip', tables.aligned(rows)]
  if not plan.seconds:
    return '\n'.join([*lines, '', 'it does not fit'])
  rows = [
    ['FLOPs of the model', f'{plan.model_flops:.4g} of all chips'],
    ['FLOPs done', f'{plan.flops:.4g} of a chip'],
    ['to and from memory', f'{_bytes(plan.moved)} of a chip'],
  ]
  for sent in plan.sent:
    axes = ', '.join(sent.axes) or 'some devices'
    far = ', between slices' if sent.slices else ''
    what = f'{_bytes(sent.size)} of a chip, {sent.count} times'
    rows.append([f'{sent.kind} over {axes}{far}', what])
  lines += ['', 'a step', tables.aligned(rows)]
  rows = [[k, f'{v * 1e3:,.2f} ms'] for k, v in plan.seconds.items()]
  lines += ['', "a step's time at the chip's peak", tables.aligned(rows)]
  if plan.uncounted:
    lines.append(
      f'{_bytes(plan.uncounted)} go over a network whose speed is not known '
      'here, and are left out'
    )
  lines += [
    '',
    f'{plan.bound} bounds it: {plan.step_seconds * 1e3:,.2f} ms, '
    f'MFU {plan.mfu:.1%}, {plan.tokens_per_second:,.0f} tokens/s at most',
    f'{plan.num_steps:,} steps: {plan.hours:,.1f} hours, '
    f'{plan.hours * plan.chips:,.0f} chip-hours at least',
    f'source of the figures of a {chip.name}: {chip.source}',
  ]
  if not plan.fits:
    lines += ['', 'it does not fit']
  return '\n'.join(lines)


def flags(values):
  """Returns what a change is on the command line.

  >>> flags({'batch_size': 8})
  '--config.batch_size=8'
  """
  return ' '.join(f'--config.{k}={v}' for k, v in values.items())


def tell(values, plan):
  """Says on standard error that a change was tried."""
  note(
    f'{flags(values)}: {"fits" if plan.fits else "does not fit"}, '
    f'{_bytes(plan.total)} of {_bytes(plan.capacity)}'
  )


def change(found):
  """Returns the line of the nearest change that fits; see planning.nearest."""
  if found is None:
    return 'nothing that was tried fits: take more chips, or a smaller model'
  values, plan = found
  return (
    f'the nearest change that fits: {flags(values)}, {_bytes(plan.total)} of '
    f'{_bytes(plan.capacity)}, {plan.step_seconds * 1e3:,.2f} ms a step, '
    f'MFU {plan.mfu:.1%}'
  )


def table(found):
  """Returns the best of a search as a table; see planning.search."""
  if not found:
    return 'no mesh fits: take more chips, micro-batches or a smaller batch'
  rows = [['ms a step', 'MFU', 'memory', 'bound by', 'flags']]
  for values, plan in found[:SHOWN]:
    shown = {k: v for k, v in values.items() if v != 1 or k == 'parallel.data'}
    rows.append(
      [
        f'{plan.step_seconds * 1e3:,.2f}',
        f'{plan.mfu:.1%}',
        _bytes(plan.total),
        plan.bound,
        flags(shown),
      ]
    )
  return tables.aligned(rows)


def _bytes(count):
  if count >= 2**30:
    return size(count)
  return f'{count / 2**20:,.1f} MiB'
