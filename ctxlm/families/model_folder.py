"""A model folder: a model and its tokenizer, with nothing of a training.

    model.json          layout, config block, how it makes sentence vectors,
                        the block of the objective whose head answers, and that
                        of the adapter around the model
    model.safetensors   parameters by our paths, in parts if they are large
    tokenizer/          tokenizer.json
    reference/          small files of the reference that it came from, if any

`ctxlm convert --to` writes it; every command that needs no data or tasks, and
`config.init_from`, read it.
"""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np

from ctxlm import data as data_lib
from ctxlm import files, models, plugins, trees
from ctxlm.errors import UserError, reason
from ctxlm.families import folder as folder_lib
from ctxlm.families import opened, sentence, small_files
from ctxlm.families.formats import tensors
from ctxlm.models import adapters

NAME, LAYOUT = 'model.json', 1
REFERENCE = 'reference'  # in a run folder too
WRITING = ('lm_head/', 'final_bias/')  # parameters of how a model writes


def is_one(folder):
  """Whether a folder is a model folder."""
  return (folder / NAME).is_file()


def write(
  folder,
  block,
  params,
  tokenizer,
  small=None,
  pooled=None,
  task=None,
  adapt=None,
):
  """Fills an empty folder.

  Args:
    folder: pathlib.Path.
    block: config block of the model.
    params: its parameters.
    tokenizer: its Tokenizer.
    small: folder with the reference's settings, or None.
    pooled: families.sentence.Sentence, or None.
    task: config block of the objective whose head answers, or None.
    adapt: config block of the adapter around the model, or None.
  """
  about = {
    'layout': LAYOUT,
    'model': block,
    'sentence': dataclasses.asdict(pooled) if pooled else None,
    'task': task,
    'adapt': adapt,
  }
  text = json.dumps(about, indent=2) + '\n'
  (folder / NAME).write_text(text, encoding='utf-8')
  tokenizer.save(folder / 'tokenizer')
  if small:
    small_files.copy_small(small, folder / REFERENCE)
    sentence.restate(folder / REFERENCE, pooled, block['hidden_size'])
  arrays = trees.flatten(params)
  sizes = {name: 4 * x.size for name, x in arrays.items()}

  def make(name):
    whole = jnp.issubdtype(arrays[name].dtype, jnp.integer)
    return np.asarray(arrays[name], 'int32' if whole else 'float32')

  tensors.write(folder, sizes, make)


def open_folder(folder, allow_code=(), **options):
  """Opens a model folder; see opened.Opened.

  Args:
    folder: pathlib.Path.
    allow_code: see plugins.refuse_code.
    **options: of the model, in place of its own.

  Raises:
    UserError: it is damaged, or of another layout.
  """
  about = files.read_json(folder / NAME)
  if about.get('layout') != LAYOUT:
    raise UserError(
      f'{folder} is a model folder of layout {about.get("layout")}, this is '
      f'for {LAYOUT}: convert it again'
    )
  if not isinstance(about.get('model'), dict):
    raise UserError(f'{folder / NAME} names no model')
  plugins.refuse_code(about, folder / NAME, allow_code)
  task = about.get('task')
  if task is not None:
    plugins.check('objectives', task, f'{folder / NAME}: task.')
  adapt = about.get('adapt')
  if adapt is not None:
    plugins.check('models.adapters', adapt, f'{folder / NAME}: adapt.')
  weights = tensors.open_folder(folder)
  there = {path: tuple(x.shape) for path, x in weights.items()}
  block = about['model'] | options
  wanted = _wanted(block, adapt, folder / NAME, there)
  _check(folder, there, {path: x.shape for path, x in wanted.items()})
  shapes = {
    path: wanted.get(path, jax.ShapeDtypeStruct(shape, jnp.float32))
    for path, shape in there.items()
  }

  def read(abstract):
    def one(path, leaf):
      def part(index):
        return np.asarray(weights[path][index], leaf.dtype)

      return jax.make_array_from_callback(leaf.shape, leaf.sharding, part)

    return trees.map_with_name(one, abstract)

  small = folder / REFERENCE
  pooled = about.get('sentence')
  pooled = sentence.from_json(pooled, folder / NAME) if pooled else None
  maps = pooled.shapes(block['hidden_size']) if pooled else {}
  _check(folder, there, maps)
  return opened.Opened(
    folder,
    block,
    trees.nest(shapes),
    read,
    data_lib.load_tokenizer(folder / 'tokenizer'),
    folder / 'tokenizer',
    small if small.is_dir() else None,
    pooled,
    task,
    adapt,
  )


def _check(folder, there, wanted):
  for path, shape in wanted.items():
    if path not in there and path.startswith(WRITING):
      continue  # as of a model that has another head
    have = there.get(path, 'absent')
    if have != shape:
      raise UserError(
        f'{folder}: {path} is {have}, and {NAME} asks for {shape}: convert it '
        'again'
      )


def _wanted(block, adapt, path, there):
  # {path: jax.ShapeDtypeStruct} of the parameters, heads left out; of a model
  # of somebody's own, which has other methods perhaps, none.
  if '.' in str(block.get('name')):
    return {}
  try:
    model = adapters.build(block, adapt)
    if isinstance(model, models.Counts):
      return model.wanted(there)
    shapes = folder_lib.shapes(model)
    return {k: jax.ShapeDtypeStruct(x, jnp.float32) for k, x in shapes.items()}
  except UserError as e:
    raise UserError(f'{path}: {e}') from e
  except folder_lib.NO_MODEL as e:
    raise UserError(f'{path}: no such model: {reason(e)}') from e
