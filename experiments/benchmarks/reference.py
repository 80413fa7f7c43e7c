"""The same model, loss and update in Hugging Face Transformers on PyTorch.

What `train_step.py` times ctxlm against: GPT2LMHeadModel, BertForMaskedLM and
SimCSE's two views through BertModel, with dropout where the papers have it; and
the update that `finetune.py` shares with it.
"""

import os

# Before libgomp starts: its threads would spin on the cores for a while after
# each of torch's steps, in the time of the step of ctxlm that is next.
os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')

import itertools

import jax
import numpy as np
import torch
import transformers
from torch.nn import functional as F

from ctxlm.families import folder
from ctxlm.training import optim

# Five times the usual one: with that, all sentences are nearly one vector and
# all logits nearly zero, and a wrong copy would give the same loss.
STDDEV = 0.1
DEVICE = 'cuda' if torch.cuda.is_available() else 'cpu'


def build(case, dropout):
  """Returns the torch model of a case, see `train_step.CASES`."""
  return _build(case, dropout).to(DEVICE)


def _build(case, dropout):
  if case.objective == 'causal':
    return transformers.GPT2LMHeadModel(
      transformers.GPT2Config(
        vocab_size=case.vocab_size,
        n_positions=case.max_length,
        n_embd=case.hidden_size,
        n_layer=case.num_layers,
        n_head=case.num_heads,
        initializer_range=STDDEV,
        resid_pdrop=dropout,
        embd_pdrop=dropout,
        attn_pdrop=dropout,
        bos_token_id=0,
        eos_token_id=0,
        use_cache=False,
      )
    )
  config = transformers.BertConfig(
    vocab_size=case.vocab_size,
    max_position_embeddings=case.max_length,
    hidden_size=case.hidden_size,
    num_hidden_layers=case.num_layers,
    num_attention_heads=case.num_heads,
    initializer_range=STDDEV,
    intermediate_size=4 * case.hidden_size,
    hidden_dropout_prob=dropout,
    attention_probs_dropout_prob=dropout,
  )
  if case.objective == 'mlm':
    return transformers.BertForMaskedLM(config)
  return transformers.BertModel(config)


def features(case, batch):
  """Returns the torch model's view of a batch of ctxlm's features."""
  return {k: x.to(DEVICE) for k, x in _features(case, batch).items()}


def _features(case, batch):
  tokens = torch.from_numpy(batch['tokens']).long()
  if case.objective == 'causal':
    return {'input_ids': tokens, 'labels': tokens}
  if case.objective == 'mlm':
    labels = np.full(batch['tokens'].shape, -100, np.int64)
    masked = np.nonzero(batch['masked_weights'])
    place = batch['masked_positions'][masked]
    labels[masked[0], place] = batch['masked_targets'][masked]
    return {'input_ids': tokens, 'labels': torch.from_numpy(labels)}
  seen = torch.from_numpy(batch['segment_ids']).long()
  return {
    'input_ids': tokens.flatten(0, 1),  # the two views, one after the other
    'attention_mask': seen.flatten(0, 1),
  }


def loss(case, model, inputs):
  """Returns the mean loss of a batch."""
  half = case.dtype == 'bfloat16'
  with torch.autocast(DEVICE, torch.bfloat16, enabled=half):
    out = model(**inputs)
  if case.objective != 'contrastive':
    return out.loss
  vectors = F.normalize(out.pooler_output.float(), dim=-1).unflatten(0, (-1, 2))
  scores = vectors[:, 0] @ vectors[:, 1].T / case.temperature
  return F.cross_entropy(scores, torch.arange(len(scores), device=DEVICE))


def make_step(model, features, loss, config, compiled=False):
  """Returns `step(batch) -> float`: forward, backward, clip, AdamW.

  The optimizer is torch's fused AdamW, its fastest on a CPU.

  Args:
    model: torch module; it is trained, in the mode that it is in.
    features: batch of ctxlm's features -> what `loss` reads of it.
    loss: (model, that) -> mean loss.
    config: of ctxlm, whose optimizer, schedule and decay mask are followed.
    compiled: whether the forward and backward passes go through
      torch.compile.
  """
  c = config.optimizer
  trained = [p for p in model.parameters() if p.requires_grad]
  update = torch.optim.AdamW(
    [
      {
        'params': [p for p in trained if p.ndim > 1],
        'weight_decay': c.weight_decay,
      },
      {'params': [p for p in trained if p.ndim <= 1], 'weight_decay': 0.0},
    ],
    betas=(c.b1, c.b2),
    eps=c.eps,
    fused=True,
  )
  rate = jax.jit(optim.schedule(c, config.num_steps))
  taken = itertools.count()

  def forward(inputs):
    return loss(model, inputs)

  if compiled:
    forward = torch.compile(forward)

  def step(batch):
    now = float(rate(next(taken)))
    for group in update.param_groups:
      group['lr'] = now
    value = forward(features(batch))
    update.zero_grad()
    value.backward()
    if c.clip_norm:
      torch.nn.utils.clip_grad_norm_(trained, c.clip_norm)
    update.step()
    return value.item()

  return step


def copied(case, model, shapes):
  """Returns ctxlm's parameters, {path: ndarray}, with the model's values.

  Args:
    case: see `train_step.CASES`.
    model: torch module.
    shapes: {path: shape} of ctxlm's parameters.
  """
  family = folder.find('gpt2' if case.objective == 'causal' else 'bert')
  state = {
    name.removeprefix(family.prefix): value.cpu().numpy().copy()
    for name, value in model.state_dict().items()
  }

  def find(path, shape):
    # SimCSE's MLP is what Transformers calls a pooler.
    path = path.replace('heads/projection/dense_0', 'heads/pooler/dense')
    at, _ = family.place(path, shape, {})
    tensor = next(state[name] for name in at.names if name in state)
    return at.read(tensor, shape, tuple(slice(0, n) for n in shape))

  return {path: find(path, shape) for path, shape in shapes.items()}
