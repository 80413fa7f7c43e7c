"""A family of reference models: what differs from the one stack, as data."""

import dataclasses
import re
from collections.abc import Callable
from typing import Annotated, Any

from ctxlm import plugins, ranges
from ctxlm.errors import UserError
from ctxlm.families import answers, rules

ACTIVATIONS = {  # config.json's name: ours; the first of each is written
  'gelu': 'gelu',
  'gelu_new': 'gelu_tanh',
  'gelu_pytorch_tanh': 'gelu_tanh',
  'gelu_fast': 'gelu_tanh',
  'relu': 'relu',
  'silu': 'silu',
  'swish': 'silu',
  'tanh': 'tanh',
}
# Options of ours that say how to compute, and nothing about the function.
FREE = (
  'dtype', 'remat', 'scan_layers', 'attention_backend', 'init_stddev',
  'dropout', 'embedding_dropout', 'attention_dropout', 'mlp_dropout',
  'output_dropout',
  'projection_layers', 'max_length', 'decoder_start',
)  # fmt: skip
# config.json's keys, of any family, that say nothing about the function, or
# that others read: the tokenizer, and generation.
HARMLESS = (
  '_name_or_path', 'architectures', 'bos_token_id', 'chunk_size_feed_forward',
  'dtype', 'eos_token_id', 'id2label', 'is_encoder_decoder', 'label2id',
  'model_type', 'output_attentions', 'output_hidden_states', 'pad_token_id',
  'problem_type', 'return_dict', 'transformers_version', 'use_cache',
)  # fmt: skip
NEEDS = {'quantization_config': None}
Id = Annotated[int, ranges.Range('[0, inf)', -1)]  # -1 is none
Ids = Id | Annotated[tuple[int, ...], ranges.Range('[0, inf)', -1)]
# What those that are read are, in all families.
KINDS = {
  'architectures': tuple[str, ...],
  'model_type': str,
  'problem_type': str,
  **dict.fromkeys(('pad_token_id', 'bos_token_id', 'eos_token_id'), Ids),
}


@dataclasses.dataclass(frozen=True)
class Family:
  """One family. `options` and `config` are each other's inverse.

  Attributes:
    model_type: of config.json.
    fields: {our option: (config.json's key, what it is where it is missing)};
      ... there means that it must not be missing.
    table: {our module: their module}; see rules.place. `more` is the part
      that depends on our options.
    heads: {head: table of its modules}, for heads that a checkpoint may lack.
    architectures: ((heads, class name), ...): the class with all of these.
    model: ctxlm.models module.
    fixed: {our option: value} that the family always has.
    needs: {config.json's key: value} that the family's code here stands for;
      another value is refused.
    reads: {config.json's key: its type, as options have them} of those that
      `read` sees to.
    harmless: those of the family's own that change no output: they concern
      its training, its other heads, or how it is computed.
    read, write: (config.json) -> our options, and (our options) ->
      config.json, for what isn't one key for one; write raises ValueError.
    own: our options that `read` and `write` see to.
    prefix: of their names where the checkpoint has a head's class; `prefixes`,
      {class name: prefix}, of those classes that have another; `outside`
      begin the names that never have it.
    pooling: what the reference's head of classes reads, see
      objectives.classification.
    encoder: of an encoder-decoder, the Family of its encoder alone, if there is
      one, which is written where a head reads no decoder.
    ignored: regular expressions of tensors that hold nothing learned.
    conv1d: whether weights of the body's linear maps are [in, out].
  """

  model_type: str
  fields: dict
  table: dict
  heads: dict
  architectures: tuple
  model: str = 'transformer'
  fixed: dict = dataclasses.field(default_factory=dict)
  needs: dict = dataclasses.field(default_factory=dict)
  reads: dict = dataclasses.field(default_factory=dict)
  harmless: tuple = ()
  read: Callable = lambda c: {}
  write: Callable = lambda o: {}
  own: tuple = ()
  more: Callable = lambda o: {}
  prefix: str = ''
  prefixes: dict = dataclasses.field(default_factory=dict)
  pooling: str = 'pooled'
  encoder: Any = None
  outside: tuple = ()
  ignored: tuple = ()
  conv1d: bool = False

  def options(self, settings):
    """Returns the model's options of a config.json's settings.

    Raises:
      UserError: a key is missing, or asks for what the stack doesn't do.
    """
    ranges.check_json(self._kinds(), settings, 'config.json: ')
    for key, wanted in (NEEDS | self.needs).items():
      if settings.get(key, wanted) not in (wanted, None):
        raise UserError(
          f'config.json: {key}={settings[key]!r} is not supported'
        )
    options = {'name': self.model, **self.fixed}
    for ours, (theirs, default) in self.fields.items():
      value = settings.get(theirs)
      value = default if value is None else value
      if value is ...:
        raise UserError(f'config.json has no {theirs!r}')
      if ours == 'activation':
        value = activation(value)
      options[ours] = value
    return options | self.read(settings)

  def _kinds(self):
    hints = ranges.hints(plugins.find('models', self.model))
    hints = hints | {'activation': str, 'vocab_size': ranges.Count}
    kinds = {theirs: hints[ours] for ours, (theirs, _) in self.fields.items()}
    return KINDS | kinds | self.reads

  def keys(self):
    """Returns the keys of config.json that are read, harmless or refused."""
    read = {theirs for theirs, _ in self.fields.values()} | {*self.reads}
    return read | {*HARMLESS, *self.harmless, *NEEDS, *self.needs}

  def config(self, options):
    """Returns config.json's keys of a model's options.

    Args:
      options: all of the Model's, see `complete`.

    Raises:
      ValueError: the family can't be like that.
    """
    wrong = self.mismatches(options)
    if wrong:
      raise ValueError(wrong[0])
    o = resolve(options)
    config = {'model_type': self.model_type}
    for ours, (theirs, _) in self.fields.items():
      value = o[ours]
      if ours == 'activation':
        value = next(k for k, v in ACTIVATIONS.items() if v == value)
      config[theirs] = value
    return config | self.write(o)

  def mismatches(self, options):
    """Returns why the family isn't of a model with these options: [str]."""
    if options['name'] != self.model:
      return [f'name={options["name"]!r}, not {self.model!r}']
    cls = plugins.find('models', self.model)
    plain = complete({'name': self.model})
    known = {*self.fields, *self.own, *FREE, 'name'}
    wrong = []
    for name in plugins.options(cls):
      wanted = self.fixed.get(name, plain[name])
      if name not in known and options[name] != wanted:
        wrong.append(f'{name}={options[name]!r}, not {wanted!r}')
    try:
      self.write(resolve(options))
    except ValueError as e:
      wrong.append(str(e))
    return wrong

  def place(self, path, shape, options, heads=None):
    """Returns (Place of a tensor of ours, its head or ''); or None.

    Args:
      path, shape: ours.
      options: all of the model's.
      heads: those that there are; of two that have the tensor, the first
        counts. None is all.
    """
    heads = self.heads if heads is None else heads
    whole = self.table | self.more(options)
    for head, table in (('', whole), *((h, self.heads[h]) for h in heads)):
      conv1d = self.conv1d and not head
      place = rules.place(path, shape, table, conv1d)
      if place:
        return place, head
    return None

  def begins(self, options):
    """Returns what the names of the body's tensors begin with: {str}."""
    table = self.table | self.more(options)
    names = (n for names in table.values() for n in rules.names_of(names))
    return {name.partition('.')[0] for name in names}

  def heads_of(self, name):
    """Returns the family's heads, those of a class first that it lists."""
    own = next((heads for heads, cls in self.architectures if cls == name), ())
    return (*own, *(head for head in self.heads if head not in own))

  def heads_to_write(self, names, head):
    """Returns the heads that an export has, in the order that `place` takes.

    Args:
      names: paths of the parameters.
      head: of the task that the model is for, or ''. With it the class's heads
        are all that there are.
    """
    others = [h for h in self.heads if h not in answers.NAMES]
    wanted = next((w for w, _ in self.architectures if head in w), None)
    if not wanted:
      return others
    modules = {name.rpartition('/')[0] for name in names}
    tables = (self.heads[h] for h in wanted)
    whole = all(modules >= table.keys() for table in tables)
    return wanted if whole else others

  def architecture(self, heads):
    """Returns the reference's class that has these heads."""
    for wanted, name in self.architectures:
      if set(wanted) <= set(heads):
        return name
    return self.architectures[-1][1]

  def lists(self, name):
    """Whether a class is one of `architectures`."""
    return any(cls == name for _, cls in self.architectures)

  def has_class(self, name):
    """Whether a reference's class, such as BertForMaskedLM, is the family's."""
    ends = '(Model|LMHead|For)'
    stem = re.match(f'(.+?){ends}', self.architectures[-1][1])[1]
    return bool(re.match(f'{stem}{ends}', name))


