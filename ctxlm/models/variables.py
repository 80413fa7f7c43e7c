"""A model's variables: its parameters, and what else it may come to need."""


def variables(params, **collections):
  """Returns the variables with which a Flax module is applied.

  Args:
    params: its parameters.
    **collections: other Flax collections, such as `cache`.
  """
  return {'params': params, **collections}


def make_apply(model):
  """Returns `apply(params, fn, rng=None, mutable=False, **collections)`.

  It is `fn(bound_model)`. `rng` is the dropout key; None leaves the model
  deterministic. With `mutable=['intermediates']` it gives (output, what the
  layers have sown); see `variables` for the collections.
  """

  def apply(params, fn, rng=None, mutable=False, **collections):
    rngs = {} if rng is None else {'dropout': rng}
    own = variables(params, **collections)
    return model.apply(own, rngs=rngs, method=fn, mutable=mutable)

  return apply
