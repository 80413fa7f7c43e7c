"""Every family equals transformers on torch: states, losses and gradients."""

import functools
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from torch.nn import functional as F

import ctxlm
from ctxlm.families import folder as folder_lib
from ctxlm.families.source import Source
from ctxlm.models import heads
from ctxlm.models.variables import make_apply
from ctxlm.objectives import causal, mlm, seq2seq
from ctxlm.trees import path_name
from tests.families import reference

SHAPES = [(name, seed) for name in reference.FAMILIES for seed in range(3)]
LENGTH, TARGET = 11, 6


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
  """Returns the reference's hidden states by stack, and its output."""
  inputs = {k: torch.as_tensor(v) for k, v in inputs.items()}
  if drawn.name == 'bert' and 'token_type_ids' not in inputs:
    inputs['token_type_ids'] = torch.as_tensor(kinds(inputs['input_ids'].shape))
  with torch.no_grad():
    out = drawn.model(**inputs, output_hidden_states=True)
  if drawn.heads == 'seq2seq':
    return [out.encoder_hidden_states, out.decoder_hidden_states], out
  return [out.hidden_states], out


def kinds(shape):
  """Returns BERT's segment embeddings' ids: two segments a row."""
  return np.broadcast_to(np.arange(shape[1]) > 2, shape).astype(np.int64)


def logits_of(out):
  return out['prediction_logits' if 'prediction_logits' in out else 'logits']


def states(drawn, model, params, tokens, segments, positions, target=None):
  """Returns our hidden states by stack, the last ones, and logits.

  `target` is the decoder's (tokens, segments, positions).
  """
  keywords = {'segment_ids': segments, 'positions': positions}
  if drawn.name == 'bert':
    keywords['type_ids'] = kinds(tokens.shape)
  if target:
    keywords['decoder_segment_ids'] = target[1]
    keywords['decoder_positions'] = target[2]
  inputs = (tokens, target[0]) if target else (tokens,)
  return _states(model, drawn.heads, params, inputs, keywords)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _states(model, head, params, inputs, keywords):
  def forward(model):
    hidden = model(*inputs, **keywords)
    pair = None
    if heads.has(params, 'next_sentence'):
      pair = mlm.pair_logits(model, hidden)
    if head == 'mlm':
      return hidden, mlm.mlm_logits(model, hidden), pair
    return hidden, model.logits(hidden), pair

  (hidden, logits, pair), found = model.apply(
    {'params': params}, method=forward, mutable=['intermediates']
  )
  found = found['intermediates']
  names = ('encoder', 'decoder') if head == 'seq2seq' else ('stack',)
  blocks = [
    [found[s][f'layers_{i}']['hidden'][0] for i in range(len(found[s]))]
    for s in names
  ]
  return blocks, hidden, logits, pair


def check(ours, theirs, seen, what):
  seen = np.asarray(seen, bool)
  assert ours.shape == tuple(theirs.shape) and seen.any()
  np.testing.assert_allclose(
    np.asarray(ours)[seen], theirs.numpy()[seen], atol=1e-4, err_msg=what
  )


@pytest.mark.parametrize('case', ['whole', 'padded', 'positions'])
def test_hidden_states_and_logits(both, case):
  drawn, model, params = both
  shape = 2, LENGTH
  tokens, mask = drawn.tokens(0, shape), np.ones(shape, np.int64)
  positions = np.broadcast_to(np.arange(LENGTH), shape)
  if case == 'padded':
    mask[1, 7:] = 0
    tokens[1, 7:] = drawn.model.config.pad_token_id or 0
  inputs = {'input_ids': tokens, 'attention_mask': mask}
  if case == 'positions':
    if drawn.heads == 'seq2seq':
      return  # BART and T5 take none
    positions = np.sort(drawn.tokens(2, shape) % 13)
    offset = 2 if drawn.name == 'roberta' else 0
    inputs['position_ids'] = positions + offset
  target, ends = None, [mask]
  if drawn.heads == 'seq2seq':
    shape = 2, TARGET
    places = np.broadcast_to(np.arange(TARGET), shape)
    target = drawn.tokens(1, shape), np.ones(shape, np.int64), places
    inputs['decoder_input_ids'] = target[0]
    ends.append(target[1])
  blocks, hidden, logits, pair = states(
    drawn, model, params, tokens, mask, positions, target
  )
  wanted, out = their_states(drawn, **inputs)
  for stack, theirs, seen in zip(blocks, wanted, ends, strict=True):
    # Theirs begin with the embeddings; the last may have its norm behind it,
    # as `hidden` has.
    assert len(theirs) == len(stack) + 1
    for i, block in enumerate(stack[:-1]):
      check(block, theirs[i + 1], seen, f'block {i}')
  check(hidden, wanted[-1][-1], ends[-1], 'last hidden state')
  check(logits, logits_of(out), ends[-1], 'logits')
  if pair is not None:
    np.testing.assert_allclose(pair, out.seq_relationship_logits, atol=1e-4)


