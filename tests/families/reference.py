"""Random reference models of every family, in transformers on torch."""

import dataclasses
from typing import Any

import numpy as np
import torch
import transformers as tr

from ctxlm import plugins
from ctxlm.families import family as family_lib


@dataclasses.dataclass
class Drawn:
  """A reference model of random shape with random weights."""

  name: str
  model: Any
  vocab_size: int
  heads: str  # 'mlm', 'causal' or 'seq2seq': what its logits are

  def tokens(self, seed, shape):
    """Returns int64 tokens that are no padding."""
    rng = np.random.default_rng(seed)
    return rng.integers(3, self.vocab_size, shape)


def _common(rng):
  heads = int(rng.integers(1, 6))
  return {
    'heads': heads,
    'hidden': heads * 2 * int(rng.integers(2, 6)),
    'mlp': int(rng.integers(9, 50)),
    'layers': int(rng.integers(1, 3)),
    'vocab': int(rng.integers(30, 60)),
    'length': int(rng.integers(16, 24)),
    'eps': float(rng.choice([1e-5, 1e-6, 1e-12])),
  }


def _bert(rng, tied):
  s = _common(rng)
  config = tr.BertConfig(
    vocab_size=s['vocab'],
    hidden_size=s['hidden'],
    num_hidden_layers=s['layers'],
    num_attention_heads=s['heads'],
    intermediate_size=s['mlp'],
    max_position_embeddings=s['length'],
    type_vocab_size=int(rng.integers(2, 4)),
    layer_norm_eps=s['eps'],
    hidden_act=str(rng.choice(['gelu', 'relu', 'gelu_new'])),
    tie_word_embeddings=tied,
  )
  return tr.BertForPreTraining(config), 'mlm'


def _roberta(rng, tied):
  s = _common(rng)
  config = tr.RobertaConfig(
    vocab_size=s['vocab'],
    hidden_size=s['hidden'],
    num_hidden_layers=s['layers'],
    num_attention_heads=s['heads'],
    intermediate_size=s['mlp'],
    max_position_embeddings=s['length'] + 2,
    type_vocab_size=1,
    layer_norm_eps=s['eps'],
    tie_word_embeddings=tied,
  )
  return tr.RobertaForMaskedLM(config), 'mlm'


def _gpt2(rng, tied):
  s = _common(rng)
  config = tr.GPT2Config(
    vocab_size=s['vocab'],
    n_embd=s['hidden'],
    n_layer=s['layers'],
    n_head=s['heads'],
    n_inner=None if tied else s['mlp'],
    n_positions=s['length'],
    layer_norm_epsilon=s['eps'],
    scale_attn_weights=bool(rng.integers(2)),
    tie_word_embeddings=tied,
    bos_token_id=0,
    eos_token_id=0,
  )
  return tr.GPT2LMHeadModel(config), 'causal'


def _llama(rng, tied, window=None):
  s = _common(rng)
  groups = [g for g in range(1, s['heads'] + 1) if s['heads'] % g == 0]
  kind = 'Mistral' if window else 'Llama'
  more = {'sliding_window': window} if window else {}
  if not window:
    more = {'attention_bias': tied, 'mlp_bias': bool(rng.integers(2))}
  config = getattr(tr, f'{kind}Config')(
    vocab_size=s['vocab'],
    hidden_size=s['hidden'],
    num_hidden_layers=s['layers'],
    num_attention_heads=s['heads'],
    num_key_value_heads=int(rng.choice(groups)),
    head_dim=2 * int(rng.integers(1, 9)),
    intermediate_size=s['mlp'],
    max_position_embeddings=s['length'],
    rms_norm_eps=s['eps'],
    rope_parameters={
      'rope_type': 'default',
      'rope_theta': float(rng.choice([1e4, 5e5])),
    },
    tie_word_embeddings=tied,
    attn_implementation='eager',
    **more,
  )
  return getattr(tr, f'{kind}ForCausalLM')(config), 'causal'


def _mistral(rng, tied):
  return _llama(rng, tied, window=5)


def _bart(rng, tied):
  s = _common(rng)
  config = tr.BartConfig(
    vocab_size=s['vocab'],
    d_model=s['hidden'],
    encoder_layers=s['layers'],
    decoder_layers=3 - s['layers'],
    encoder_attention_heads=s['heads'],
    decoder_attention_heads=s['heads'],
    encoder_ffn_dim=s['mlp'],
    decoder_ffn_dim=s['mlp'],
    max_position_embeddings=s['length'],
    scale_embedding=bool(rng.integers(2)),
    tie_word_embeddings=tied,
  )
  return tr.BartForConditionalGeneration(config), 'seq2seq'


def _t5(rng, tied):
  s = _common(rng)
  config = tr.T5Config(
    vocab_size=s['vocab'],
    d_model=s['hidden'],
    d_kv=int(rng.integers(3, 9)),
    d_ff=s['mlp'],
    num_layers=s['layers'],
    num_decoder_layers=3 - s['layers'],
    num_heads=s['heads'],
    relative_attention_num_buckets=2 * int(rng.integers(2, 9)),
    relative_attention_max_distance=int(rng.integers(10, 20)),
    layer_norm_epsilon=s['eps'],
    feed_forward_proj='relu' if tied else 'gated-gelu',
    tie_word_embeddings=tied,
    decoder_start_token_id=0,
  )
  model = tr.T5ForConditionalGeneration(config)
  if not tied:  # as 1.1's checkpoints are; transformers ties a fresh one
    model.lm_head.weight = torch.nn.Parameter(
      torch.empty_like(model.lm_head.weight)
    )
  return model, 'seq2seq'


FAMILIES = {
  'bert': _bert,
  'roberta': _roberta,
  'gpt2': _gpt2,
  'llama': _llama,
  'mistral': _mistral,
  'bart': _bart,
  't5': _t5,
}


def draw(name, seed, tied=None):
  """Returns a Drawn of family `name`; seeds take turns at tied and untied."""
  rng = np.random.default_rng((seed, len(name), ord(name[0])))
  tied = seed % 2 == 0 if tied is None else tied
  model, heads = FAMILIES[name](rng, tied)
  randomise(model, seed)
  return Drawn(name, model.eval(), model.config.vocab_size, heads)


def randomise(model, seed=0):
  """Fills a torch module's weights, norms and biases too."""
  torch.manual_seed(seed)
  with torch.no_grad():
    for name, p in model.named_parameters():
      norm = 'norm' in name.lower() or 'ln_' in name
      p.normal_(1.0 if norm and name.endswith('weight') else 0.0, 0.1)
    if hasattr(model, 'final_logits_bias'):
      model.final_logits_bias.normal_()
    if hasattr(model, 'model') and hasattr(model.model, 'shared'):
      # An untied BART has three embeddings; ours is one, with a head apart.
      for stack in (model.model.encoder, model.model.decoder):
        stack.embed_tokens.weight.copy_(model.model.shared.weight)
    for path in ('cls.predictions', 'lm_head'):
      # Where the head is untied, transformers has a second bias, which its
      # forward pass uses; files of either must agree.
      try:
        head = model.get_submodule(path)
        head.bias.copy_(head.decoder.bias)
      except AttributeError:
        continue


def options_of(model):
  """Returns family.complete of a Model of ours."""
  name = type(model).__module__.rsplit('.', 1)[-1]
  options = plugins.options(type(model))
  return family_lib.complete(
    {'name': name} | {o: getattr(model, o) for o in options}
  )
