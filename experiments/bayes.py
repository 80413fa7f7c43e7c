"""Theory lines of what is hidden: the class of an item, the concept of a text.

In numpy and float64, as experiments/theory.py; each is held against brute force
in tests/experiments/test_bayes.py.
"""

import numpy as np
from scipy import special


def label_in_context(xs, labels, num_labels, noise):
  """Returns P(label of the last item | context), float64 [b, L], by Bayes.

  Items are (mu + noise eta) / sqrt(1 + noise^2) with mu of a class of their own
  for every label, mu and eta ~ N(0, I / d): of m items with mean x, mu ~
  N(m x / (m + noise^2), noise^2 / (m + noise^2) I / d) before that division.
  The last one is of a class in the context, by its share of the items.

  Args:
    xs: [b, n + 1, d].
    labels: int [b, n] below num_labels.
    num_labels: L.
    noise: above 0.

  >>> xs = np.array([[[1.0], [-1.0], [1.0]]])
  >>> label_in_context(xs, np.array([[0, 1]]), 2, 0.1)[0].argmax()
  np.int64(0)
  """
  d, variance = xs.shape[-1], noise**2
  xs = np.asarray(xs, np.float64) * (1 + variance) ** 0.5
  counts = np.eye(num_labels)[labels].sum(1)  # [b, L]
  sums = np.einsum('bnl,bnd->bld', np.eye(num_labels)[labels], xs[:, :-1])
  means = sums / (counts + variance)[..., None]
  spread = (variance / (counts + variance) + variance) / d
  away = ((xs[:, -1:] - means) ** 2).sum(-1)
  log = -away / (2 * spread) - d / 2 * np.log(spread)
  log = np.where(counts > 0, np.log(np.maximum(counts, 1)) + log, -np.inf)
  return special.softmax(log, -1)


def label_in_weights(xs, labels, means, shares, num_labels, noise):
  """Returns P(label | item, not one of the context's), float64 [b, L].

  As `label_in_context`, with the means known, and labels k mod L.

  Args:
    xs: the items, [b, d].
    labels: int [b, n], which it is not of.
    means: [K, d].
    shares: P(class), [K].
    num_labels: L.
    noise: above 0.

  >>> xs, means = np.array([[1.0]]), np.array([[1.0], [-1.0], [0.9]])
  >>> one = label_in_weights(xs, np.array([[0]]), means, np.ones(3) / 3, 3, 0.1)
  >>> one.round(2).tolist()
  [[0.0, 0.0, 1.0]]
  """
  means = np.asarray(means, np.float64)
  xs = np.asarray(xs, np.float64) * (1 + noise**2) ** 0.5
  away = (xs**2).sum(-1)[:, None] + (means**2).sum(-1) - 2 * xs @ means.T
  log = np.log(shares) - away * xs.shape[-1] / (2 * noise**2)
  own = np.arange(len(means)) % num_labels
  there = np.eye(num_labels, dtype=bool)[labels].any(1)  # [b, L]
  log = np.where(there[:, own], -np.inf, log)
  return special.softmax(log, -1) @ np.eye(num_labels)[own]


def next_of_document(tokens, transitions, emission, leak=1e-6):
  """Returns P(next symbol | tokens), float64 [b, v], one of several HMMs each.

  The forward algorithm (Rabiner 1989, section III) in every concept, from any
  state alike, and their mean by how likely the tokens are. Of a sequence that
  no concept could have made, something must be said too: a transition is to any
  state alike with probability `leak`.

  Args:
    tokens: int [b, l].
    transitions: P(next | state) of each concept, [c, s, s].
    emission: P(symbol | state), [s, v].
    leak: see above; 0 is exact.

  >>> swap = np.array([[[0.0, 1.0], [1.0, 0.0]]])
  >>> next_of_document(np.array([[0, 1]]), swap, np.eye(2), 0.0)
  array([[1., 0.]])
  """
  count, states = transitions.shape[:2]
  moves = (1 - leak) * transitions + leak / states
  now = np.full((count, len(tokens), states), 1 / states)
  log = np.zeros((count, len(tokens)))
  for symbols in tokens.T:
    now = now * emission[:, symbols].T
    scale = now.sum(-1, keepdims=True)
    now = now / np.where(scale > 0, scale, 1) @ moves
    with np.errstate(divide='ignore'):
      log += np.log(scale[..., 0])
  weights = special.softmax(log, 0)
  return np.einsum('cb,cbs,sv->bv', weights, now, emission)


def label_of_examples(examples, query, starts, transitions, emission):
  """Returns P(label | examples, query), float64 [b, n + 1, v], by Bayes.

  Examples are drawn by themselves, from one concept and one of the starts that
  all of a prompt share, each as likely. The label is the most likely symbol
  after the query to whom knows both (Xie et al. 2022, 2111.02080, section 4).

  Args:
    examples: int [b, n, k].
    query: int [b, k - 1].
    starts: P(first state) of each start, [g, s].
    transitions: P(next | state) of each concept, [c, s, s].
    emission: P(symbol | state), [s, v].

  Returns:
    place i of n + 1 is by the last i examples.
  """
  b, n, k = examples.shape
  count, states = transitions.shape[:2]
  flat = examples.reshape(b * n, k)
  later = np.ones((count, b * n, states))
  for t in range(k - 1, -1, -1):  # what is to come, given the state
    later = emission[:, flat[:, t]].T * later
    if t:
      later = later @ transitions.transpose(0, 2, 1)
  with np.errstate(divide='ignore'):
    log = np.log(later @ starts.T).reshape(count, b, n, len(starts))
  summed = log[:, :, ::-1].cumsum(2)
  summed = np.concatenate([np.zeros_like(log[:, :, :1]), summed], 2)
  now = np.broadcast_to(starts[:, None], (count, len(starts), b, states))
  for symbols in query.T:
    now = (now * emission[:, symbols].T) @ transitions[:, None]
  own = now @ emission  # [c, g, b, v], times P(query)
  with np.errstate(divide='ignore'):
    summed = summed + np.log(own.sum(-1)).transpose(0, 2, 1)[:, :, None]
  weights = special.softmax(
    summed.transpose(1, 2, 0, 3).reshape(b, n + 1, -1), -1
  )
  labels = own.argmax(-1).transpose(2, 0, 1).reshape(b, -1)
  return np.einsum('bnw,bwv->bnv', weights, np.eye(own.shape[-1])[labels])
