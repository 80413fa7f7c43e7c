"""LoRA as PEFT keeps it: adapter_config.json and adapter_model.safetensors.

Such a folder has A and B alone, [rank, in] and [out, rank], and the modules
that were trained beside them, whole; the model that they are around is another
folder's (https://huggingface.co/docs/peft, "Checkpoint format").
"""

import collections
import dataclasses
import json
import re

import jax
import jax.numpy as jnp
import numpy as np

from ctxlm import plugins, ranges, trees
from ctxlm.errors import UserError
from ctxlm.families import answers, export, hub, source
from ctxlm.families import family as family_lib
from ctxlm.families import folder as folder_lib
from ctxlm.families.formats import tensors
from ctxlm.files import read_json

NAME = 'adapter_config.json'
WEIGHTS = ('adapter_model.safetensors', 'adapter_model.bin')
PREFIX = 'base_model.model.'
# Keys that are read.
KINDS = {
  'peft_type': str,
  'task_type': str,
  'base_model_name_or_path': str,
  'r': ranges.Count,
  'lora_alpha': ranges.AboveZero,
  'lora_dropout': ranges.BelowOne,
  'use_rslora': bool,
  'ensure_weight_tying': bool,
}
EMBEDDING, HEAD = 'inputs/token_embed/embedding', 'lm_head/kernel'
# Those that say nothing about the function of the tensors that there are.
HARMLESS = (
  'auto_mapping', 'exclude_modules', 'fan_in_fan_out', 'inference_mode',
  'layers_pattern', 'layers_to_transform', 'megatron_core', 'modules_to_save',
  'peft_version', 'qalora_group_size', 'revision', 'target_modules',
)  # fmt: skip
# Another value of these, or any of a key that isn't here, is refused.
PLAIN = {
  'bias': ('none',),
  'init_lora_weights': (True, 'gaussian', 'eva', 'orthogonal'),
}
CLASSES = {  # task_type: end of the class's name
  'SEQ_CLS': 'ForSequenceClassification',
  'TOKEN_CLS': 'ForTokenClassification',
  'QUESTION_ANS': 'ForQuestionAnswering',
}
TASKS = {end: task for task, end in CLASSES.items()} | {
  'LMHeadModel': 'CAUSAL_LM',
  'ForCausalLM': 'CAUSAL_LM',
  'ForConditionalGeneration': 'SEQ_2_SEQ_LM',
}


def is_one(folder):
  """Whether a folder is an adapter's of PEFT."""
  return (folder / NAME).is_file()


def open_folder(folder, base='', **options):
  """Opens an adapter's folder, with the model that it is around.

  Args:
    folder: pathlib.Path.
    base: folder of that model; '' is the hub's of the name that the adapter
      has, if it was downloaded. Where it names a path, that isn't followed.
    **options: of the model, see folder.open_folder.

  Returns:
    opened.Opened.

  Raises:
    UserError: it is no LoRA, or one of a kind or a model that it can't be of.
  """
  try:
    return _open(folder, base, options)
  except UserError as e:
    where = '' if str(folder) in str(e) else f'{folder}: '
    raise UserError(f'{where}{e}') from e


def _open(folder, base, options):
  said = _settings(read_json(folder / NAME))
  pairs, whole = _sort(tensors.open_folder(folder, WEIGHTS))
  beside = folder_lib.Beside(whole, CLASSES.get(said['task_type'], ''))
  model = folder_lib.open_folder(_base(base, said), beside, **options)
  complete = family_lib.complete(model.block)
  config = read_json(model.tokenizer_path / 'config.json')
  family = folder_lib.family_of(config)
  trained = {source.renamed(n).removeprefix(family.prefix) for n in whole}
  embedding, head = (
    trained & {*family.place(path, (1, 1), complete)[0].names}
    for path in (EMBEDDING, HEAD)
  )
  # PEFT knows by this name alone what there is to be tied.
  told = said['ensure_weight_tying'] and embedding == {'embed_tokens.weight'}
  tied = complete['tie_embeddings'] and said['task_type'] not in CLASSES
  if embedding and not head and tied and not told:
    raise UserError(
      f'{NAME}: modules_to_save has the embeddings, of which PEFT trains a '
      "copy, and the model's head, tied to them, has the old ones: merge it "
      'with PEFT, and open what that saves'
    )
  pairs = {
    source.renamed(f'{name}.weight').removeprefix(family.prefix): pair
    for name, pair in pairs.items()
  }
  found, met = _place(family, complete, trees.flatten(model.shapes), pairs)
  for name in sorted(pairs.keys() - met):
    raise UserError(
      f'LoRA is around {name.removesuffix(".weight")}, which is no linear map '
      'of its own in the model'
    )
  if not pairs:
    raise UserError(f'{NAME}: peft_type is LORA, and no tensor is one of LoRA')
  ranks = {len(a) for a, _ in pairs.values()}
  if ranks != {said['r']}:
    raise UserError(f'{NAME}: r={said["r"]}, and its tensors have {ranks}')
  adapt = {
    'name': 'lora',
    'rank': said['r'],
    'alpha': float(said['lora_alpha'] or 8),
    'rslora': bool(said['use_rslora']),
    'dropout': float(said['lora_dropout'] or 0.0),
    'target': _target(found, trees.flatten(model.shapes)),
  }
  shapes = {
    path: jax.ShapeDtypeStruct(x.shape, jnp.float32)
    for path, x in found.items()
  }

  def read(wanted):
    flat = trees.flatten(wanted)
    own = {path: x for path, x in flat.items() if path in found}
    rest = {path: x for path, x in flat.items() if path not in found}
    made = {
      path: jax.make_array_from_callback(
        x.shape, x.sharding, found[path].__getitem__
      )
      for path, x in own.items()
    }
    if rest:
      made |= trees.flatten(model.read(trees.nest(rest)))
    return trees.nest(made)

  return dataclasses.replace(
    model,
    folder=folder,
    shapes=trees.nest(trees.flatten(model.shapes) | shapes),
    read=read,
    adapt=adapt,
  )


