"""The same objectives in transformers on PyTorch: a model, and its loss.

A twin is the class that transformers, or sentence-transformers, has for the
head of an objective of ctxlm. It reads the features that the objective
prepared, so that nothing but the model, the loss and the update is compared.
"""

import dataclasses
from collections.abc import Callable

import numpy as np
import transformers
from torch.nn import functional as F

from ctxlm.errors import UserError
from ctxlm.experiments.benchmarks import reference
from ctxlm.objectives import contrastive as contrastive_lib

torch = reference.torch


@dataclasses.dataclass(frozen=True)
class Twin:
  """One objective's.

  Attributes:
    open: folder -> module, whose `save_pretrained` writes one.
    loss: (module, features as tensors, objective) -> the mean loss.
  """

  open: Callable
  loss: Callable


def classification(model, batch, objective):
  """Returns the cross-entropy, of each class by itself, or squared error."""
  out, target = model(**_read(model, batch)).logits, batch['target']
  if objective.class_weights:
    raise UserError('class_weights have no twin')
  if objective.kind == 'score':
    return F.mse_loss(out[:, 0], target)
  smoothing = objective.label_smoothing
  if objective.kind == 'class':
    return F.cross_entropy(out, target.long(), label_smoothing=smoothing)
  soft = (1 - smoothing) * target + smoothing / 2
  return F.binary_cross_entropy_with_logits(out, soft)


def tagging(model, batch, objective):
  """Returns the cross-entropy at the first pieces of the batch's words."""
  out = model(**_read(model, batch)).logits
  return _weighted(
    out, batch['targets'], batch['weights'], objective.label_smoothing
  )


def span(model, batch, objective):
  """Returns the cross-entropy of the answers' first and last tokens."""
  del objective  # no option of it is the loss's
  out = model(**_read(model, batch))
  used = batch['segment_ids'] > 0
  nats = [
    F.cross_entropy(logits.masked_fill(~used, -1e30), target)
    for logits, target in zip(
      (out.start_logits, out.end_logits), batch['targets'].long().T
    )
  ]
  return sum(nats) / 2


def multiple_choice(model, batch, objective):
  """Returns the cross-entropy of the right choices."""
  del objective
  scores = model(**_read(model, batch)).logits
  scores = scores.masked_fill(batch['offered'] == 0, -1e9)
  return F.cross_entropy(scores, batch['target'].long())


def seq2seq(model, batch, objective):
  """Returns the cross-entropy of the targets' tokens."""
  targets = batch['targets'].long()
  first = torch.full_like(targets[:, :1], model.config.decoder_start_token_id)
  out = model(
    input_ids=batch['tokens'].long(),
    attention_mask=batch['segment_ids'],
    decoder_input_ids=torch.cat([first, targets[:, :-1]], 1),
  ).logits
  return _weighted(
    out, targets, batch['target_segments'], objective.label_smoothing
  )


def causal(model, batch, objective):
  """Returns the cross-entropy of what is learned in packed rows."""
  del objective
  segments = batch['segment_ids']
  seen = segments[:, None, :, None] == segments[:, None, None, :]
  out = model(
    input_ids=batch['tokens'].long(),
    attention_mask=torch.where(
      seen.tril(), 0.0, torch.finfo(torch.float32).min
    ),
    position_ids=batch['positions'].long(),
  ).logits
  return _weighted(out, batch['targets'], batch['weights'], 0.0)


def contrastive(model, batch, objective):
  """Returns InfoNCE of pairs, or triples, by the vectors' cosines."""
  b, n, _ = batch['tokens'].shape
  vectors = model(
    {
      'input_ids': batch['tokens'].long().flatten(0, 1),
      'attention_mask': batch['segment_ids'].flatten(0, 1),
    }
  )['sentence_embedding']
  vectors = F.normalize(vectors, dim=-1).unflatten(0, (b, n))
  keys = vectors[:, 1:].transpose(0, 1).flatten(0, 1)
  scores = vectors[:, 0] @ keys.T / objective.temperature
  if objective.mask_duplicates:
    contents = batch['contents'].numpy()
    kept = contrastive_lib.rivals(contents, contents).reshape(b, -1)
    kept[np.arange(b), np.arange(b)] = True  # each one's positive
    scores = scores.masked_fill(~torch.from_numpy(kept), -1e9)
  return F.cross_entropy(scores, torch.arange(b))


def _read(model, batch):
  inputs = {
    'input_ids': batch['tokens'].long(),
    'attention_mask': batch['segment_ids'],
  }
  kinds = model.config.to_dict().get('type_vocab_size', 0)
  if kinds:
    inputs['token_type_ids'] = batch['type_ids'].long().clamp(max=kinds - 1)
  return inputs


def _weighted(logits, targets, weights, smoothing):
  nats = F.cross_entropy(
    logits.flatten(0, -2),
    targets.long().flatten(),
    reduction='none',
    label_smoothing=smoothing,
  )
  return (nats * weights.flatten()).sum() / weights.sum()


def _whole(kind):
  # Opens a folder by a class of transformers that must find all its tensors.
  def open_folder(folder):
    model, told = kind.from_pretrained(folder, output_loading_info=True)
    for key in ('missing_keys', 'unexpected_keys', 'mismatched_keys'):
      assert not told[key], (key, told[key])
    return model

  return open_folder


def _sentences(folder):
  import sentence_transformers

  return sentence_transformers.SentenceTransformer(str(folder), device='cpu')


TWINS = {
  'classification': Twin(
    _whole(transformers.AutoModelForSequenceClassification), classification
  ),
  'tagging': Twin(
    _whole(transformers.AutoModelForTokenClassification), tagging
  ),
  'span': Twin(_whole(transformers.AutoModelForQuestionAnswering), span),
  'multiple_choice': Twin(
    _whole(transformers.AutoModelForMultipleChoice), multiple_choice
  ),
  'seq2seq': Twin(_whole(transformers.AutoModelForSeq2SeqLM), seq2seq),
  'causal': Twin(_whole(transformers.AutoModelForCausalLM), causal),
  'contrastive': Twin(_sentences, contrastive),
}


def open_model(name, folder):
  """Returns the torch model of a folder that we wrote.

  Args:
    name: of the objective.
    folder: of Hugging Face, or sentence-transformers.

  Raises:
    UserError: the objective has no twin.
    AssertionError: its class lacks a tensor of the folder, or has others.
  """
  if name not in TWINS:
    raise UserError(
      f'objective {name} has no twin here; there are {", ".join(TWINS)}'
    )
  return TWINS[name].open(folder)


def make_step(model, name, objective, config):
  """Returns `step(batch) -> float`; see reference.make_step.

  Args:
    model: torch module.
    name, objective: of the task.
    config: of the run.
  """

  def features(batch):
    return {k: torch.from_numpy(v) for k, v in batch.items()}

  def loss(model, inputs):
    return TWINS[name].loss(model, inputs, objective)

  return reference.make_step(model, features, loss, config)