def test_packed_row_equals_texts_alone(both):
  drawn, model, params = both
  cut, target_cut = 6, 2
  tokens = drawn.tokens(3, (2, LENGTH))

  def packed(length, cut):
    place = np.arange(length)
    segments = np.where(place < cut, 1, 2)
    places = np.where(place < cut, place, place - cut)
    return [np.broadcast_to(x, (2, length)) for x in (segments, places)]

  target = None
  if drawn.heads == 'seq2seq':
    target = (drawn.tokens(4, (2, TARGET)), *packed(TARGET, target_cut))
  _, _, logits, _ = states(
    drawn, model, params, tokens, *packed(LENGTH, cut), target
  )
  for source, own in (
    (slice(0, cut), slice(0, target_cut)),
    (slice(cut, None), slice(target_cut, None)),
  ):
    inputs = {'input_ids': tokens[:, source]}
    if drawn.name == 'bert':
      inputs['token_type_ids'] = kinds(tokens.shape)[:, source]
    if target:
      inputs['decoder_input_ids'] = target[0][:, own]
    part = logits[:, own if target else source]
    _, out = their_states(drawn, **inputs)
    check(part, logits_of(out), np.ones(part.shape[:2]), 'packed')


def batch_of(drawn):
  """Returns (objective, our batch, the reference's loss)."""
  rng = np.random.default_rng(5)
  tokens = drawn.tokens(5, (3, LENGTH))
  mask = np.ones(tokens.shape, np.int32)
  mask[2, 8:] = 0
  places = np.broadcast_to(np.arange(LENGTH), tokens.shape)
  batch = {
    'tokens': tokens,
    'segment_ids': mask,
    'positions': places,
    'valid': np.ones(3, np.float32),
  }
  inputs = {'input_ids': tokens, 'attention_mask': mask}
  inputs = {k: torch.as_tensor(v).long() for k, v in inputs.items()}
  start = (
    drawn.model.config.decoder_start_token_id if drawn.heads == 'seq2seq' else 0
  )
  ids = dict.fromkeys(('bos_id', 'eos_id', 'pad_id', 'cls_id'), start)
  tokenizer = types.SimpleNamespace(mask_id=3, special_ids={0}, **ids)
  labels = np.full(tokens.shape, -100, np.int64)
  if drawn.heads == 'causal':
    objective = causal.Objective(tokenizer=tokenizer)
    example = [
      objective.prepare({k: batch[k][i] for k in batch if k != 'valid'}, rng)
      for i in range(3)
    ]
    batch |= {k: np.stack([e[k] for e in example]) for k in example[0]}
    labels = np.where(mask, tokens, -100)
  elif drawn.heads == 'mlm':
    pair = 'next_sentence' if drawn.name == 'bert' else ''
    objective = mlm.Objective(pair=pair, tokenizer=tokenizer)
    chosen = np.array([[1, 4, 7], [0, 2, 10], [3, 5, 0]])
    weights = np.array([[1, 1, 1], [1, 1, 1], [1, 1, 0]], np.float32)
    targets = drawn.tokens(6, chosen.shape)
    for i, j in np.argwhere(weights):
      labels[i, chosen[i, j]] = targets[i, j]
    batch |= {
      'masked_positions': chosen,
      'masked_targets': targets,
      'masked_weights': weights,
    }
    if pair:
      batch |= {'label': np.array([0, 1, 1]), 'type_ids': kinds(tokens.shape)}
      inputs['token_type_ids'] = torch.as_tensor(batch['type_ids'])
      inputs['next_sentence_label'] = torch.as_tensor(batch['label'])
  else:
    objective = seq2seq.Objective(label_smoothing=0.1, tokenizer=tokenizer)
    targets = drawn.tokens(7, (3, TARGET))
    used = np.ones(targets.shape, np.int32)
    used[1, 4:] = 0
    batch |= {'targets': targets, 'target_segments': used}
    batch['cut'] = np.zeros(3, np.float32)
    labels = np.where(used, targets, -100)
  labels = torch.as_tensor(labels)

  def loss():
    out = drawn.model(**inputs, labels=labels)
    if drawn.heads != 'seq2seq':
      return out.loss
    return F.cross_entropy(
      out.logits.flatten(0, 1), labels.flatten(), label_smoothing=0.1
    )

  return objective, batch, loss


