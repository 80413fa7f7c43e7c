"""A checkpoint opened for writing: model, ends of text, and its framing."""

import functools
import sys

import jax

from ctxlm import objectives, plugins
from ctxlm.data import dialogues, framing
from ctxlm.decoding import build
from ctxlm.decoding import generator as generator_lib
from ctxlm.errors import UserError, note
from ctxlm.inference import defaults, loading, widening
from ctxlm.inference import turns as turns_lib
from ctxlm.objectives import causal
from ctxlm.parallel import mesh as mesh_lib
from ctxlm.parallel import pmap as pmap_lib


def place(tensor=1, devices=None):
  """Returns the Pmap or Mesh that texts are written on.

  Args:
    tensor: devices that share one copy of the model.
    devices: None is all.

  Raises:
    UserError: the devices can't be shared so.
  """
  devices = jax.devices() if devices is None else devices
  if tensor < 1 or len(devices) % tensor:
    raise UserError(f'--tensor {tensor} must divide the {len(devices)} devices')
  if tensor == 1:
    return pmap_lib.Pmap(devices)
  return mesh_lib.Mesh(devices, data=len(devices) // tensor, tensor=tensor)


def open_generator(
  folder, config, *, step='', placement=None, context=(), turns=False
):
  """Returns (Generator, encode) of a run folder or a Hugging Face folder.

  `encode(text)` gives the ids of a prompt, framed as the model was trained;
  `encode(turns)` those of a dialogue, see `turns.prompter`.
  What a Hugging Face folder asks for and can't be done here is named in one
  line on standard error.

  Args:
    folder: path.
    config: decoding config, see ctxlm.decoding.base; of `decoding.unsaid`,
      what is None is the folder's own.
    step: of a run folder, see checkpoint.find.
    placement: see `place`; None is the first device.
    context: see widening.widen.
    turns: whether there are dialogues, so that a turn's end ends a text.

  Raises:
    UserError: it can't be read, or is no model that writes.
  """
  build.check(config)
  where = placement or place(devices=jax.devices()[:1])
  loaded = loading.load(folder, where, step)
  loaded = widening.widen(loaded, context, where)
  return generator_of(loaded, config, placement, turns)


def generator_of(loaded, config, placement=None, turns=False):
  """Returns (Generator, encode) of a loading.Loaded; see `open_generator`."""
  loading.need_tokenizer(loaded)
  model, t, folder = loaded.model, loaded.tokenizer, loaded.folder
  if not model.causal:
    raise UserError(f'{folder} is an encoder; only a decoder writes')
  loading.need_logits(loaded)
  sees = model.context_length
  if sees is not None and (config.max_new_tokens or 0) > sees:
    note(
      f'the model sees {sees} tokens: a text ends there, before '
      f'max_new_tokens={config.max_new_tokens}'
    )
  said = defaults.read(loaded.small)
  eos = said.get('eos_token_id', framing.ends(t, model.encoder_decoder))
  eos = tuple(eos) if isinstance(eos, list | tuple) else (eos,)
  ends = ()
  if turns and not model.encoder_decoder:
    ends = dialogues_of(loaded).ends
  elif loaded.run is not None and (learned := learned_by(loaded)):
    ends = learned.ends
  eos = tuple(dict.fromkeys((*eos, *ends)))
  config, unsupported = defaults.complete(
    config, None if _trained_here(loaded) else said, model, eos
  )
  if unsupported and jax.process_index() == 0:
    names = ', '.join(unsupported)
    print(f'{folder}: left out, not supported: {names}', file=sys.stderr)
  writer = generator_lib.Writer(
    model,
    loaded.params,
    t,
    eos,
    t.pad_id,
    decoder_start(loaded),
    () if model.encoder_decoder else frame_of(loaded).first,
    _draft(config, loaded, placement),
    placement,
    loaded.finder,
  )
  generator = generator_lib.Generator(writer, config)
  return generator, _encode(loaded, generator)


def learned_by(loaded):
  """Returns the objective by which a loading.Loaded learned to write, or None.

  Of a folder that is no run it is that of its kind: of a model that reads a
  source seq2seq, of one with a chat template dialogues, else completions.
  """
  if loaded.run is not None:
    found = (task.objective for task in loaded.run.program.tasks)
    return next((o for o in found if isinstance(o, objectives.Writes)), None)
  model, t = loaded.model, loaded.tokenizer
  if not model.causal:
    return None
  block = {'name': 'seq2seq'}
  if not model.encoder_decoder:
    kind = 'completion' if t.chat_template is None else 'dialogue'
    block = {'name': 'causal', 'kind': kind}
  return plugins.build(
    'objectives', block, tokenizer=t, max_length=loaded.max_length
  )


def dialogues_of(loaded):
  """Returns how the turns of a dialogue become ids, see data.dialogues.of."""
  learned = learned_by(loaded)
  if isinstance(learned, causal.Objective) and learned.kind == 'dialogue':
    return dialogues.of(loaded.tokenizer, learned.template)
  join = dialogues.of(loaded.tokenizer)
  if not join.by_role:
    end = loaded.tokenizer.tokens([loaded.tokenizer.eos_id])[0]
    note(
      f'{loaded.folder} has no chat template: a turn ends with {end}, '
      'whoever it is of, as DialoGPT has it'
    )
  return join


def decoder_start(loaded):
  """Returns the ids that an encoder-decoder's target begins with."""
  model = loaded.model
  if not model.encoder_decoder:
    return ()
  start = defaults.read(loaded.small).get('decoder_start_token_id', -1)
  if start >= model.vocab_size:
    raise UserError(
      f'{loaded.folder}: decoder_start_token_id={start} is no token; ids end '
      f'at {model.vocab_size}'
    )
  if start >= 0:
    return (start,)
  return (getattr(loaded.tokenizer, f'{model.decoder_start}_id'),)


def _draft(config, loaded, placement):
  name = config.strategy.get('draft', '')
  if not name:
    return None
  other = loading.load(name, placement or place(devices=jax.devices()[:1]))
  if other.model.vocab_size != loaded.model.vocab_size:
    raise UserError(
      f'the draft model {name} has {other.model.vocab_size} tokens; '
      f'{loaded.folder} has {loaded.model.vocab_size}'
    )
  return other.model, other.params


def _trained_here(loaded):
  return loaded.run is not None or loaded.small is None


def frame_of(loaded):
  """Returns the Frame in which a loading.Loaded reads what it goes on from."""
  t = loaded.tokenizer
  if loaded.model.encoder_decoder:
    return framing.source(t)
  return frame_of_decoder(t, _trained_here(loaded))


def frame_of_decoder(tokenizer, trained_here):
  """Returns the Frame in which a decoder reads what it goes on from."""
  return (framing.document if trained_here else framing.template)(tokenizer)


def _encode(loaded, generator):
  t, closed = loaded.tokenizer, loaded.model.encoder_decoder
  frame = frame_of(loaded)

  @functools.cache
  def of_turns():
    join = dialogues_of(loaded)
    systems = join.by_role or loaded.run is not None
    return turns_lib.prompter(join, generator, systems)

  def encode(asked):
    if isinstance(asked, str):
      return framing.prompt(t, asked, frame, closed)
    return of_turns()(asked)

  return encode
