"""sentence-transformers folders: how token vectors become a sentence's.

modules.json names a chain of modules: a transformer, a pooling (Reimers &
Gurevych 2019, section 3), and perhaps a normalisation to length 1.
"""

import dataclasses
import json
from pathlib import PurePath

from ctxlm import files, ranges
from ctxlm.errors import UserError
from ctxlm.files import read_json

POOLINGS = {  # theirs, then what it was called before a single key had it
  'cls': 'pooling_mode_cls_token',
  'mean': 'pooling_mode_mean_tokens',
}

KINDS = {  # of what is read here, in any of the files
  'do_lower_case': bool,
  'max_seq_length': ranges.Whole,
  'model_max_length': float,  # without a limit it is 10^30
  'default_prompt_name': str,
  'prompts': dict[str, str],
  'pooling_mode': str | tuple,
}


@dataclasses.dataclass(frozen=True)
class Sentence:
  """How a folder makes vectors.

  Attributes:
    pooling: 'cls' or 'mean'.
    normalise: whether vectors have length 1.
    max_length: tokens, the special ones included; 0 is the model's.
    prompt: text in front of every sentence.
    path: the transformer's folder inside this one; '' is itself.
  """

  pooling: str
  normalise: bool = False
  max_length: int = 0
  prompt: str = ''
  path: str = ''


def from_json(content, path):
  """Returns the Sentence that dataclasses.asdict made JSON of.

  Args:
    content: the JSON.
    path: of the file that it stands in, for the message.

  Raises:
    UserError: it is none.
  """
  fields = {f.name: f.type for f in dataclasses.fields(Sentence)}
  if (
    not isinstance(content, dict)
    or content.keys() != fields.keys()
    or any(type(content[k]) is not kind for k, kind in fields.items())
    or content['pooling'] not in POOLINGS
    or content['max_length'] < 0
    or not _is_below(content['path'])
  ):
    raise UserError(f'{path}: what it says of sentences is damaged')
  return Sentence(**content)


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
  modules = _read_list(folder / 'modules.json')
  kinds = [m['type'].rsplit('.', 1)[-1] for m in modules]
  if kinds[:2] != ['Transformer', 'Pooling'] or kinds[2:] not in (
    [],
    ['Normalize'],
  ):
    raise UserError(
      f'{folder / "modules.json"}: modules {", ".join(kinds)} are not '
      'supported: a Transformer, a Pooling and a Normalize are'
    )
  for module in modules:
    if not _is_below(module['path']):
      raise UserError(
        f'{folder / "modules.json"}: {module["path"]!r} leads out of its folder'
      )
    files.inside(folder, module['path'])
  pooling = _read_keys(folder / modules[1]['path'] / 'config.json', must=True)
  path = modules[0]['path']
  settings = folder / path / 'sentence_bert_config.json'
  settings = _read_keys(settings)
  if settings['do_lower_case']:
    raise UserError(f'{folder}: do_lower_case of the sentences is no option')
  prompts = folder / 'config_sentence_transformers.json'
  prompts = _read_keys(prompts)
  name = prompts['default_prompt_name']
  return Sentence(
    pooling=_pooling(pooling, folder),
    normalise=kinds[2:] == ['Normalize'],
    max_length=_max_length(folder / path, settings),
    prompt=(prompts['prompts'] or {}).get(name, '') if name else '',
    path=path,
  )


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


def write(folder, sentence, hidden_size):
  """Writes the modules' files, in place of any that are there.

  They are of the form that all releases of sentence-transformers read.
  """
  kinds = ['Transformer', 'Pooling'] + ['Normalize'] * sentence.normalise
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
  pooling = {'word_embedding_dimension': hidden_size}
  for name, old in POOLINGS.items():
    pooling[old] = name == sentence.pooling
  settings = {'max_seq_length': sentence.max_length, 'do_lower_case': False}
  texts = {
    'modules.json': modules,
    '1_Pooling/config.json': pooling,
    f'{sentence.path}/sentence_bert_config.json': settings,
  }
  if sentence.prompt:
    texts['config_sentence_transformers.json'] = {
      'prompts': {'default': sentence.prompt},
      'default_prompt_name': 'default',
    }
  for name, value in texts.items():
    (folder / name.strip('/')).write_text(json.dumps(value, indent=2) + '\n')
