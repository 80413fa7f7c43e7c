"""A checkpoint opened for writing: model, ends of text, and its framing."""

import json
from pathlib import Path

import jax

from ctxlm.data import framing
from ctxlm.decoding import build
from ctxlm.decoding import generator as generator_lib
from ctxlm.errors import UserError
from ctxlm.inference import loading
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


def open_generator(folder, config, *, step='', placement=None):
  """Returns (Generator, encode) of a run folder or a Hugging Face folder.

  `encode(text)` gives the ids of a prompt, framed as the model was trained.

  Args:
    folder: path.
    config: decoding config, see ctxlm.decoding.base.
    step: of a run folder, see checkpoint.find.
    placement: see `place`; None is the first device.

  Raises:
    UserError: it can't be read, or is no model that writes.
  """
  build.check(config)
  if not folder:
    raise UserError('--model DIR is needed: a run folder, or Hugging Face one')
  found = loading.load(
    folder, placement or place(devices=jax.devices()[:1]), step
  )
  t = found.tokenizer
  if t is None:
    raise UserError(f'{folder} has no tokenizer: put its files there')
  if not found.model.causal:
    raise UserError(f'{folder} is an encoder; only a decoder writes')
  own = _settings(found.small)
  eos = own.get('eos_token_id', t.eos_id)
  start = ()
  if found.model.encoder_decoder:
    role = getattr(t, f'{found.model.decoder_start}_id')
    first = own.get('decoder_start_token_id', role)
    start = (role if first is None else first,)
  draft = None
  name = config.strategy.get('draft', '')
  if name:
    other = loading.load(name, placement or place(devices=jax.devices()[:1]))
    if other.model.vocab_size != found.model.vocab_size:
      raise UserError(
        f'the draft model {name} has {other.model.vocab_size} tokens; '
        f'{folder} has {found.model.vocab_size}'
      )
    draft = other.model, other.params
  writer = generator_lib.Writer(
    found.model,
    found.params,
    t,
    tuple(eos) if isinstance(eos, list) else (eos,),
    t.pad_id,
    start,
    draft,
    placement,
  )

  own = found.run is not None or found.small is None  # trained here
  frame = framing.document(t) if own else framing.template(t)
  if found.model.encoder_decoder:
    frame = framing.source(t)

  def encode(text):
    return framing.prompt(t, text, frame, found.model.encoder_decoder)

  return generator_lib.Generator(writer, config), encode


def _settings(folder):
  # Of generation_config.json where it says, else of config.json.
  found = {}
  for name in ('config.json', 'generation_config.json'):
    path = Path(folder or '.') / name
    if folder and path.is_file():
      known = json.loads(path.read_text())
      keys = ('eos_token_id', 'decoder_start_token_id')
      found |= {k: known[k] for k in keys if known.get(k) is not None}
  return found
