"""A gate: the weights of a model and its contexts, by the model's state.

    w_k(h) = softmax_k(W h + b)

It is trained with the loss of the mixture, as the weight of a pointer is in
Merity et al. 2017 (arXiv:1609.07843, section 2.2), and begins as the weights
that the contexts have: W = 0 and b_k = log w_k.
"""

import jax
import jax.numpy as jnp

from ctxlm import context
from ctxlm.models import adapters

NAME = 'gate'


def begin(bound, scope, width, contexts):
  """Makes the parameters, SCOPE/gate/kernel [m, K] and bias [K].

  Args:
    bound: the model, bound, while it is initialised.
    scope: of the contexts' parameters.
    width: m.
    contexts: the K - 1 beside the model.
  """
  bias = jnp.log(jnp.maximum(context.weights(contexts), 1e-6))
  shape = width, len(bias)
  scope = f'{scope}/{NAME}'
  adapters.param(bound, scope, 'kernel', adapters.zeros, shape)
  adapters.param(bound, scope, 'bias', lambda *_: bias, bias.shape)


def weights(params, hidden):
  """Returns float32 [n, t, K], which sum to 1, of hidden [n, t, m]."""
  logits = hidden.astype(jnp.float32) @ params['kernel'] + params['bias']
  return jax.nn.softmax(logits)