def _settings(content):
  said = ranges.check_json(KINDS, content, f'{NAME}: ')
  if said['peft_type'] != 'LORA':
    raise UserError(
      f'{NAME}: peft_type={content.get("peft_type")!r} is not supported, '
      "'LORA' alone is"
    )
  if said['r'] is None:
    raise UserError(f"{NAME} has no 'r'")
  for key, value in content.items():
    wanted = PLAIN.get(key, ())
    if key in KINDS or key in HARMLESS or not value or value in wanted:
      continue
    raise UserError(f'{NAME}: {key}={value!r} is not supported')
  return said


def _base(base, said):
  name = said['base_model_name_or_path'] or ''
  found = hub.find(base) if base else hub.downloaded(name)
  if found is None:
    raise UserError(
      f'its model, base_model_name_or_path={name!r}, is not among those '
      'that were downloaded from the hub: say its folder, with ctxlm convert '
      "--base=DIR, or in config.init_from as ({'from': ..., 'base': DIR},)"
    )
  if is_one(found):
    raise UserError(f'{found} is an adapter too, and no model to be around')
  return found


def _sort(weights):
  # Returns ({module: [A, B]}, {name: tensor of a module that was trained}).
  pairs, whole = {}, {}
  for name, x in weights.items():
    plain = name.removeprefix(PREFIX).replace('.default', '')
    match = re.fullmatch(r'(.+)\.lora_([AB])\.weight', plain)
    if match:
      pairs.setdefault(match[1], {})[match[2]] = x
    elif 'lora_' in plain:
      raise UserError(f'{name}: LoRA of this kind is not supported')
    else:
      whole[plain.replace('.modules_to_save', '')] = x
  for module, pair in pairs.items():
    if pair.keys() != {'A', 'B'}:
      raise UserError(f'{module} has lora_{"".join(pair)} alone')
    shapes = [x.shape for x in pair.values()]
    if any(len(shape) != 2 or 0 in shape for shape in shapes):
      raise UserError(
        f'{module}: lora_A and lora_B must have two axes, and no empty one'
      )
  return {
    module: tuple(np.asarray(pair[k][:, :], np.float32) for k in 'AB')
    for module, pair in pairs.items()
  }, whole


def _place(family, options, shapes, pairs):
  # Returns ({our path: array of all layers}, the names that were found).
  found, met = {}, set()
  for path, x in shapes.items():
    if not path.endswith('/kernel'):
      continue
    module = path.removesuffix('kernel') + 'lora'
    parts = [
      _pair(family, options, one, shape, pairs, met)
      for one, shape in source.unstack(path, x.shape)
    ]
    if not any(parts):
      continue
    if not all(parts):
      raise UserError(
        f'LoRA is around some of {path} alone: open it without scan_layers'
      )
    for name, arrays in zip('ab', zip(*parts)):
      stacked = source.scanned(path)
      found[f'{module}/{name}'] = np.stack(arrays) if stacked else arrays[0]
  return found, met


def _pair(family, options, path, shape, pairs, met):
  # Returns (a, b) of a kernel of ours, or None.
  placed = family.place(path, shape, options)
  name = placed and next((n for n in placed[0].names if n in pairs), None)
  if name is None:
    return None
  at, (a, b) = placed[0], pairs[name]
  met.add(name)
  axes = 2 if path.endswith('/out/kernel') else 1
  inner, outer = shape[:axes], shape[axes:]
  size, rank = int(np.prod(outer)), len(a)
  wanted = [rank, int(np.prod(inner))], [size * at.parts, rank]
  if [list(a.shape), list(b.shape)] != list(wanted):
    raise UserError(
      f'{name.removesuffix(".weight")}: lora_A is {list(a.shape)} and lora_B '
      f'{list(b.shape)}; the model asks for {wanted[0]} and {wanted[1]}'
    )
  b = b[at.part * size : (at.part + 1) * size]
  return a.T.reshape(*inner, rank), b.T.reshape(rank, *outer)


