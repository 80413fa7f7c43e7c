"""Every family equals transformers on torch: states, logits and gradients."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

import ctxlm
from tests.families import reference

SHAPES = [(name, seed) for name in reference.FAMILIES for seed in range(3)]


@pytest.fixture(scope='module', params=SHAPES, ids=lambda s: f'{s[0]}-{s[1]}')
def both(request, tmp_path_factory):
  """The reference's model, and ours as loaded from its folder."""
  drawn = reference.draw(*request.param)
  folder = tmp_path_factory.mktemp('model')
  drawn.model.save_pretrained(folder)
  model, params, tokenizer = ctxlm.load(folder)
  assert tokenizer is None
  return drawn, model, params


def their_states(drawn, **inputs):
  """Returns the reference's hidden states, and logits."""
  inputs = {k: torch.as_tensor(v) for k, v in inputs.items()}
  with torch.no_grad():
    out = drawn.model(**inputs, output_hidden_states=True)
  logits = out['prediction_logits' if 'prediction_logits' in out else 'logits']
  if drawn.heads != 'seq2seq':
    return [list(out.hidden_states)], logits, out
  return (
    [list(out.encoder_hidden_states), list(out.decoder_hidden_states)],
    logits,
    out,
  )


@functools.partial(jax.jit, static_argnums=(0, 1))
def our_states(model, head, params, tokens, decoder_tokens, keywords):
  """Returns each stack's blocks' outputs, logits and (MLM) pair logits."""

  def forward(model):
    if head == 'seq2seq':
      hidden = model(tokens, decoder_tokens, **keywords)
    else:
      hidden = model(tokens, **keywords)
    pair = None
    if 'next_sentence_head' in params:
      pair = model.next_sentence(model.pool(hidden))
    logits = model.mlm_logits if head == 'mlm' else model.logits
    return hidden, logits(hidden), pair

  (hidden, logits, pair), found = model.apply(
    {'params': params}, method=forward, mutable=['intermediates']
  )
  found = found['intermediates']
  stacks = ('encoder', 'decoder') if head == 'seq2seq' else ('stack',)
  states = [
    [found[s][f'layers_{i}']['hidden'][0] for i in range(len(found[s]))]
    for s in stacks
  ]
  return states, hidden, logits, pair


def check(ours, theirs, seen, what):
  seen = np.asarray(seen, bool)
  np.testing.assert_allclose(
    np.asarray(ours)[seen], theirs.numpy()[seen], atol=1e-4, err_msg=what
  )


@pytest.mark.parametrize('padded', [False, True])
def test_hidden_states_and_logits(both, padded):
  drawn, model, params = both
  tokens = drawn.tokens(0, (2, 11))
  mask = np.ones(tokens.shape, np.int64)
  if padded:
    mask[1, 7:] = 0
    tokens[1, 7:] = drawn.model.config.pad_token_id or 0
  theirs = {'input_ids': tokens, 'attention_mask': mask}
  keywords = {'segment_ids': jnp.asarray(mask)}
  target = None
  if drawn.name == 'bert':
    types = (np.arange(11) > 5).astype(np.int64)[None].repeat(2, 0)
    theirs['token_type_ids'] = types
    keywords['type_ids'] = jnp.asarray(types)
  if drawn.heads == 'seq2seq':
    target = drawn.tokens(1, (2, 6))
    theirs['decoder_input_ids'] = target
  states, hidden, logits, pair = our_states(
    model, drawn.heads, params, tokens, target, keywords
  )
  wanted, wanted_logits, out = their_states(drawn, **theirs)
  ends = [mask] if target is None else [mask, np.ones(target.shape)]
  for blocks, reference_blocks, seen in zip(states, wanted, ends, strict=True):
    # Theirs begin with the embeddings, and the last may have its norm behind
    # it, as `hidden` has.
    assert len(reference_blocks) == len(blocks) + 1
    for i, block in enumerate(blocks[:-1]):
      check(block, reference_blocks[i + 1], seen, f'block {i}')
  check(hidden, wanted[-1][-1], ends[-1], 'last hidden state')
  check(logits, wanted_logits, ends[-1], 'logits')
  if pair is not None:
    np.testing.assert_allclose(pair, out.seq_relationship_logits, atol=1e-4)
