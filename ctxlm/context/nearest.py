"""Nearest neighbours: kNN-LM, Khandelwal et al. 2020, arXiv:1911.00172.

    p(x | h) ~ sum_((k_i, x_i) in N) 1{x = x_i} exp(-|h - k_i|^2 / temperature)

N are the k keys of a datastore that are nearest to the hidden state h (equation
2). The state is the model's last, of which its logits are made; the paper's is
the input of the last feed-forward layer, which is of no other model.
"""

import dataclasses
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np

from ctxlm import context, models
from ctxlm.context import faiss_index, search
from ctxlm.context import store as store_lib
from ctxlm.errors import UserError
from ctxlm.ranges import AboveZero, Range, Share


@dataclasses.dataclass(frozen=True)
class Context:
  """The tokens that came after the nearest states of a datastore.

  Attributes:
    store: folder that `ctxlm store` wrote with the same model.
    k: neighbours.
    temperature: by which squared distances are divided.
    weight: see context.Context.
    index: of FAISS, in place of our search, such as 'IVF1024,Flat'; see
      faiss_index.
  """

  store: str
  k: Annotated[int, Range('[1, 4096]')] = 64
  temperature: AboveZero = 10.0
  weight: Share = 0.25
  index: str = ''

  def open(self, model, load):
    """See context.Context."""
    models.need_vectors(model.model)
    store = store_lib.open_folder(self.store)
    if store.model != model.fingerprint:
      raise UserError(
        f'{store.folder} is a datastore of another model than {model.folder}: '
        'write one of this, with ctxlm store'
      )
    arrays, index = dict(store.arrays), None
    tokens, norms = arrays['tokens'], arrays['norms']
    odd = not 0 <= tokens.min() <= tokens.max() < model.model.vocab_size
    if odd or not np.isfinite(norms).all():
      raise UserError(f'{store.folder} is damaged: write the datastore anew')
    if self.index:
      index = faiss_index.opened(store.folder, self.index)
      arrays = {'tokens': arrays['tokens']}
    own = self.k, self.temperature, self.weight, store.text, index
    return Neighbours(*own), arrays


@dataclasses.dataclass(frozen=True)
class Neighbours:
  """The datastore that was opened.

  Attributes:
    k, temperature, weight: see Context.
    text: see context.store.Store.
    index: faiss.Index, or None.
  """

  k: int
  temperature: float
  weight: float
  text: str = ''
  index: Any = None

  context_length = None
  grid = {
    'k': (1, 4, 16, 64, 256),
    'temperature': (0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0),
  }

  def rows(self, params, seen):
    """See context.Context."""
    votes = self.votes(self.evidence(params, seen), seen)
    return context.tally(*votes, seen.logps)

  def evidence(self, params, seen):
    """Returns (squared distances, tokens) [n, t, k], the nearest first."""
    shape = seen.hidden.shape
    states = seen.hidden.astype(jnp.float32).reshape(-1, shape[-1])
    if self.index is None:
      keys, norms = params['keys'], params['norms']
      distances, places = search.nearest(keys, norms, states, self.k)
    else:
      distances, places = faiss_index.nearest(self.index, states, self.k)
    distances = jnp.where(places < 0, jnp.inf, distances)
    found = distances, params['tokens'][places]
    return jax.tree.map(lambda x: x.reshape(*shape[:-1], -1), found)

  def votes(self, evidence, seen):
    """See context.Tuned."""
    distances, tokens = evidence
    own = jnp.arange(distances.shape[-1]) < self.k
    scores = jnp.where(own, -distances / self.temperature, -jnp.inf)
    return scores, tokens

  def begin(self, params, seen, prompts):
    """See context.Context."""
    last = seen.replace(hidden=seen.hidden[:, -1:])
    return self.rows(params, last), None

  def advance(self, params, seen, memory):
    """See context.Context."""
    return self.rows(params, seen), memory
