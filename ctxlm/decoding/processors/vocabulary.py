"""Tokens of a config, by id or by name."""


def several(value):
  """Returns a tuple of what may be one text or id, or some of them.

  >>> several('the'), several((3, 4))
  (('the',), (3, 4))
  """
  return (value,) if isinstance(value, str | int) else tuple(value)


def token(value, tokenizer, vocab_size):
  """Returns the id of a token given by id or as the vocabulary has it.

  Raises:
    ValueError: there is no such token.
  """
  if isinstance(value, str):
    token_id = tokenizer.token_id(value) if tokenizer else None
    if token_id is None:
      raise ValueError(f'the vocabulary has no token {value!r}')
    return token_id
  if not isinstance(value, int) or not 0 <= value < vocab_size:
    raise ValueError(
      f'the vocabulary has no token {value!r}: ids are 0 to {vocab_size - 1}'
    )
  return value


def sequence(value, tokenizer, vocab_size):
  """Returns the ids, a tuple, of a text or of a sequence of ids.

  Raises:
    ValueError: it is empty, or has an unknown id.
  """
  if isinstance(value, str):
    if tokenizer is None:
      raise ValueError(f'{value!r} needs a tokenizer; give token ids')
    value = tokenizer.encode(value)
  elif isinstance(value, int):
    value = (value,)
  ids = tuple(token(x, None, vocab_size) for x in value)
  if not ids:
    raise ValueError('a sequence of no tokens')
  return ids