def activation(name):
  """Returns our name of an activation of config.json."""
  if name not in ACTIVATIONS:
    raise UserError(
      f'config.json: activation {name!r} is not supported.'
      + plugins.suggest(name, ACTIVATIONS)
    )
  return ACTIVATIONS[name]


def complete(block):
  """Returns all options of a Model, those of `block` and defaults.

  What is the same as what its default stands for is its default, so that equal
  models have equal options.

  Raises:
    UserError: the Model is of no kind that families have.
  """
  model = plugins.build('models', block)
  cls = plugins.find('models', block['name'])
  o = {name: getattr(model, name) for name in plugins.options(cls)}
  if not {'hidden_size', 'num_heads', 'num_layers'} <= o.keys():
    raise UserError(
      f'no family that can be written has config.model.name={block["name"]!r}'
    )
  derived = {
    'head_dim': o['hidden_size'] // o['num_heads'],
    'num_kv_heads': o['num_heads'],
    'mlp_dim': 4 * o['hidden_size'],
    'num_decoder_layers': o['num_layers'],
  }
  for name, value in derived.items():
    if o.get(name) == value:
      o[name] = 0
  if o['embedding_dropout'] == o['dropout']:
    o['embedding_dropout'] = -1.0
  return {'name': block['name']} | o


def resolve(options):
  """Returns `complete`'s options with the derived ones as numbers."""
  o = dict(options)
  o['head_dim'] = o['head_dim'] or o['hidden_size'] // o['num_heads']
  o['num_kv_heads'] = o['num_kv_heads'] or o['num_heads']
  o['mlp_dim'] = o['mlp_dim'] or 4 * o['hidden_size']
  if o['embedding_dropout'] < 0:
    o['embedding_dropout'] = o['dropout']
  if 'num_decoder_layers' in o:
    o['num_decoder_layers'] = o['num_decoder_layers'] or o['num_layers']
  return o


def start_of(settings, default, usual):
  """Returns the role of the token that the decoder begins with.

  Args:
    settings: of config.json.
    default: the role where it names no such token.
    usual: {role: id where config.json has none}.
  """
  start = settings.get('decoder_start_token_id')
  if start is None:
    return default
  for role in (default, 'eos', 'pad', 'bos'):
    if settings.get(f'{role}_token_id', usual.get(role)) == start:
      return role
  raise UserError(
    f'config.json: decoder_start_token_id={start} is no special token'
  )
