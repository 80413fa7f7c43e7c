"""An example written as a text: 'Review: {text}\\nSentiment: {answer}'.

A name in braces is a field of the record, `{answer}` where the answer stands.
Behind a | stands what is made of a field first, one of FILTERS. A brace is
`{{` or `}}`.
"""

import dataclasses
import functools
import re
import reprlib
import string

from ctxlm.data.sources import paths
from ctxlm.errors import UserError

ANSWER = 'answer'
FILTERS = {
  'capitalize': str.capitalize,
  'last_word': lambda text: text.rpartition(' ')[2],
  'without_last_word': lambda text: text.rpartition(' ')[0],
}


@dataclasses.dataclass(frozen=True)
class Template:
  """A template, read.

  >>> one = Template('{a}? {answer}.', ((' +', ' '),))
  >>> one.fill({'a': 'Why   so'})
  ('Why so? ', '.')

  Attributes:
    text: as above.
    clean: (regular expression, what takes its place) pairs: what is done to
      the text before the answer, that behind it, and answers, in their order.
  """

  text: str
  clean: tuple = ()

  @functools.cached_property
  def parts(self):
    """[(text, field with its filter, or None)], in their order.

    Raises:
      ValueError: it can't be read, or has not one answer.
    """
    try:
      read = [(x, name) for x, name, *_ in _parsed(self.text)]
    except ValueError as e:
      raise ValueError(f'template={self.text!r}: {e}') from e
    if [name for _, name in read].count(ANSWER) != 1:
      raise ValueError(
        f'template={self.text!r} needs {{answer}} in one place, such as '
        "'Review: {text}\\nSentiment: {answer}'"
      )
    return read

  @property
  def fields(self):
    """The fields that it names, with their filters."""
    names = (name for _, name in self.parts if name not in (None, ANSWER))
    return tuple(dict.fromkeys(names))

  @property
  def ends(self):
    """Whether nothing stands behind the answer."""
    return self.parts[-1][1] == ANSWER

  def fill(self, record):
    """Returns the texts before and behind the answer.

    Raises:
      UserError: a field is not there, or is no text.
    """
    texts = ['']
    for text, name in self.parts:
      texts[-1] += text
      if name == ANSWER:
        texts.append('')
      elif name is not None:
        texts[-1] += self.read(record, name)
    return tuple(map(self.cleaned, texts))

  def read(self, record, name):
    """Returns a field's text; see `fill`."""
    return text_of(field(record, name), name)

  def answer(self, value, name):
    """Returns an option, or what is right, as it is asked for; see `fill`.

    Args:
      value: a text or a number.
      name: of the field that it is of, with its filter.
    """
    return self.cleaned(text_of(value, name)).strip()

  def cleaned(self, text):
    """Returns a text as `clean` leaves it."""
    for pattern, other in self.clean:
      text = re.sub(pattern, other, text)
    return text


def text_of(value, name):
  """Returns a value of a record as a text, filtered.

  Raises:
    UserError: it is none, and no number.
  """
  if isinstance(value, bool) or not isinstance(value, (str, int, float)):
    raise UserError(f'its field {name!r} is no text: {reprlib.repr(value)}')
  chosen = name.partition('|')[2]
  return FILTERS[chosen](str(value)) if chosen else str(value)


def field(record, name):
  """Returns a field's value; `name` may have a filter, which is not applied.

  Raises:
    UserError: it is not there; says which are.
  """
  name = name.partition('|')[0]
  if name not in record:
    raise UserError(f'it {paths.lacks(name, record)}')
  return record[name]


def check_name(name):
  """Raises ValueError if a field's name has a filter that isn't one."""
  own, bar, chosen = name.partition('|')
  if not own or bar and chosen not in FILTERS:
    known = ', '.join(FILTERS)
    raise ValueError(f'{name!r} is no field; behind | may stand {known}')


def check_pairs(pairs):
  """Raises ValueError unless `pairs` are what Template.clean is."""
  for pair in pairs:
    try:
      pattern, other = pair
      re.sub(pattern, other, '')
    except (TypeError, ValueError, re.error, RecursionError) as e:
      raise ValueError(
        f'clean: {reprlib.repr(pair)} is no (regular expression, text): {e}'
      ) from e


def _parsed(text):
  for part, name, spec, conversion in string.Formatter().parse(text):
    if name is not None:
      if spec or conversion:
        raise ValueError(f'{name!r} is to have no : and no !')
      check_name(name)
    yield part, name
