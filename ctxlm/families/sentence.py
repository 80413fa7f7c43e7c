"""sentence-transformers folders: how token vectors become a sentence's.

modules.json names a chain of modules: a transformer, a pooling (Reimers &
Gurevych 2019, section 3), linear maps, and perhaps a normalisation to length 1.
"""

import dataclasses
import json
import shutil
from pathlib import PurePath

import numpy as np

from ctxlm import files, ranges, trees
from ctxlm.errors import UserError
from ctxlm.families import rules
from ctxlm.families.formats import tensors
from ctxlm.families.source import Read
from ctxlm.files import read_json
from ctxlm.objectives import pooling

POOLINGS = {  # theirs, and what it was called before a single key had it
  'cls': 'pooling_mode_cls_token',
  'mean': 'pooling_mode_mean_tokens',
  'max': 'pooling_mode_max_tokens',
  'mean_sqrt_len_tokens': 'pooling_mode_mean_sqrt_len_tokens',
  'weightedmean': 'pooling_mode_weightedmean_tokens',
  'lasttoken': 'pooling_mode_lasttoken',
}
ACTIVATIONS = {  # theirs: torch.nn.modules.X
  '': 'linear.Identity',
  'gelu': 'activation.GELU',
  'relu': 'activation.ReLU',
  'silu': 'activation.SiLU',
  'tanh': 'activation.Tanh',
}
HEAD = 'heads/sentence'  # where the linear maps are, see contrastive

KINDS = {  # of what is read here, in any of the files
  'do_lower_case': bool,
  'max_seq_length': ranges.Whole,
  'model_max_length': float,  # without a limit it is 10^30
  'default_prompt_name': str,
  'prompts': dict[str, str],
  'pooling_mode': str | tuple,
  'include_prompt': bool,
  'in_features': ranges.Count,
  'out_features': ranges.Count,
  'bias': bool,
  'activation_function': str,
  'module_input_name': str,
  'module_output_name': str,
  'use_residual': bool,
}


@dataclasses.dataclass(frozen=True)
class Sentence:
  """How a folder makes vectors.

  Attributes:
    pooling: of POOLINGS.
    normalise: whether vectors have length 1.
    max_length: tokens, the special ones included; 0 is the model's.
    prompt: text in front of every sentence.
    path: the transformer's folder inside this one; '' is itself.
    dense: tuple of pooling.Dense, behind the pooling.
  """

  pooling: str
  normalise: bool = False
  max_length: int = 0
  prompt: str = ''
  path: str = ''
  dense: tuple = ()

  def size(self, hidden_size):
    """Returns how many numbers a vector has."""
    return self.dense[-1].size if self.dense else hidden_size

  def shapes(self, hidden_size):
    """Returns {path: shape} of the linear maps' parameters."""
    found = {}
    for i, one in enumerate(self.dense):
      found[f'{HEAD}/dense_{i}/kernel'] = hidden_size, one.size
      if one.bias:
        found[f'{HEAD}/dense_{i}/bias'] = (one.size,)
      hidden_size = one.size
    return found


def from_json(content, path):
  """Returns the Sentence that dataclasses.asdict made JSON of.

  Args:
    content: the JSON.
    path: of the file that it stands in, for the message.

  Raises:
    UserError: it is none.
  """
  fields = {f.name: f.type for f in dataclasses.fields(Sentence)}
  if isinstance(content, dict):  # as earlier files say nothing of the maps
    content = {'dense': []} | content
  fields['dense'] = list
  if (
    not isinstance(content, dict)
    or content.keys() != fields.keys()
    or any(type(content[k]) is not kind for k, kind in fields.items())
    or content['pooling'] not in POOLINGS
    or content['max_length'] < 0
    or not _is_below(content['path'])
  ):
    raise UserError(f'{path}: what it says of sentences is damaged')
  maps = pooling.read_dense(content['dense'], f'{path}: sentence.dense.')
  return Sentence(**content | {'dense': maps})


def _is_below(path):
  parts = PurePath(path).parts
  return '..' not in parts and not PurePath(path).is_absolute()


