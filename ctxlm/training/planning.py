"""What a run will need of devices that need not be here.

The program is the one that trains (ctxlm.training.program), compiled from
shapes; its memory is what the compiler says, and its work what is counted in
the compiler's text (ctxlm.parallel.work).
"""

import dataclasses
import re

import numpy as np

from ctxlm import config as config_lib
from ctxlm import plugins, trees
from ctxlm.errors import UserError, note, reason
from ctxlm.parallel import memory, topology
from ctxlm.parallel import placement as placement_lib
from ctxlm.parallel import work as work_lib
from ctxlm.recipes import overrides
from ctxlm.training import flops, made_up

# What libtpu says where a program doesn't fit.
FULL = re.compile(
  r'([\d.]+)([KMGT]?)\)? (?:of|exceeds available HBM) \(?([\d.]+)([KMGT]?)'
)
UNITS = {'': 1, 'K': 2**10, 'M': 2**20, 'G': 2**30, 'T': 2**40}
HOUR = 3600


@dataclasses.dataclass(frozen=True)
class Plan:
  """What a config needs; bytes and FLOPs are of a chip unless they say else.

  Attributes:
    chips: how many.
    mesh: {axis: devices along it}.
    memory: {what: bytes}, of 'parameters', 'optimizer', 'other state', 'batch'
      (with what the compiler pads), 'activations' (what grows with the batch),
      'temporaries' (gradients, and what else a step works with), 'program'.
      Without 'activations' they are among the temporaries. Of what did not
      compile for want of memory there is the state alone.
    total, capacity: bytes that it needs, and that a chip has.
    model_flops: of a step, of all chips, nothing computed twice.
    flops: that a chip does; those of kernels that don't say what they cost are
      attention's, of one pass each way.
    moved, sent: see parallel.work.Work.
    seconds: {'compute': s, 'memory': s, 'network': s} at the chip's peak; the
      longest bounds a step.
    uncounted: bytes sent over a network whose speed no table has.
    tokens: of a step, in rows that are full.
    num_steps: config.num_steps.
    estimate: whether another kind of device was compiled for.
  """

  chips: int
  mesh: dict
  memory: dict
  total: float
  capacity: float
  model_flops: float = 0.0
  peak: float = 0.0
  flops: float = 0.0
  moved: float = 0.0
  sent: tuple = ()
  seconds: dict = dataclasses.field(default_factory=dict)
  uncounted: float = 0.0
  tokens: int = 0
  num_steps: int = 0
  estimate: bool = False

  @property
  def fits(self):
    """Whether a chip has the memory."""
    return bool(self.seconds) and self.total <= self.capacity

  @property
  def bound(self):
    """What takes longest: a key of `seconds`."""
    return max(self.seconds, key=self.seconds.get)

  @property
  def step_seconds(self):
    """At least, with all else hidden behind what takes longest."""
    return self.seconds[self.bound]

  @property
  def mfu(self):
    """FLOPs of the model a second, of what the chips can do; at most."""
    return self.model_flops / (self.step_seconds * self.peak * self.chips)

  @property
  def tokens_per_second(self):
    """Of all chips, at most."""
    return self.tokens / self.step_seconds

  @property
  def hours(self):
    """Of the whole run, at least."""
    return self.num_steps * self.step_seconds / HOUR

  def as_dict(self):
    """Returns all of it, as JSON has it."""
    own = dataclasses.asdict(self) | {'fits': self.fits}
    if self.seconds:
      names = 'bound', 'step_seconds', 'mfu', 'tokens_per_second', 'hours'
      own |= {name: getattr(self, name) for name in names}
      own['chip_hours'] = self.hours * self.chips
    return own


