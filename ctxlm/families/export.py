"""A model of ours as a Hugging Face folder."""

import json
import math

import numpy as np

from ctxlm import plugins, trees
from ctxlm.data import framing
from ctxlm.errors import UserError
from ctxlm.families import answers
from ctxlm.families import family as family_lib
from ctxlm.families import folder as folder_lib
from ctxlm.families import source as source_lib
from ctxlm.families.formats import tensors


def infer(options, model_type=''):
  """Returns the Family that a model with these options is of.

  Args:
    options: of family.complete.
    model_type: of the family that it came from, which it stays if it can.

  Raises:
    UserError: none; says what differs from the nearest.
  """
  families = sorted(
    folder_lib.FAMILIES, key=lambda family: family.model_type != model_type
  )
  families += [family.encoder for family in families if family.encoder]
  for family in families:
    if not family.mismatches(options):
      return family
  near = [f for f in families if f.model == options['name']]
  if not near:
    raise UserError(
      f'no family that can be written has config.model.name={options["name"]!r}'
    )
  best = min(near, key=lambda family: len(family.mismatches(options)))
  raise UserError(
    'the model is of no family that can be written; the nearest is '
    f'{best.model_type}, but for config.model.{best.mismatches(options)[0]}'
  )


def write(
  folder,
  block,
  params,
  tokenizer,
  original=None,
  task=None,
  shard=tensors.SHARD,
):
  """Writes config.json and model.safetensors, in shards if they are large.

  Args:
    folder: pathlib.Path, there already.
    block: config block of the model.
    params: its parameters; a head that they lack is left out.
    tokenizer: Tokenizer; its special tokens go into config.json.
    original: config.json that the model came from; what we know nothing of
      is kept from it.
    task: block of the objective whose head answers, or None; where the
      reference has such a head, the folder is of that class.
    shard: bytes of a file at most.

  Returns:
    paths of parameters that have no place in the family, and are left out.

  Raises:
    UserError: the family can't be like that.
  """
  options = family_lib.complete(block)
  original = original or {}
  family = infer(options, original.get('model_type', ''))
  if original.get('model_type') != family.model_type:
    original = {}  # its keys mean something else
  left_out = []
  head = answers.head(task, family)
  if head and family.encoder and head in family.encoder.heads:
    family, options, params, left_out = _alone(family.encoder, options, params)
  placed, heads = pieces(family, options, params, head, left_out)
  architecture = family.architecture(heads)
  names = prefixed(family, placed, architecture)
  sizes = {
    names[name]: 4 * sum(math.prod(shape) for _, shape, *_ in parts)
    for name, parts in placed.items()
  }
  ours = {their: name for name, their in names.items()}
  tensors.write(folder, sizes, lambda name: join(placed[ours[name]]), shard)
  config = original | family.config(options)
  config |= {'architectures': [architecture], 'dtype': 'float32'}
  config.pop('torch_dtype', None)
  if head and head in heads:
    config |= answers.write(task, original)
  both = plugins.find('models', options['name']).encoder_decoder
  if both:  # what ends its texts, by which its classes find where that is
    config.setdefault('eos_token_id', framing.source(tokenizer).last[0])
  for role in ('pad', 'bos', 'eos'):
    config.setdefault(f'{role}_token_id', getattr(tokenizer, f'{role}_id'))
  if head == 'classification' and family.pooling == 'last':
    # By it the reference finds a text's last token.
    config['pad_token_id'] = _padding(tokenizer)
  if both:
    start = getattr(tokenizer, f'{options["decoder_start"]}_id')
    config.setdefault('decoder_start_token_id', start)
  wrong = config['pad_token_id'] not in (None, tokenizer.pad_id)
  if not original and wrong:
    raise UserError(
      f'config.model.position_offset={options["position_offset"]} asks for '
      f'the padding id {config["pad_token_id"]}; the tokenizer has '
      f'{tokenizer.pad_id}'
    )
  text = json.dumps(config, indent=2, sort_keys=True) + '\n'
  (folder / 'config.json').write_text(text, encoding='utf-8')
  return left_out


def _alone(family, options, params):
  # Of an encoder-decoder its encoder: (family, options, parameters, the paths
  # of those that are left out).
  known = plugins.options(plugins.find('models', family.model))
  options = {k: v for k, v in options.items() if k in known} | {
    'name': family.model,
    **family.fixed,
    'logits_scale': False,
    'tie_embeddings': True,
  }
  kept = {'inputs': 'inputs', 'encoder': 'stack', 'heads': 'heads'}
  left_out = list(
    trees.flatten({k: params[k] for k in params if k not in kept})
  )
  params = {kept[k]: params[k] for k in params if k in kept}
  return family, family_lib.complete(options), params, left_out