def read(folder):
  """Returns the Sentence of a folder, or None if it has no modules.json.

  Args:
    folder: pathlib.Path.

  Raises:
    UserError: a module that isn't supported.
  """
  if not (folder / 'modules.json').is_file():
    return None
  modules = _modules(folder)
  kinds = [kind for kind, _ in modules]
  maps = [path for kind, path in modules if kind == 'Dense']
  chain = ['Transformer', 'Pooling', *('Dense' for _ in maps)]
  if kinds not in (chain, [*chain, 'Normalize']):
    raise UserError(
      f'{folder / "modules.json"}: modules {", ".join(kinds)} are not '
      'supported: a Transformer, a Pooling, any Dense and a Normalize are'
    )
  (_, path), (_, pooled), *_ = modules
  settings = _read_keys(folder / path / 'sentence_bert_config.json')
  if settings['do_lower_case']:
    raise UserError(f'{folder}: do_lower_case of the sentences is no option')
  prompts = _read_keys(folder / 'config_sentence_transformers.json')
  name = prompts['default_prompt_name']
  prompt = (prompts['prompts'] or {}).get(name, '') if name else ''
  settled = _read_keys(folder / pooled / 'config.json', must=True)
  if prompt and settled['include_prompt'] is False:
    raise UserError(
      f'{folder}: a prompt that the pooling leaves out is not supported'
    )
  return Sentence(
    pooling=_pooling(settled, folder),
    dense=tuple(_dense(folder / own / 'config.json') for own in maps),
    normalise=kinds[-1] == 'Normalize',
    max_length=_max_length(folder / path, settings),
    prompt=prompt,
    path=path,
  )


def _modules(folder):
  # [(kind, folder)] of modules.json.
  modules = _read_list(folder / 'modules.json')
  for module in modules:
    if not _is_below(module['path']):
      raise UserError(
        f'{folder / "modules.json"}: {module["path"]!r} leads out of its folder'
      )
    files.inside(folder, module['path'])
  return [(m['type'].rsplit('.', 1)[-1], m['path']) for m in modules]


def _dense(path):
  said = _read_keys(path, must=True)
  names = {theirs.split('.')[-1]: ours for ours, theirs in ACTIVATIONS.items()}
  name = (said['activation_function'] or 'Tanh').rpartition('.')[-1]
  own = ('sentence_embedding', None)
  if (
    name not in names
    or said['use_residual']
    or said['module_input_name'] not in own
    or said['module_output_name'] not in own
    or said['out_features'] is None
  ):
    raise UserError(
      f'{path}: a Dense with {"a residual" if said["use_residual"] else name} '
      f'is not supported; one of the sentence by {", ".join(names)} is'
    )
  return pooling.Dense(
    said['out_features'], names[name], said['bias'] is not False
  )


def parameters(folder, sentence, hidden_size):
  """Returns {our path: Read} of the linear maps of a folder.

  Args:
    folder: pathlib.Path.
    sentence: what `read` gave.
    hidden_size: of the transformer.

  Raises:
    UserError: one lacks its weights, or they are of another shape.
  """
  paths = [path for kind, path in _modules(folder) if kind == 'Dense']
  weights = [tensors.open_folder(folder / path) for path in paths]
  found = {}
  for path, shape in sentence.shapes(hidden_size).items():
    module, _, _ = path.rpartition('/')
    number = int(module.rpartition('_')[2])
    at = rules.place(path, shape, {module: 'linear'})
    tensor = weights[number].get(at.names[0])
    have = None if tensor is None else tuple(tensor.shape)
    if have != at.their_shape(shape):
      raise UserError(
        f'{folder / paths[number]}: {at.names[0]} is {have or "absent"}, and '
        f'{at.their_shape(shape)} is asked for'
      )
    found[path] = Read(shape, [(at, tensor)], False)
  return found


def _read_keys(path, must=False):
  # What a file says; of KINDS all, None where it says nothing.
  content = read_json(path) if must or path.is_file() else {}
  return content | ranges.check_json(KINDS, content, f'{path}: ')


