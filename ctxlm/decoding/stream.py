"""A text as it is written: what of it is certain, piece by piece."""


def clean(generator, tokens):
  """Returns the text of new tokens, what stops it cut off."""
  text = generator.tokenizer.decode(tokens)
  ends = [text.find(s) for s in generator.config.stop if s in text]
  return text[: min(ends)] if ends else text


def pieces(generator, prompt, first=0):
  """Yields the text that follows a prompt, as it is written.

  Half of a character waits for the other, and what may be the beginning of a
  stop string waits until it is clear what follows.

  Args:
    generator: ctxlm.decoding.generator.Generator with a tokenizer.
    prompt: token ids.
    first: the prompt's number among all; randomness is of it.
  """
  held = max(map(len, generator.config.stop), default=1) - 1
  tokens, shown = [], 0
  for new in generator.stream(prompt, first):
    tokens += new
    text = clean(generator, tokens)
    text = text[: max(len(text) - held, 0)].rstrip('\ufffd')
    yield text[shown:]
    shown = max(shown, len(text))
  yield clean(generator, tokens)[shown:]


def show(parts):
  """Prints the pieces of a text as they come; returns the text."""
  text = ''
  for part in parts:
    print(part, end='', flush=True)
    text += part
  print()
  return text
