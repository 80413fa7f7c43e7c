"""Small random checkpoints of the reference, sharpened, and ours of them."""

import functools
import tempfile

import numpy as np
import torch
import transformers as tr

import ctxlm
from ctxlm import decoding
from ctxlm.decoding import generator

VOCAB, EOS, LENGTH = 61, 1, 64
SEQ2SEQ = ('bart', 't5')
# More threads than one only wait for each other at these sizes.
torch.set_num_threads(1)


def _gpt2():
  return tr.GPT2LMHeadModel(
    tr.GPT2Config(
      vocab_size=VOCAB,
      n_embd=32,
      n_layer=1,
      n_head=4,
      n_positions=LENGTH,
      bos_token_id=EOS,
      eos_token_id=EOS,
    )
  )


def _llama(window=None):
  kind = 'Mistral' if window else 'Llama'
  config = getattr(tr, f'{kind}Config')(
    vocab_size=VOCAB,
    hidden_size=32,
    num_hidden_layers=1,
    num_attention_heads=4,
    num_key_value_heads=2,
    intermediate_size=48,
    max_position_embeddings=LENGTH,
    bos_token_id=EOS,
    eos_token_id=EOS,
    attn_implementation='eager',
    **({'sliding_window': window} if window else {}),
  )
  return getattr(tr, f'{kind}ForCausalLM')(config)


def _bart():
  return tr.BartForConditionalGeneration(
    tr.BartConfig(
      vocab_size=VOCAB,
      d_model=32,
      encoder_layers=1,
      decoder_layers=2,
      encoder_attention_heads=4,
      decoder_attention_heads=4,
      encoder_ffn_dim=48,
      decoder_ffn_dim=48,
      max_position_embeddings=LENGTH,
      pad_token_id=0,
      bos_token_id=2,
      eos_token_id=EOS,
      decoder_start_token_id=EOS,
      forced_eos_token_id=None,
    )
  )


def _t5():
  return tr.T5ForConditionalGeneration(
    tr.T5Config(
      vocab_size=VOCAB,
      d_model=32,
      d_kv=8,
      d_ff=48,
      num_layers=1,
      num_heads=4,
      relative_attention_num_buckets=8,
      relative_attention_max_distance=12,
      pad_token_id=0,
      eos_token_id=EOS,
      decoder_start_token_id=0,
    )
  )


KINDS = {
  'gpt2': _gpt2,
  'llama': _llama,
  'mistral': functools.partial(_llama, 5),
  'bart': _bart,
  't5': _t5,
}


@functools.cache
def pair(kind, seed=0):
  """Returns (the torch model, our Writer of the folder that it saves).

  Weights are large enough that logits differ by units, not by rounding.
  """
  torch.manual_seed(seed)
  model = KINDS[kind]().eval()
  with torch.no_grad():
    for name, p in model.named_parameters():
      if p.ndim > 1:
        wide = kind == 'bart' or 'relative' in name
        p.normal_(0, 0.6 if wide else 0.25)
    for name in ('transformer.ln_f', 'model.norm', 'decoder.final_layer_norm'):
      try:
        model.get_submodule(name).weight.fill_(6.0 if kind == 't5' else 3.0)
      except AttributeError:
        continue
    # Ends are to come often enough.
    model.get_input_embeddings().weight[EOS] *= 2
  model.generation_config.pad_token_id = EOS if kind not in SEQ2SEQ else 0
  with tempfile.TemporaryDirectory() as folder:
    model.save_pretrained(folder)
    ours, params, _ = ctxlm.load(folder)
  start = {'bart': (EOS,), 't5': (0,)}.get(kind, ())
  pad = model.generation_config.pad_token_id
  return model, generator.Writer(ours, params, None, (EOS,), pad, start)


def prompts(count=5, seed=0, longest=13):
  """Returns lists of token ids of different lengths."""
  rng = np.random.default_rng(seed)
  lengths = [longest, *rng.integers(1, longest, count - 1)]
  return [rng.integers(3, VOCAB, n).tolist() for n in lengths]


def theirs(kind, rows, seed=0, **options):
  """Returns the reference's new tokens of each row, after the end cut.

  Prompts are padded on the left, sources on the right.
  """
  model, writer = pair(kind, seed)
  width = max(map(len, rows))
  tokens = np.full((len(rows), width), writer.pad_id)
  mask = np.zeros_like(tokens)
  for i, row in enumerate(rows):
    places = slice(width - len(row), width)
    if kind in SEQ2SEQ:
      places = slice(0, len(row))
    tokens[i, places], mask[i, places] = row, 1
  found = model.generate(
    torch.tensor(tokens), attention_mask=torch.tensor(mask), **options
  )
  found = found[:, 1 if kind in SEQ2SEQ else width :].tolist()
  return [cut(row) for row in found]


def cut(row):
  """Returns a row up to the token that ends it."""
  return row[: row.index(EOS) + 1] if EOS in row else row


def config(strategy, processors=(), **more):
  """Returns a decoding config."""
  c = decoding.base()
  c.strategy = strategy
  c.processors = tuple(processors)
  c.update(more)
  return c


def ours(kind, rows, strategy, processors=(), seed=0, **more):
  """Returns our new tokens of each row and result."""
  _, writer = pair(kind, seed)
  run = generator.Generator(writer, config(strategy, processors, **more))
  return [one['tokens'] for found in run(rows) for one in found]
