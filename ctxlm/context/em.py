"""Weights by expectation maximization on a held-out text.

Deleted interpolation (Jelinek & Mercer 1980): with what each source says of the
tokens of a text that none has learned from, p_k(x_t), the likelihood of

    sum_k w_k p_k(x_t)

rises in each step to w_k = mean over t of w_k p_k(x_t) / sum_j w_j p_j(x_t). It
is concave in w, so there is one best value.
"""

import numpy as np

STEPS = 1000  # at most
ENOUGH = 1e-9  # nats a token by which a step may still better it


def fit(logps, steps=STEPS):
  """Returns (weights float64 [K], nats a token).

  Args:
    logps: [t, K], log p_k of each token.
    steps: at most.

  >>> weights, nats = fit(np.log([[0.5, 0.1], [0.5, 0.1]]))
  >>> weights.round(3).tolist(), float(nats.round(3))
  ([1.0, 0.0], 0.693)
  """
  logps = np.asarray(logps, np.float64)
  most = logps.max(axis=1, keepdims=True)
  p = np.exp(logps - most)
  w, before = np.full(p.shape[1], 1 / p.shape[1]), np.inf
  for _ in range(steps):
    joint = p * w
    total = joint.sum(axis=1, keepdims=True)
    nats = -(np.log(total) + most).mean()
    if before - nats < ENOUGH:
      break
    w, before = (joint / total).mean(axis=0), nats
  return w, nats