def _read_list(path):
  try:
    modules = read_json(path, list)
  except UserError as e:
    raise UserError(f'{path} is no list of modules: {e}') from e
  for m in modules:
    if not isinstance(m, dict) or not all(
      isinstance(m.get(key), str) for key in ('type', 'path')
    ):
      raise UserError(f'{path} is no list of modules')
  return modules


def _pooling(config, folder):
  mode = config['pooling_mode']
  if mode is None:
    names = {old: new for new, old in POOLINGS.items()}
    on = [
      names.get(key, key)
      for key, value in config.items()
      if key.startswith('pooling_mode_') and value is True
    ]
    mode = on[0] if len(on) == 1 else on or 'mean'
  if not isinstance(mode, str) or mode not in POOLINGS:
    raise UserError(
      f'{folder}: pooling {mode!r} is not supported; '
      f'{" and ".join(POOLINGS)} are'
    )
  return mode


def _max_length(folder, settings):
  limit = settings['max_seq_length']
  path = folder / 'tokenizer_config.json'
  if not limit and path.is_file():
    limit = _read_keys(path)['model_max_length']
  return int(limit) if limit and 0 < limit < 10**9 else 0


def restate(folder, sentence, hidden_size, params=None):
  """Makes the modules' files of a folder say how sentences get vectors.

  They are of the form that all releases of sentence-transformers read.

  Args:
    folder: pathlib.Path, which may have files that say something else.
    sentence: Sentence; None takes away what is there.
    hidden_size: of the transformer.
    params: of the model, whose linear maps are written too; None is without.
  """
  there = (folder / 'modules.json').is_file()
  if not there or read(folder) != sentence:
    if there:
      _remove(folder)
    if sentence:
      _write(folder, sentence, hidden_size)
  if sentence and sentence.dense and params is not None:
    _write_weights(folder, sentence, hidden_size, trees.flatten(params))


def _remove(folder):
  for kind, path in _modules(folder):
    if kind != 'Transformer' and path not in ('', '.'):
      shutil.rmtree(folder / path, ignore_errors=True)
  (folder / 'modules.json').unlink()


def _write(folder, sentence, hidden_size):
  kinds = ['Transformer', 'Pooling', *('Dense' for _ in sentence.dense)]
  kinds += ['Normalize'] * sentence.normalise
  modules = [
    {
      'idx': i,
      'name': str(i),
      'path': f'{i}_{kind}' if i else sentence.path,
      'type': f'sentence_transformers.models.{kind}',
    }
    for i, kind in enumerate(kinds)
  ]
  for module in modules:
    (folder / module['path']).mkdir(exist_ok=True)
  pooled = {'word_embedding_dimension': hidden_size}
  for name, old in POOLINGS.items():
    pooled[old] = name == sentence.pooling
  settings = {'max_seq_length': sentence.max_length, 'do_lower_case': False}
  texts = {
    'modules.json': modules,
    '1_Pooling/config.json': pooled,
    f'{sentence.path}/sentence_bert_config.json': settings,
  }
  for i, one in enumerate(sentence.dense):
    texts[f'{i + 2}_Dense/config.json'] = {
      'in_features': hidden_size,
      'out_features': one.size,
      'bias': one.bias,
      'activation_function': f'torch.nn.modules.{ACTIVATIONS[one.activation]}',
    }
    hidden_size = one.size
  if sentence.prompt:
    texts['config_sentence_transformers.json'] = {
      'prompts': {'default': sentence.prompt},
      'default_prompt_name': 'default',
    }
  for name, value in texts.items():
    (folder / name.strip('/')).write_text(json.dumps(value, indent=2) + '\n')


def _write_weights(folder, sentence, hidden_size, params):
  paths = [path for kind, path in _modules(folder) if kind == 'Dense']
  shapes = sentence.shapes(hidden_size)
  for number, own in enumerate(paths):
    module, arrays = f'{HEAD}/dense_{number}', {}
    for path in (path for path in shapes if path.startswith(f'{module}/')):
      at = rules.place(path, shapes[path], {module: 'linear'})
      arrays[at.names[0]] = at.write(np.asarray(params[path], np.float32))
    sizes = {name: x.nbytes for name, x in arrays.items()}
    tensors.write(folder / own, sizes, arrays.get)