class Machine:
  """Devices to plan for.

  Attributes:
    devices, chip: see topology.describe.
  """

  def __init__(self, devices, chip):
    self.devices, self.chip = devices, chip

  @property
  def estimate(self):
    """Whether others are compiled for in their place."""
    return self.devices[0].platform == 'cpu'

  def apart(self, placement):
    """Returns the number of each device's slice or node, in the mesh's order.

    Args:
      placement: whose devices they are.
    """
    own = placement.mesh.devices.flat
    if self.estimate:
      return [i // topology.NODE for i in range(len(self.devices))]
    return [getattr(d, 'slice_index', 0) for d in own]

  def rate(self, mesh, sent):
    """Returns the bytes a second by which a chip sends over some axes, or 0.

    Over a TPU's torus they are its links along the axes that a group is on: two
    along one that is closed to a ring, and that the group goes all around.

    Args:
      mesh: jax.sharding.Mesh.
      sent: parallel.work.Sent.
    """
    if sent.slices:
      return self.chip.outside_rate
    if self.estimate:
      return self.chip.links * self.chip.link_rate
    index = tuple(
      slice(None) if name in sent.axes else 0 for name in mesh.axis_names
    )
    group = np.array([d.coords for d in np.ravel(mesh.devices[index])])
    whole = np.array([d.coords for d in self.devices])
    links = 0
    for axis in range(whole.shape[1]):
      places = len(np.unique(group[:, axis]))
      length = whole[:, axis].max() + 1
      # The scaling book, "TPU networking": whole cubes of 4x4x4, and sides of
      # 16 of a two-dimensional one, have links around.
      ring = length % 4 == 0 if self.chip.links == 6 else length == 16
      links += (2 if ring and places == length else 1) if places > 1 else 0
    return max(links, 1) * self.chip.link_rate

  def measure(self, config, apart=False):
    """Returns the Plan of a config.

    Args:
      config: of `made_up.without_data`.
      apart: whether to tell activations from temporaries, for which it compiles
        half the batch too.

    Raises:
      UserError: it can't run on these devices, however much memory they have.
    """
    config_lib.check(config)
    placement = placement_lib.make(config, self.devices)
    program = made_up.build(config, placement)
    mesh, state = placement.mesh, program.abstract
    held = {
      'parameters': memory.per_device(state.params),
      'optimizer': memory.per_device(state.opt_state),
      'other state': memory.per_device((state.ema, state.memory, state.step)),
    }
    plan = Plan(
      chips=len(self.devices),
      mesh=dict(mesh.shape),
      memory=held,
      total=sum(held.values()),
      capacity=self.chip.hbm_bytes,
      peak=self.chip.flops,
      num_steps=config.num_steps,
      estimate=self.estimate,
    )
    trained, _ = trees.split(state.params, program.frozen)
    if plan.total + memory.per_device(trained) > plan.capacity:
      held['temporaries'] = memory.per_device(trained)
      total = sum(held.values())
      return dataclasses.replace(plan, memory=held, total=total)
    try:
      compiled = program.lower().compile()
    except RuntimeError as e:
      full = FULL.search(str(e))
      if not full:
        raise
      need, have = (float(full[i]) * UNITS[full[i + 1]] for i in (1, 3))
      return dataclasses.replace(plan, total=need, capacity=have)
    return self._whole(plan, config, program, compiled, apart)

  def _whole(self, plan, config, program, compiled, apart):
    said, held = compiled.memory_analysis(), dict(plan.memory)
    held['batch'] = max(said.argument_size_in_bytes - plan.total, 0)
    held['activations'] = 0
    held['temporaries'] = said.temp_size_in_bytes
    held['program'] = said.generated_code_size_in_bytes
    if not apart or not self._halve(config, held):
      del held['activations']
    made = said.output_size_in_bytes - said.alias_size_in_bytes
    held['results'] = max(made, 0)
    mesh = program.placement.mesh
    shape = dict(mesh.shape)
    places = self.apart(program.placement)
    model = flops.of_step(config)
    try:
      text = compiled.as_text()
    except RuntimeError as e:  # of some slices with libtpu 0.0.52, JAX 0.10.2
      note(
        "this JAX can't read what its libtpu compiled, so bytes moved and sent "
        f'are left out: {reason(e)}'
      )
      work = work_lib.Work(model / plan.chips, 0, 0, ())
    else:
      work = work_lib.of_text(text, shape, places)
    network = uncounted = 0.0
    for sent in work.sent:
      rate = self.rate(mesh, sent)
      network += sent.size / rate if rate else 0.0
      uncounted += 0.0 if rate else sent.size
    # Splash attention, a kernel, doesn't say what it costs.
    kernels = flops.of_step(config, attention=True) if work.kernels else 0
    done = max(work.flops + kernels / plan.chips, model / plan.chips)
    return dataclasses.replace(
      plan,
      memory=held,
      total=sum(held.values()),
      model_flops=model,
      flops=done,
      moved=work.moved,
      sent=work.sent,
      seconds={
        'compute': done / self.chip.flops,
        'memory': work.moved / self.chip.hbm_rate,
        'network': network,
      },
      uncounted=uncounted,
      tokens=config.batch_size
      * sum(t.objective.max_length for t in program.tasks),
    )

  def _halve(self, config, held):
    # What half the batch does not need is half of the activations.
    half = changed(config, {'batch_size': config.batch_size // 2})
    try:
      placement = placement_lib.make(half, self.devices)
    except UserError:
      return False
    less = made_up.build(half, placement).lower().compile().memory_analysis()
    grows = 2 * max(held['temporaries'] - less.temp_size_in_bytes, 0)
    held['activations'] = min(grows, held['temporaries'])
    held['temporaries'] -= held['activations']
    return True


def changed(config, values):
  """Returns a copy of a config with other values, {path: value}."""
  return overrides.apply(config.copy_and_resolve_references(), values.items())


REMATS = 'none', 'dots', 'full'


def changes(config, count):
  """Yields what may let a config fit, {path: value}, the nearest first.

  What changes no result comes before what does: rematerialisation, micro-
  batches, parameters and layers over more devices; a smaller batch is last.

  Args:
    config: it.
    count: of devices.
  """
  if 'remat' in _options(config):
    now = config.model.get('remat', 'none')
    remats = [{'model.remat': r} for r in REMATS[REMATS.index(now) + 1 :]]
  else:
    remats = []
  parts, axes = [], []
  most = config.batch_size // config.accumulation
  for times in (2, 4, 8, 16, 32, 64):
    if most % times == 0:
      parts.append({'accumulation': config.accumulation * times})
  mesh = {'parallel.strategy': 'mesh', 'parallel.data': -1}
  own = config.parallel.fsdp * config.parallel.tensor
  for axis in ('fsdp', 'tensor'):
    size = config.parallel[axis] * 2
    while own // config.parallel[axis] * size <= count:
      axes.append(mesh | {f'parallel.{axis}': size})
      size *= 2
  yield from (*remats, *parts, *axes)
  best = (remats or [{}])[-1]
  wide = [a for a in axes if 'parallel.fsdp' in a]
  yield from (best | x for x in (*parts, *axes) if best)
  yield from (best | x | y for y in wide for x in parts)
  size = config.batch_size // 2
  while size:
    yield {'batch_size': size}
    yield best | (wide or [{}])[-1] | {'batch_size': size}
    size //= 2


def nearest(machine, config, told=lambda values, plan: None):
  """Returns ({path: value}, Plan) of the nearest change that fits, or None.

  Args:
    machine: Machine.
    config: see `Machine.measure`.
    told: called with each that was tried, and its Plan.
  """
  for values in changes(config, len(machine.devices)):
    try:
      plan = machine.measure(changed(config, values))
    except UserError:  # it can't be cut so
      continue
    told(values, plan)
    if plan.fits:
      return values, plan
  return None


def meshes(config, count):
  """Returns {path: value} of each way to lay a config out, see `search`."""
  options, found = _options(config), []
  heads = config.model.get('num_heads', 0)
  heads = config.model.get('num_kv_heads', 0) or heads
  for tensor in (n for n in range(1, count + 1) if count % n == 0):
    if tensor > 1 and (not heads or heads % tensor):
      continue
    for fsdp in (n for n in range(1, count + 1) if count // tensor % n == 0):
      shards = count // tensor
      if config.batch_size % (shards * config.accumulation) == 0:
        found.append(
          {
            'parallel.strategy': 'mesh',
            'parallel.data': shards // fsdp,
            'parallel.fsdp': fsdp,
            'parallel.tensor': tensor,
            'parallel.sequence': 1,
          }
        )
  remats = REMATS if 'remat' in options else (None,)
  return [
    [m | ({'model.remat': r} if r else {}) for r in remats] for m in found
  ]


def search(machine, config, told=lambda count: None):
  """Returns [({path: value}, Plan)] of what fits, the fastest first.

  Of each mesh the policy is kept that does least again and fits.

  Args:
    machine: Machine.
    config: see `Machine.measure`.
    told: called with how many of `meshes` are done.
  """
  found = []
  for ways in meshes(config, len(machine.devices)):
    for values in ways:
      try:
        plan = machine.measure(changed(config, values))
      except UserError:
        continue
      if plan.fits:
        found.append((values, plan))
        break
    told(1)
  return sorted(
    found, key=lambda f: (f[1].step_seconds, sum(f[1].seconds.values()))
  )


def _options(config):
  return plugins.options(plugins.find('models', config.model.name))
