r"""Tell what a config will need on devices that need not be here.

Memory of a chip, FLOPs, bytes moved and sent, and the least time that a step
and the run can take at the chips' peak. Nothing is trained and no data read,
unless its labels are needed; `pip install 'ctxlm[plan]'` compiles for TPUs
without one. If it does not fit, the nearest change that does is looked for.

  ctxlm plan --config configs/llama_1b.py --topology v5e:16x16 \
    --config.parallel.fsdp=16
  ctxlm plan --config gpt2_small --topology v6e:4x4 --search
  ctxlm plan --config gpt2_small --topology h100:8 --out plan.json
"""

import contextlib
import json

from ctxlm import ranges
from ctxlm.commands import flags


def add_flags(parser):
  """Declares the flags of `ctxlm plan`."""
  parser.add_config('a recipe: NAME, or the path of a file; NAME:ARGUMENT')
  flags.add_data(parser)
  use = 'what for'
  parser.add(
    use,
    '--topology',
    metavar='KIND:SIZE',
    needed=True,
    help='a slice of TPUs, v4:4x4x4, v5e:16x16, v5p:8x8x8 or v6e:16x16; or '
    'GPUs, of which CPUs give an estimate, a100-40gb:8, a100-80gb:8, h100:8, '
    'h200:8',
  )
  parser.add(
    use,
    '--slices',
    metavar='N',
    type=flags.number(ranges.Count),
    default=1,
    help='how many of them, which the axis data joins',
  )
  parser.add(
    'how',
    '--search',
    action='store_true',
    help='try the meshes and the remat policies that there are, and show the '
    'best',
  )
  parser.add(
    'what is written', '--out', metavar='FILE', help='all of it, as JSON'
  )


def main(F):
  """Entry point of `ctxlm plan`."""
  from ctxlm import config as config_lib
  from ctxlm import files, recipes
  from ctxlm.parallel import topology
  from ctxlm.recipes import overrides, own_data
  from ctxlm.training import made_up, planning

  topology.simulate(F.topology, F.slices)
  machine = planning.Machine(*topology.describe(F.topology, F.slices))
  config = recipes.load(F.config)
  own_data.with_each(config, F.data)
  overrides.apply(config, F.overrides)
  config_lib.check(config)
  config = made_up.without_data(config)
  made = _search if F.search else _measure
  # A file that can't be is told of before anything is compiled.
  with files.new_file(F.out) if F.out else contextlib.nullcontext() as new:
    whole = made(F, machine, config)
    if new:
      new.write_text(json.dumps(whole, indent=2) + '\n', encoding='utf-8')


def _search(F, machine, config):
  from tqdm import tqdm

  from ctxlm.lab import plans
  from ctxlm.training import planning

  count = len(planning.meshes(config, len(machine.devices)))
  with tqdm(total=count, unit='mesh') as bar:
    found = planning.search(machine, config, bar.update)
  print(plans.table(found))
  return [{'config': v} | plan.as_dict() for v, plan in found]


def _measure(F, machine, config):
  from ctxlm.lab import plans
  from ctxlm.training import planning

  plan = machine.measure(config, apart=True)
  print(plans.text(plan, machine.chip, F.topology, F.slices))
  whole = plan.as_dict()
  if not plan.fits:
    found = planning.nearest(machine, config, plans.tell)
    print(plans.change(found))
    if found:
      whole['change'] = {'config': found[0]} | found[1].as_dict()
  return whole
