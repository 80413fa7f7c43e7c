"""Passages for what a run is asked about; see ctxlm.context.passages.

They are found in the text that the run found them in, by what the text says up
to a place, and what comes after that place is read beside them.
"""

import jax
import numpy as np

from ctxlm import models, plugins
from ctxlm.context import passages as passages_lib
from ctxlm.decoding.generator import bucket
from ctxlm.errors import note
from ctxlm.inference import passes
from ctxlm.models.variables import make_apply
from ctxlm.objectives import retrieved


def of(loaded):
  """Returns the Finder of a loading.Loaded that learned beside passages.

  Or None. A folder that is no run's says nothing of where they were found, and
  its model is read without.
  """
  if loaded.run is None:
    return None
  for task in loaded.run.program.tasks:
    if isinstance(task.objective, retrieved.Objective):
      data = loaded.run.config.tasks[task.name].data
      source = plugins.build('data.sources', data)
      corpus = passages_lib.open_corpus(task.objective, source)
      return Finder(loaded.model, loaded.params, task.objective, corpus)
  return None


class Finder:
  """Finds passages, and asks a model beside them.

  Attributes:
    query: ids that passages are found by, at most.
  """

  def __init__(self, model, params, objective, corpus):
    """Takes the run's parts; the corpus is passages.Corpus."""
    self.query = objective.query
    self._model, self._params = model, params
    self._objective, self._corpus = objective, corpus
    self._ask = jax.jit(self._logps)

  def find(self, rows):
    """Returns (passages, ids) int32 [n, p, k] that the ends of n rows find."""
    o = self._objective
    queries = [np.array(row[-self.query :]) for row in rows]
    found = self._corpus.find(queries, o.passages, None)
    cut = [
      passages_lib.cut(
        self._corpus.tokens, own, o.passage_length, o.tokenizer.pad_id
      )
      for own in found
    ]
    return tuple(np.stack(x) for x in zip(*cut))

  def prompts(self, prompts, room):
    """Returns (prompts, arrays of decoder.Prompts) with what they find.

    Args:
      prompts: lists of ids.
      room: ids of one at most, where passages go in front; None is no limit.
    """
    tokens, ids = self.find(prompts)
    if isinstance(self._model, models.ReadsPassages):
      return prompts, {'source': tokens, 'source_segment_ids': ids}
    long, left_out = [], 0
    for prompt, texts, used in zip(prompts, tokens, ids):
      prompt = list(prompt)
      for text, own in zip(texts, used):
        text = text[own > 0].tolist()
        if room is None or len(text) + len(prompt) <= room:
          prompt = text + prompt
        else:
          left_out += 1
      long.append(prompt)
    if left_out:
      note(f'{left_out} passages are left out: the prompt leaves no room')
    return long, {}

  def logps(self, rows):
    """Returns [log p of each id after the first, float32 [l - 1]] of rows.

    They are beside the passages that a row's first `query` ids find, so of ids
    among these they are not to be used.
    """
    out = []
    for start in range(0, len(rows), passes.ROWS):
      own = rows[start : start + passes.ROWS]
      tokens, ids = self.find([row[: self.query] for row in own])
      length = bucket(max(map(len, own)) - 1, self._objective.max_length)
      batch = {'passages': tokens, 'passage_ids': ids}
      for name, cut in (('tokens', slice(-1)), ('targets', slice(1, None))):
        batch[name] = np.zeros((len(own), length), np.int32)
        for i, row in enumerate(own):
          batch[name][i, : len(row) - 1] = row[cut]
      place = np.arange(length, dtype=np.int32)
      used = place < np.array([[len(row) - 1] for row in own])
      batch['segment_ids'] = used.astype(np.int32)
      batch['positions'] = np.broadcast_to(place, used.shape)
      found = jax.device_get(self._ask(self._params, batch))
      out += [x[: len(row) - 1] for row, x in zip(own, found)]
    return out

  def _logps(self, params, batch):
    logits = make_apply(self._model)(
      params, lambda model: self._objective.outputs(model, batch)
    )
    return passes.of_targets(jax.nn.log_softmax(logits), batch)