@pytest.mark.slow
def test_losses_and_gradients(both):
  drawn, model, params = both
  objective, batch, their_loss = batch_of(drawn)
  apply = make_apply(model)

  @jax.jit
  def ours(params, batch):
    def total(params):
      found = objective.loss(apply, params, batch, None)
      pairs = ((c, *found[name]) for name, c in objective.terms.items())
      return sum(c * n / d for c, n, d in pairs)

    return jax.value_and_grad(total)(params)

  loss, grads = ours(params, jax.tree.map(jnp.asarray, batch))
  drawn.model.zero_grad()
  wanted = their_loss()
  wanted.backward()
  np.testing.assert_allclose(loss, wanted.item(), rtol=1e-5)
  theirs = their_gradients(drawn, model)
  found = {
    path_name(p): np.asarray(g)
    for p, g in jax.tree_util.tree_leaves_with_path(grads)
  }
  whole = np.sqrt(sum((g**2).sum() for g in theirs.values()))
  assert whole > 0.01
  for path, g in found.items():
    if path not in theirs:  # BART's constant, a buffer there
      assert path == 'final_bias/bias' and not g.any()
      continue
    # Keys' biases have no gradient but rounding: softmax ignores them.
    error = np.linalg.norm(g - theirs[path])
    assert error < 1e-3 * np.linalg.norm(theirs[path]) + 1e-6 * whole, path
  assert theirs.keys() <= found.keys()


def their_gradients(drawn, model):
  """Returns the reference's gradients as ours lie: {path: array}."""
  named = {
    name: np.zeros(p.shape, np.float32) if p.grad is None else p.grad.numpy()
    for name, p in drawn.model.named_parameters()
  }
  for stack in ('encoder', 'decoder'):  # an untied BART's copies
    copy = named.pop(f'model.{stack}.embed_tokens.weight', None)
    if copy is not None:
      named['model.shared.weight'] = named['model.shared.weight'] + copy
  for top in ('cls.predictions', 'lm_head'):  # see reference.randomise
    if f'{top}.decoder.bias' in named:
      named.pop(f'{top}.bias')
  family = folder_lib.find(drawn.model.config.model_type)
  source = Source(family, named)
  places = source.places(folder_lib.shapes(model), reference.options_of(model))
  return {
    path: p.read(tuple(slice(0, n) for n in p.shape.shape))
    for path, p in places.items()
  }


@pytest.mark.parametrize('both', SHAPES[::3], indirect=True, ids=lambda s: s[0])
def test_bfloat16_is_near(both):
  """Logits differ by less than 4 % of the largest one."""
  drawn, model, params = both
  shape = 2, LENGTH
  tokens, mask = drawn.tokens(8, shape), np.ones(shape, np.int64)
  inputs = tokens, mask, np.broadcast_to(np.arange(LENGTH), shape)
  target = None
  if drawn.heads == 'seq2seq':
    target = [x[:, :TARGET] for x in inputs]
  exact, near = (
    np.asarray(states(drawn, m, params, *inputs, target)[2])
    for m in (model, model.clone(dtype='bfloat16'))
  )
  assert near.dtype == np.float32
  assert 0 < abs(near - exact).max() < 0.04 * abs(exact).max()