def pieces(family, options, params, head, left_out):
  """Returns ({their name: [(Place, shape, our path, leaf, layer)]}, heads).

  Args:
    family, options: see `infer`.
    params: parameters of ours.
    head: see Family.heads_to_write.
    left_out: list, to which go the paths that have no place in the family.
  """
  leaves = trees.flatten(params)
  there = family.heads_to_write(leaves, head)
  found, heads = {}, set()
  for name, x in leaves.items():
    parts = source_lib.unstack(name, x.shape)
    for i, (one, shape) in enumerate(parts):
      placed = family.place(one, shape, options, there)
      if placed is None:
        left_out.append(name)
        break
      at, own = placed
      heads.add(own)
      layer = i if source_lib.scanned(name) else None
      copies = len(shape) == 1 or not options['tie_embeddings']
      for their in at.names if copies else at.names[:1]:
        found.setdefault(their, []).append((at, shape, name, x, layer))
  if options['tie_embeddings']:
    heads.add('lm')
  return found, heads


def prefixed(family, names, architecture):
  """Returns {name: as the class's files have it}."""
  body = architecture == family.architectures[-1][1]
  bare = body and len(family.architectures) > 1
  prefix = family.prefixes.get(architecture, family.prefix)
  return {
    name: name if bare or name.startswith(family.outside) else prefix + name
    for name in names
  }


def join(parts):
  """Returns the array of a tensor's parts, see `pieces`.

  GPT-2's query, key and value are one tensor.
  """
  parts = sorted(parts, key=lambda p: p[0].part)
  arrays = [
    at.write(np.asarray(x if layer is None else x[layer], np.float32))
    for at, _, _, x, layer in parts
  ]
  if len(arrays) == 1:
    return arrays[0]
  return np.concatenate(arrays, axis=parts[0][0].axis)


def write_tokenizer(folder, tokenizer, model, task=None):
  """Writes a tokenizer that we trained, as AutoTokenizer loads it.

  Args:
    folder: pathlib.Path.
    tokenizer: Tokenizer.
    model: an encoder's texts are framed by cls and sep tokens, as our
      objectives do it.
    task: block of the objective whose head answers, or None; its texts are
      framed so whatever the model is.
  """
  tokenizer.save(folder)
  ids = _ids(tokenizer)
  names = dict(zip(ids, tokenizer.tokens(ids.values()), strict=True))
  if task or not model.causal:
    write_frame(folder, tokenizer)
  settings = {'tokenizer_class': 'PreTrainedTokenizerFast'}
  settings |= {f'{role}_token': name for role, name in names.items()}
  if model.position == 'learned':
    settings['model_max_length'] = model.max_length
  if model.type_vocab_size > 1:  # else a pair is given without its types
    names = ['input_ids', 'token_type_ids', 'attention_mask']
    settings['model_input_names'] = names
  text = json.dumps(settings, indent=2, ensure_ascii=False) + '\n'
  (folder / 'tokenizer_config.json').write_text(text, encoding='utf-8')


def _ids(tokenizer):
  roles = ('pad', 'bos', 'eos', 'cls', 'sep', 'mask', 'unk')
  ids = {role: getattr(tokenizer, f'{role}_id') for role in roles}
  return {role: i for role, i in ids.items() if i is not None}


def _padding(tokenizer):
  # The id of padding, None where it would be taken for the end of a text.
  last = framing.template(tokenizer).last[-1:]
  if tokenizer.own_pad_id is None and last == (tokenizer.pad_id,):
    return None
  return tokenizer.pad_id


def write_padding(folder, tokenizer):
  """Lets tokenizer_config.json name a padding token, if it names none.

  Args: as of `write_frame`.
  """
  path, pad = folder / 'tokenizer_config.json', _padding(tokenizer)
  if tokenizer.own_pad_id is None and pad is not None and path.is_file():
    content = json.loads(path.read_text(encoding='utf-8'))
    (content['pad_token'],) = tokenizer.tokens([pad])
    text = json.dumps(content, indent=2, ensure_ascii=False) + '\n'
    path.write_text(text, encoding='utf-8')


def write_frame(folder, tokenizer):
  """Lets tokenizer.json frame texts as our objectives do, if it has no frame.

  Args:
    folder: pathlib.Path of the tokenizer's files.
    tokenizer: Tokenizer that is in them.
  """
  path = folder / 'tokenizer.json'
  if tokenizer.template is None and path.is_file():
    content = json.loads(path.read_text(encoding='utf-8'))
    ids = _ids(tokenizer)
    names = dict(zip(ids, tokenizer.tokens(ids.values()), strict=True))
    content['post_processor'] = _frame(names, ids)
    text = json.dumps(content, indent=2, ensure_ascii=False) + '\n'
    path.write_text(text, encoding='utf-8')


def _frame(names, ids):
  first, last = ('cls', 'sep') if 'cls' in ids else ('bos', 'eos')

  def special(role, type_id):
    return {'SpecialToken': {'id': names[role], 'type_id': type_id}}

  def text(which, type_id):
    return {'Sequence': {'id': which, 'type_id': type_id}}

  single = [special(first, 0), text('A', 0), special(last, 0)]
  return {
    'type': 'TemplateProcessing',
    'single': single,
    'pair': [*single, text('B', 1), special(last, 1)],
    'special_tokens': {
      names[role]: {
        'id': names[role],
        'ids': [ids[role]],
        'tokens': [names[role]],
      }
      for role in (first, last)
    },
  }
