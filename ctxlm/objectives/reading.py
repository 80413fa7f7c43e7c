"""What a head reads of a text: a vector of each token, or one of them all."""

import jax.numpy as jnp

from ctxlm.objectives import mlm
from ctxlm.objectives import pooling as pooling_lib

POOLINGS = ('', 'pooled', 'first', 'last', 'mean')


def types(model, batch):
  """Returns type ids [b, l] that the model has embeddings for, or None."""
  kinds = model.type_vocab_size
  return jnp.minimum(batch['type_ids'], kinds - 1) if kinds else None


def shifted(model, tokens, tokenizer):
  """Returns what an encoder-decoder's decoder reads for its targets [b, t].

  They are shifted right, behind the token that a decoder begins with.
  """
  t = tokenizer
  starts = dict(bos=t.bos_id, eos=t.eos_id, pad=t.pad_id, cls=t.cls_id)
  first = jnp.full_like(tokens[:, :1], starts[model.decoder_start])
  return jnp.concatenate([first, tokens[:, :-1]], axis=1)


def hidden(model, batch, tokenizer, rows=None, edit=None):
  """Returns vectors float32 [b, l, m] of a batch's tokens.

  Of an encoder-decoder they are its decoder's, which reads the encoder's text
  once more (Lewis et al. 2020, section 3.1).

  Args:
    model: bound Flax module.
    batch: 'tokens', 'segment_ids' and 'type_ids' int32 [b, l].
    tokenizer: of the run.
    rows: see ctxlm.models.dropout.Dropout; None is without.
    edit: see ctxlm.models.transformer.Model; an encoder-decoder has none.
  """
  given = dict(
    segment_ids=batch['segment_ids'], type_ids=types(model, batch), rows=rows
  )
  if edit:
    given['edit'] = edit
  if model.encoder_decoder:
    given['decoder_tokens'] = shifted(model, batch['tokens'], tokenizer)
    given['decoder_segment_ids'] = batch['segment_ids']
  return model(batch['tokens'], **given).astype(jnp.float32)


def encoded(model, batch, tokenizer, rows=None, edit=None):
  """Returns `hidden`; of an encoder-decoder its encoder's vectors."""
  if not model.encoder_decoder:
    return hidden(model, batch, tokenizer, rows, edit)
  if model.is_initializing():  # a decoder that isn't read is there all the same
    hidden(model, batch, tokenizer)
  return model.encode(
    batch['tokens'],
    segment_ids=batch['segment_ids'],
    type_ids=types(model, batch),
    rows=rows,
  ).astype(jnp.float32)


def decodes_alone(model):
  """Whether a model is a decoder without an encoder."""
  return model.causal and not model.encoder_decoder


def pooling_of(model, pooling):
  """Returns the pooling that '' stands for, the model's own; or `pooling`."""
  return pooling or ('last' if decodes_alone(model) else 'pooled')


def vector(model, batch, pooling, tokenizer, rows=None, edit=None):
  """Returns one vector of each text, float32 [b, m].

  Args:
    model, batch, tokenizer, rows, edit: see `hidden`.
    pooling: 'pooled', 'first', 'last' or 'mean'; see classification.Objective.
  """
  states = hidden(model, batch, tokenizer, rows, edit)
  if pooling == 'mean':
    return pooling_lib.pool('mean', states, batch['segment_ids'])
  if model.causal or pooling == 'last':
    # As the reference finds it, by the id: a token that ends a text and is its
    # padding, too, is no last one.
    used = batch['segment_ids'] > 0
    if tokenizer.own_pad_id is not None:
      used &= batch['tokens'] != tokenizer.own_pad_id
    at = (jnp.arange(used.shape[1]) * used).argmax(1)
    states = jnp.take_along_axis(states, at[:, None, None], axis=1)
  if pooling == 'pooled':
    return model.head('pooler', mlm.Pooler(model.options), states)
  return states[:, 0]
