"""`ctxlm convert --from DIR --to WORKDIR`, and back with `--to-hf DIR`.

A Hugging Face or sentence-transformers folder becomes a run folder, which
every command takes and `config.init_from` starts from; a run folder becomes
what transformers and sentence-transformers load.
"""

import contextlib
import os
import shutil
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
from absl import flags

from ctxlm import config as config_lib
from ctxlm.errors import UserError
from ctxlm.families import export, files, sentence
from ctxlm.inference import loading
from ctxlm.models import heads
from ctxlm.parallel import mesh as mesh_lib
from ctxlm.parallel import processes
from ctxlm.training import checkpoint
from ctxlm.training import run_folder as run_lib
from ctxlm.training import step as step_lib


def write_run(found, workdir):
  """Writes a run folder of a loading.Loaded."""
  loading.need_tokenizer(found)
  config = run_config(found, workdir)
  with _new_folder(workdir) as new:
    run_lib.write(config, found.tokenizer, new)
    if found.small:
      (new / loading.KEPT).mkdir()
      files.copy_small(found.small, new / loading.KEPT)
    state = step_lib.TrainState(
      step=jnp.zeros((), jnp.int32), params=found.params, opt_state={}, ema=None
    )
    saved = checkpoint.Checkpoints(new, config, {'converted': True})
    saved.save(0, state)
    saved.close()


def run_config(found, workdir):
  """Returns the config of a run of a loaded model: tasks that suit it."""
  c = config_lib.base()
  c.num_steps = 0
  c.model = found.block
  c.max_length = found.model.max_length
  c.tokenizer.kind = 'file'
  c.tokenizer.path = str(Path(workdir).resolve() / 'tokenizer')
  data = {'name': 'corpus'}
  evaluator = 'losses'
  if found.model.encoder_decoder:
    objective = {'name': 'seq2seq'}
    data = {'name': 'files', 'pattern': 'data/pairs.jsonl'}
  elif found.model.causal:
    objective, evaluator = {'name': 'causal'}, 'perplexity'
  elif heads.has(found.params, 'mlm') and not found.sentence:
    pair = 'next_sentence' * heads.has(found.params, 'next_sentence')
    objective = {'name': 'mlm', 'pair': pair}
  else:
    own = found.sentence
    objective = {
      'name': 'contrastive',
      'pooling': own.pooling if own else 'mean',
    }
    data['unit'], evaluator = 'sentence', 'alignment'
  c.tasks.text = {'data': data, 'objective': objective, 'weight': 1.0}
  c.evaluators[evaluator] = {'name': evaluator}
  return c


def write_hf(found, folder):
  """Writes a folder that transformers loads; see families.export.

  One of sentence vectors is one that sentence-transformers loads, too.

  Returns:
    paths of the parameters that were left out.
  """
  loading.need_tokenizer(found)
  with _new_folder(folder) as new:
    inner = new
    if found.small:
      files.copy_small(found.small, new)
      inner = new / found.sentence.path if found.sentence else new
    original = inner / 'config.json'
    original = files.read_json(original) if original.is_file() else None
    if not original:
      export.write_tokenizer(inner, found.tokenizer, found.model)
      pooled = loading.trained_sentence(found.run) if found.run else None
      if pooled:
        sentence.write(new, pooled, found.model.hidden_size)
    return export.write(
      inner, found.block, found.params, found.tokenizer, original
    )


@contextlib.contextmanager
def _new_folder(folder):
  """Gives a temporary folder, which takes the name when all went well."""
  folder = Path(folder)
  if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
    raise UserError(f'{folder} is there already; name a new folder')
  new = folder.with_name(f'{folder.name}.new-{os.getpid()}')
  try:
    new.mkdir(parents=True)
    yield new
    os.replace(new, folder)
  except OSError as e:
    raise UserError(f'{folder}: {e}') from e
  finally:
    shutil.rmtree(new, ignore_errors=True)


def define_flags():
  """Defines the flags of `ctxlm convert`."""
  flags.DEFINE_string('from', None, 'folder of any kind')
  flags.DEFINE_string(
    'step', '', "of a run: '' is the newest, 'best', a number"
  )
  flags.DEFINE_string('to', None, 'run folder to write')
  flags.DEFINE_string('to-hf', None, 'Hugging Face folder to write')


def convert(source, to=None, to_hf=None, step=''):
  """Converts a folder of any kind; see loading.load.

  Args:
    source: folder.
    to: run folder to write, or None.
    to_hf: Hugging Face folder to write, or None.
    step: of a run, see checkpoint.find.

  Returns:
    (number of parameters, paths of those that were left out).

  Raises:
    UserError: a mistake, before which nothing is written.
  """
  # Each device holds a part, so that what fits the machine can be converted.
  placement = mesh_lib.Mesh(jax.devices(), fsdp=jax.device_count())
  found = loading.load(source, placement, step)
  if to:
    write_run(found, to)
  left_out = write_hf(found, to_hf) if to_hf else []
  return sum(x.size for x in jax.tree.leaves(found.params)), left_out


def main():
  """Entry point of `ctxlm convert`."""
  source, to, to_hf = (flags.FLAGS[n].value for n in ('from', 'to', 'to-hf'))
  if source is None or not (to or to_hf):
    raise UserError('--from DIR is needed, and --to WORKDIR or --to-hf DIR')
  processes.start()
  count, left_out = convert(source, to, to_hf, flags.FLAGS.step)
  for name in left_out:
    print(f'left out: {name} has no place there', file=sys.stderr)
  for folder in filter(None, (to, to_hf)):
    print(f'{folder}: {count:,} parameters')
