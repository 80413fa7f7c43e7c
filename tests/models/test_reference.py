"""One stack, by its options, equals the reference models' PyTorch code."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
import transformers

from ctxlm.models import encoder_decoder, transformer
from tests.models import reference as ref

TOKENS = np.random.default_rng(0).integers(0, 40, (2, 12))
MASK = np.ones((2, 12), np.int64)
MASK[1, 7:] = 0  # the second row is padded


def shared(**more):
  return dict(vocab_size=40, hidden_size=24, num_layers=2, num_heads=4) | more


def check_tree(model, params, method, *args, **kwargs):
  """Holds the copied tree's paths and shapes against the model's own."""
  keys = {'params': jax.random.key(0)}
  own = jax.eval_shape(
    lambda: model.init(keys, *args, method=method, **kwargs)
  )['params']
  own = jax.tree.map(lambda x: x.shape, own)
  assert own == jax.tree.map(lambda x: x.shape, params)


def test_gpt2():
  config = transformers.GPT2Config(
    vocab_size=40,
    n_embd=24,
    n_layer=2,
    n_head=4,
    n_positions=16,
    bos_token_id=0,
    eos_token_id=0,
  )
  theirs = transformers.GPT2LMHeadModel(config).eval()
  w = ref.arrays(theirs)
  flat = {
    'inputs/token_embed/embedding': w['transformer.wte.weight'],
    'inputs/position_embed/embedding': w['transformer.wpe.weight'],
  } | ref.norm(w, 'stack/final_norm', 'transformer.ln_f')
  for i in range(2):
    a, b = f'stack/layers_{i}', f'transformer.h.{i}'
    flat |= ref.norm(w, f'{a}/attention_norm', f'{b}.ln_1')
    flat |= ref.norm(w, f'{a}/mlp_norm', f'{b}.ln_2')
    qkv = w[f'{b}.attn.c_attn.weight'].reshape(24, 3, 4, 6)
    bias = w[f'{b}.attn.c_attn.bias'].reshape(3, 4, 6)
    for j, name in enumerate(('query', 'key', 'value')):
      flat[f'{a}/attention/{name}/kernel'] = qkv[:, j]
      flat[f'{a}/attention/{name}/bias'] = bias[j]
    out = w[f'{b}.attn.c_proj.weight'].reshape(4, 6, 24)
    flat[f'{a}/attention/out/kernel'] = out
    flat[f'{a}/attention/out/bias'] = w[f'{b}.attn.c_proj.bias']
    for ours, name in (('up', 'c_fc'), ('down', 'c_proj')):
      flat[f'{a}/mlp/{ours}/kernel'] = w[f'{b}.mlp.{name}.weight']
      flat[f'{a}/mlp/{ours}/bias'] = w[f'{b}.mlp.{name}.bias']
  params = ref.nest(flat)
  model = transformer.Model(**shared(max_length=16))

  def run(model):
    return model.logits(model(TOKENS))

  check_tree(model, params, run)
  ours = model.apply({'params': params}, method=run)
  with torch.no_grad():
    logits = theirs(torch.tensor(TOKENS)).logits
  np.testing.assert_allclose(ours, logits, atol=2e-5)


def test_bert():
  config = transformers.BertConfig(
    vocab_size=40,
    hidden_size=24,
    num_hidden_layers=2,
    num_attention_heads=4,
    intermediate_size=96,
    max_position_embeddings=16,
  )
  theirs = transformers.BertForPreTraining(config).eval()
  w = ref.arrays(theirs)
  flat = {
    f'inputs/{ours}/embedding': w[f'bert.embeddings.{name}_embeddings.weight']
    for ours, name in (
      ('token_embed', 'word'),
      ('position_embed', 'position'),
      ('type_embed', 'token_type'),
    )
  }
  flat |= ref.norm(w, 'inputs/norm', 'bert.embeddings.LayerNorm')
  for i in range(2):
    a, b = f'stack/layers_{i}', f'bert.encoder.layer.{i}'
    names = [f'{b}.attention.self.{n}' for n in ('query', 'key', 'value')]
    names.append(f'{b}.attention.output.dense')
    flat |= ref.attention(w, f'{a}/attention', names, 6)
    flat |= ref.norm(
      w, f'{a}/attention_norm', f'{b}.attention.output.LayerNorm'
    )
    flat |= ref.linear(w, f'{a}/mlp/up', f'{b}.intermediate.dense')
    flat |= ref.linear(w, f'{a}/mlp/down', f'{b}.output.dense')
    flat |= ref.norm(w, f'{a}/mlp_norm', f'{b}.output.LayerNorm')
  flat |= ref.linear(w, 'pooler', 'bert.pooler.dense')
  flat |= ref.linear(
    w, 'mlm_transform/dense', 'cls.predictions.transform.dense'
  )
  flat |= ref.norm(
    w, 'mlm_transform/norm', 'cls.predictions.transform.LayerNorm'
  )
  flat['mlm_bias/bias'] = w['cls.predictions.bias']
  flat |= ref.linear(w, 'next_sentence_head', 'cls.seq_relationship')
  params = ref.nest(flat)
  model = transformer.Model(
    **shared(
      max_length=16,
      causal=False,
      norm_position='post',
      norm_epsilon=1e-12,
      embedding_norm=True,
      final_norm=False,
      activation='gelu',
      type_vocab_size=2,
    )
  )
  types = (np.arange(12) > 5).astype(np.int64)[None].repeat(2, 0)

  def run(model):
    hidden = model(TOKENS, segment_ids=MASK, type_ids=types)
    return model.mlm_logits(hidden), model.next_sentence(model.pool(hidden))

  check_tree(model, params, run)
  mlm, pair = model.apply({'params': params}, method=run)
  with torch.no_grad():
    out = theirs(
      torch.tensor(TOKENS),
      attention_mask=torch.tensor(MASK),
      token_type_ids=torch.tensor(types),
    )
  seen = MASK.astype(bool)
  np.testing.assert_allclose(
    np.asarray(mlm)[seen], out.prediction_logits.numpy()[seen], atol=2e-5
  )
  np.testing.assert_allclose(pair, out.seq_relationship_logits, atol=2e-5)


@pytest.mark.parametrize('window', [0, 5])
def test_llama_and_mistral(window):
  kind = 'Mistral' if window else 'Llama'
  config = getattr(transformers, f'{kind}Config')(
    vocab_size=40,
    hidden_size=24,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    intermediate_size=40,
    rms_norm_eps=1e-6,
    attn_implementation='eager',
    **({'sliding_window': window} if window else {}),
  )
  theirs = getattr(transformers, f'{kind}ForCausalLM')(config).eval()
  w = ref.arrays(theirs)
  flat = {'inputs/token_embed/embedding': w['model.embed_tokens.weight']}
  flat |= ref.norm(w, 'stack/final_norm', 'model.norm')
  flat |= ref.linear(w, 'lm_head', 'lm_head')
  for i in range(2):
    a, b = f'stack/layers_{i}', f'model.layers.{i}'
    names = [f'{b}.self_attn.{n}_proj' for n in 'qkvo']
    flat |= ref.attention(w, f'{a}/attention', names, 6)
    flat |= ref.norm(w, f'{a}/attention_norm', f'{b}.input_layernorm')
    flat |= ref.norm(w, f'{a}/mlp_norm', f'{b}.post_attention_layernorm')
    for name in ('up', 'gate', 'down'):
      flat |= ref.linear(w, f'{a}/mlp/{name}', f'{b}.mlp.{name}_proj')
  params = ref.nest(flat)
  model = transformer.Model(
    **shared(
      num_kv_heads=2,
      mlp_dim=40,
      activation='silu',
      gated=True,
      norm='rmsnorm',
      norm_epsilon=1e-6,
      position='rotary',
      bias=False,
      tie_embeddings=False,
      window=window,
    )
  )

  def run(model):
    return model.logits(model(TOKENS))

  check_tree(model, params, run)
  ours = model.apply({'params': params}, method=run)
  with torch.no_grad():
    logits = theirs(torch.tensor(TOKENS)).logits
  np.testing.assert_allclose(ours, logits, atol=2e-5)


TARGETS = np.random.default_rng(1).integers(0, 40, (2, 9))


def run_seq2seq(model):
  return model.logits(model(TOKENS, TARGETS, segment_ids=MASK))


def test_t5():
  config = transformers.T5Config(
    vocab_size=40,
    d_model=24,
    d_kv=8,
    d_ff=40,
    num_layers=2,
    num_decoder_layers=3,
    num_heads=4,
    relative_attention_num_buckets=8,
    relative_attention_max_distance=10,
    feed_forward_proj='gated-gelu',
    tie_word_embeddings=False,
  )
  theirs = transformers.T5ForConditionalGeneration(config).eval()
  w = ref.arrays(theirs)
  flat = {'inputs/token_embed/embedding': w['shared.weight']}
  flat |= ref.linear(w, 'lm_head', 'lm_head')
  for stack, count in (('encoder', 2), ('decoder', 3)):
    table = f'{stack}.block.0.layer.0.SelfAttention.relative_attention_bias'
    flat[f'{stack}/relative_position/embedding'] = w[f'{table}.weight']
    flat |= ref.norm(w, f'{stack}/final_norm', f'{stack}.final_layer_norm')
    for i in range(count):
      a, b = f'{stack}/layers_{i}', f'{stack}.block.{i}.layer'
      kinds = [('attention', 'SelfAttention')]
      if stack == 'decoder':
        kinds.append(('cross_attention', 'EncDecAttention'))
      for j, (ours, name) in enumerate(kinds):
        names = [f'{b}.{j}.{name}.{n}' for n in 'qkvo']
        flat |= ref.attention(w, f'{a}/{ours}', names, 8)
        flat |= ref.norm(w, f'{a}/{ours}_norm', f'{b}.{j}.layer_norm')
      last = f'{b}.{len(kinds)}'
      flat |= ref.norm(w, f'{a}/mlp_norm', f'{last}.layer_norm')
      for ours, name in (('gate', 'wi_0'), ('up', 'wi_1'), ('down', 'wo')):
        flat |= ref.linear(
          w, f'{a}/mlp/{ours}', f'{last}.DenseReluDense.{name}'
        )
  params = ref.nest(flat)
  model = encoder_decoder.Model(
    **shared(
      num_decoder_layers=3,
      head_dim=8,
      mlp_dim=40,
      gated=True,
      norm='rmsnorm',
      norm_epsilon=1e-6,
      position='t5',
      t5_buckets=8,
      t5_max_distance=10,
      bias=False,
      tie_embeddings=False,
      attention_scale=1.0,
    )
  )
  check_tree(model, params, run_seq2seq)
  ours = model.apply({'params': params}, method=run_seq2seq)
  with torch.no_grad():
    logits = theirs(
      torch.tensor(TOKENS),
      attention_mask=torch.tensor(MASK),
      decoder_input_ids=torch.tensor(TARGETS),
    ).logits
  np.testing.assert_allclose(ours, logits, atol=5e-5)


def test_bart():
  config = transformers.BartConfig(
    vocab_size=40,
    d_model=24,
    encoder_layers=2,
    decoder_layers=2,
    encoder_attention_heads=4,
    decoder_attention_heads=4,
    encoder_ffn_dim=96,
    decoder_ffn_dim=96,
    max_position_embeddings=16,
    scale_embedding=True,
  )
  theirs = transformers.BartForConditionalGeneration(config).eval()
  w = ref.arrays(theirs)
  flat = {'inputs/token_embed/embedding': w['model.shared.weight']}
  for stack, inputs in (('encoder', 'inputs'), ('decoder', 'decoder_inputs')):
    top = f'model.{stack}'
    # BART's table of positions begins two rows late.
    flat[f'{inputs}/position_embed/embedding'] = w[
      f'{top}.embed_positions.weight'
    ][2:]
    flat |= ref.norm(w, f'{inputs}/norm', f'{top}.layernorm_embedding')
    for i in range(2):
      a, b = f'{stack}/layers_{i}', f'{top}.layers.{i}'
      kinds = [('attention', 'self_attn')]
      if stack == 'decoder':
        kinds.append(('cross_attention', 'encoder_attn'))
      for ours, name in kinds:
        names = [f'{b}.{name}.{n}_proj' for n in ('q', 'k', 'v', 'out')]
        flat |= ref.attention(w, f'{a}/{ours}', names, 6)
        flat |= ref.norm(w, f'{a}/{ours}_norm', f'{b}.{name}_layer_norm')
      flat |= ref.linear(w, f'{a}/mlp/up', f'{b}.fc1')
      flat |= ref.linear(w, f'{a}/mlp/down', f'{b}.fc2')
      flat |= ref.norm(w, f'{a}/mlp_norm', f'{b}.final_layer_norm')
  params = ref.nest(flat)
  model = encoder_decoder.Model(
    **shared(
      max_length=16,
      norm_position='post',
      embedding_norm=True,
      embedding_scale=True,
      final_norm=False,
      activation='gelu',
    )
  )
  check_tree(model, params, run_seq2seq)
  ours = model.apply({'params': params}, method=run_seq2seq)
  with torch.no_grad():
    logits = theirs(
      torch.tensor(TOKENS),
      attention_mask=torch.tensor(MASK),
      decoder_input_ids=torch.tensor(TARGETS),
    ).logits
  np.testing.assert_allclose(ours, logits, atol=5e-5)


def test_single_head_self_attention_equals_torch():
  """Three linear maps and softmax(QK^T/sqrt(d))V; hidden size 512."""
  from ctxlm import attention

  torch.manual_seed(0)
  maps = [torch.nn.Linear(512, 512) for _ in range(3)]
  x = torch.randn(2, 10, 512)
  q, k, v = (m(x) for m in maps)
  theirs = torch.softmax(q @ k.transpose(1, 2) / 512**0.5, -1) @ v

  def numpy(t):
    return t.detach().numpy()

  q, k, v = (
    (numpy(x) @ numpy(m.weight).T + numpy(m.bias))[:, :, None] for m in maps
  )
  ours = attention.attention(jnp.asarray(q), k, v)[:, :, 0]
  np.testing.assert_allclose(ours, numpy(theirs), atol=1e-5)
