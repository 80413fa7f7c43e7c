"""The same objectives in transformers on PyTorch: a model, and its loss.

A twin is the class that transformers has for the head of an objective of
ctxlm. It reads the features that the objective prepared, so that nothing but
the model, the loss and the update is compared.
"""

import dataclasses
from collections.abc import Callable

import transformers
from torch.nn import functional as F

from ctxlm.errors import UserError
from ctxlm.experiments.benchmarks import reference


@dataclasses.dataclass(frozen=True)
class Twin:
  """One objective's.

  Attributes:
    kind: class of transformers that opens a folder.
    loss: (model, features as tensors, objective) -> the mean loss.
  """

  kind: type
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


TWINS = {
  'classification': Twin(
    transformers.AutoModelForSequenceClassification, classification
  ),
  'tagging': Twin(transformers.AutoModelForTokenClassification, tagging),
}


def open_model(name, folder):
  """Returns the torch model of a folder that we wrote.

  Args:
    name: of the objective.
    folder: of Hugging Face.

  Raises:
    UserError: the objective has no twin.
    AssertionError: its class lacks a tensor of the folder, or has others.
  """
  if name not in TWINS:
    raise UserError(
      f'objective {name} has no twin here; there are {", ".join(TWINS)}'
    )
  model, told = TWINS[name].kind.from_pretrained(
    folder, output_loading_info=True
  )
  for key in ('missing_keys', 'unexpected_keys', 'mismatched_keys'):
    assert not told[key], (key, told[key])
  return model


def make_step(model, name, objective, config):
  """Returns `step(batch) -> float`; see reference.make_step.

  Args:
    model: torch module.
    name, objective: of the task.
    config: of the run.
  """

  def features(batch):
    return {k: reference.torch.from_numpy(v) for k, v in batch.items()}

  def loss(model, inputs):
    return TWINS[name].loss(model, inputs, objective)

  return reference.make_step(model, features, loss, config)
