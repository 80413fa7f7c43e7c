"""Each token's log-probability in its context.

The chain rule: log p(x) = sum_t log p(x_t | x_<t), natural logarithm.
"""

import jax
import numpy as np

from ctxlm import models
from ctxlm.data import framing
from ctxlm.errors import UserError
from ctxlm.inference import loading, passes


def score(loaded, text):
  """Returns ([token], [log p(token | before)]) of a text.

  Args:
    loaded: ctxlm.inference.loading.Loaded of a causal model.
    text: at least one token; its start is conditioned on the bos token. Of a
      model that carries a state it has any length.

  Raises:
    UserError: the text is empty or too long, or the model isn't causal, or
      reads a source.
  """
  ((tokens, logps),) = of_texts(loaded, [text])
  if not tokens:
    raise UserError('the text is empty')
  return tokens, logps


def of_texts(loaded, texts):
  """Returns what `score` gives for each text; one of no token has none.

  Raises:
    UserError: as `score`.
  """
  need_causal(loaded)
  t = loaded.tokenizer
  limit = None if reads_on(loaded) else loaded.max_length
  frame = framing.reading(t, loaded.model)
  rows = [t.encode(text) for text in texts]
  longest = max(map(len, rows))
  if limit is not None and longest > limit:
    raise UserError(f'the text has {longest} tokens; the model takes {limit}')
  full = iter(scores(loaded, [frame(ids) for ids in rows if ids]))
  return [
    (t.pieces(ids), next(full).tolist()) if ids else ([], []) for ids in rows
  ]


def reads_on(loaded):
  """Whether a Loaded's model reads a text of any length, piece by piece."""
  model = loaded.model
  return isinstance(model, models.Carries) and model.carries


def need_causal(loaded):
  """Raises UserError if a Loaded isn't one whose texts have a probability."""
  model = loaded.model
  if model.encoder_decoder:
    raise UserError(
      'score needs a decoder alone; this model writes a text from another'
    )
  if not model.causal:
    raise UserError('score needs a causal model; this one sees both sides')
  loading.need_logits(loaded)


def scores(loaded, rows):
  """Returns [log p of each id after the first: float32 [l - 1]] of rows.

  Of a run that learned beside passages, what the first ids of a row find is
  read beside those behind them.

  Args:
    loaded: Loaded of a causal model.
    rows: lists of 2 ids or more.
  """
  if reads_on(loaded):
    return loaded.passes.along(_logps_on, _split(rows))
  finder = loaded.finder
  if finder is None:
    return _alone(loaded, rows)
  out = _alone(loaded, [row[: finder.query] for row in rows])
  long = [i for i, row in enumerate(rows) if len(row) > finder.query]
  for i, logps in zip(long, finder.logps([rows[i] for i in long])):
    out[i] = np.concatenate([out[i], logps[len(out[i]) :]])
  return out


def _alone(loaded, rows):
  # What the text alone says.
  out = loaded.passes(_target_logps, _split(rows))
  return [logps[: len(row) - 1] for row, logps in zip(rows, out)]


def _split(rows):
  return [{'tokens': row[:-1], 'targets': row[1:]} for row in rows]


def _target_logps(apply, batch):
  return apply(lambda model: _logps(model, passes.read(model, batch), batch))


def _logps_on(model, batch):
  return _logps(model, passes.read_on(model, batch), batch)


def _logps(model, hidden, batch):
  return passes.of_targets(jax.nn.log_softmax(model.logits(hidden)), batch)