def _target(found, shapes):
  # The pattern of the linear maps that have it: of all layers, or by number.
  met = {p.removesuffix('/lora/a') for p in found if p.endswith('/lora/a')}
  kernels = {p.removesuffix('/kernel') for p in shapes if p.endswith('/kernel')}

  def of_all(module):
    return re.sub(r'layers_\d+/', r'layers_\\d+/', module)

  left = {of_all(module) for module in kernels - met}
  names = {of_all(m) if of_all(m) not in left else m for m in met}
  return f'^({"|".join(sorted(names))})$'


def write(folder, block, params, adapt, task=None, original=None, base=''):
  """Writes an adapter's folder, which peft.PeftModel.from_pretrained loads.

  Of GPT-2's query, key and value, which are one linear map there, it is of the
  sum of their ranks: A is stacked, and B is of blocks.

  Args:
    folder: pathlib.Path, there already.
    block: config block of the model.
    params: its parameters with LoRA's.
    adapt: config block of LoRA.
    task: block of the objective whose head answers, or None.
    original: config.json that the model came from, or None.
    base: what the model is called there.

  Returns:
    paths of parameters that were trained and have no place there.

  Raises:
    UserError: it is no LoRA, or of a model of no family.
  """
  if not adapt or adapt['name'] != 'lora':
    raise UserError(
      f'{(adapt or {}).get("name", "no adapter")!r} is not what PEFT has a '
      'format for here: lora is'
    )
  adapter = plugins.build('models.adapters', adapt)
  options = family_lib.complete(block)
  family = export.infer(options, (original or {}).get('model_type', ''))
  flat = trees.flatten(params)
  alone = {p: x for p, x in flat.items() if '/lora/' not in p}
  pairs, saved, left_out = collections.defaultdict(list), {}, []
  head = answers.head(task, family)
  pieces, heads = export.pieces(
    family, options, trees.nest(alone), head, left_out
  )
  architecture = family.architecture(heads)
  names = export.prefixed(family, pieces, architecture)
  writes = not architecture.endswith((*CLASSES.values(), 'Model'))
  for their, parts in pieces.items():
    name = names[their]
    for at, _, path, _, layer in parts:
      module = path.removesuffix('kernel') + 'lora'
      if path.endswith('/kernel') and f'{module}/a' in flat:
        a, b = (np.asarray(flat[f'{module}/{k}'], np.float32) for k in 'ab')
        a, b = (a, b) if layer is None else (a[layer], b[layer])
        a, b = a.reshape(-1, adapter.rank).T, b.reshape(adapter.rank, -1).T
        pairs[name.removesuffix('.weight')].append((at, a, b))
      elif re.search(adapter.trained, path):
        saved[name] = export.join(parts)
        if path == EMBEDDING and options['tie_embeddings'] and writes:
          raise UserError(
            f'{adapter.trained!r} has trained the embeddings, to which the '
            "head is tied; PEFT's copy of them is not: write the whole model"
          )
  pairs = {name: _fused(parts) for name, parts in pairs.items()}
  rank = max(len(a) for a, _ in pairs.values())
  arrays = {}
  for name, (a, b) in pairs.items():
    more = rank - len(a)
    arrays[f'{name}.lora_A.weight'] = np.pad(a, [(0, more), (0, 0)])
    arrays[f'{name}.lora_B.weight'] = np.pad(b, [(0, 0), (0, more)])
  # safetensors writes an array as it lies.
  arrays = {
    PREFIX + name: np.ascontiguousarray(x)
    for name, x in (arrays | saved).items()
  }
  sizes = {name: x.nbytes for name, x in arrays.items()}
  tensors.write(folder, sizes, arrays.__getitem__, single=WEIGHTS[0])
  modules = sorted({name.rpartition('.')[0] for name in saved})
  times = rank**0.5 if adapter.rslora else rank
  content = {
    'peft_type': 'LORA',
    'task_type': next(
      (task for end, task in TASKS.items() if architecture.endswith(end)),
      'FEATURE_EXTRACTION',
    ),
    'base_model_name_or_path': base,
    'r': rank,
    'lora_alpha': adapter.scale * times,
    'lora_dropout': adapter.dropout,
    'use_rslora': adapter.rslora,
    'bias': 'none',
    'fan_in_fan_out': family.conv1d,
    'inference_mode': True,
    'target_modules': f'(.*\\.)?({"|".join(map(re.escape, sorted(pairs)))})',
    'modules_to_save': modules or None,
  }
  text = json.dumps(content, indent=2) + '\n'
  (folder / NAME).write_text(text, encoding='utf-8')
  return [p for p in left_out if re.search(adapter.trained, p)]


def _fused(parts):
  # One A and B of those that the reference has side by side.
  parts = sorted(parts, key=lambda part: part[0].part)
  at, a, b = parts[0]
  same = all(np.array_equal(a, other) for _, other, _ in parts)
  if len(parts) == at.parts and same:
    return a, np.concatenate([b for _, _, b in parts])
  rank, size = len(a), len(b)
  whole = np.zeros((size * at.parts, rank * len(parts)), np.float32)
  for i, (place, _, b) in enumerate(parts):
    rows = slice(place.part * size, (place.part + 1) * size)
    whole[rows, i * rank : (i + 1) * rank] = b
  return np.concatenate([a for _, a, _ in parts]), whole
