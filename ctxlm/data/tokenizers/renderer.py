"""Renders a chat template: a process of its own, whose time and memory end.

A template is a program of whoever wrote the folder. Jinja's sandbox keeps it
from Python, but not from going on for ever or filling the memory; so this file
is run by itself, by `chat_template`, with a line of JSON for each rendering.
It must import nothing of ctxlm.
"""

import contextlib
import json
import resource
import secrets
import signal
import sys

import jinja2
from jinja2 import ext, nodes, sandbox

MEMORY = 2**30  # bytes of this process
SECONDS = 10.0  # of a rendering
MOST = 2**24  # characters of what is rendered


class Generation(ext.Extension):
  """{% generation %} ... {% endgeneration %}: what the model is to write."""

  tags = {'generation'}

  def parse(self, parser):
    """Returns the block, its content between two marks."""
    line = next(parser.stream).lineno
    body = parser.parse_statements(('name:endgeneration',), drop_needle=True)
    call = self.call_method('_between')
    return nodes.CallBlock(call, [], [], body).set_lineno(line)

  def _between(self, caller):
    begin, end = self.environment.marks
    return f'{begin}{caller()}{end}'


def environment():
  """Returns what the reference renders templates in (transformers 5)."""
  own = sandbox.ImmutableSandboxedEnvironment(
    trim_blocks=True,
    lstrip_blocks=True,
    extensions=[Generation, ext.loopcontrols],
  )
  # Marks that no text has, since nobody knows them before.
  own.marks = tuple(f'\0{secrets.token_hex(8)}{c}' for c in '<>')

  class Namespace(jinja2.utils.Namespace):
    # Names that Python asks an object for are none to be set.
    def __init__(self, *args, **options):
      super().__init__()
      for name, value in dict(*args, **options).items():
        self[name] = value

    def __setitem__(self, name, value):
      if str(name).startswith('_'):
        raise sandbox.SecurityError(f'a namespace holds no {name!r}')
      super().__setitem__(name, value)

  def raise_exception(message):
    raise jinja2.TemplateError(message)

  def tojson(value, ensure_ascii=False, **options):
    return json.dumps(value, ensure_ascii=ensure_ascii, **options)

  own.filters['tojson'] = tojson
  # Not the reference's strftime_now: the same dialogue is always the same text.
  own.globals['raise_exception'] = raise_exception
  own.globals['namespace'] = Namespace
  return own


def cut(text, marks):
  """Returns (text without its marks, [[first, end] of what lay between])."""
  begin, end = marks
  parts, spans, size = [], [], 0
  for i, part in enumerate(text.split(begin)):
    inner, _, after = part.partition(end) if i else ('', '', part)
    if i:
      spans.append([size, size + len(inner)])
    parts += [inner, after]
    size += len(inner) + len(after)
  return ''.join(parts), spans


def render(own, template, given):
  """Returns what is answered to a line: 'text' and 'spans', or 'error'."""
  try:
    # What the reference gives where nobody says.
    given = {'tools': None, 'documents': None} | given
    text, spans = cut(template.render(given), own.marks)
    if len(text) > MOST:
      return {'error': f'it renders more than {MOST:,} characters'}
    text.encode()
  except MemoryError:
    return {'error': f'it takes more than {MEMORY >> 20} MB'}
  except Exception as e:  # a template may raise anything that Python does
    said = ' '.join(str(e).split())
    return {'error': f'{type(e).__name__}: {said}'[:300]}
  return {'text': text, 'spans': spans}


def main():
  """Answers the lines of standard input; the first one is the template."""
  with contextlib.suppress(ValueError, OSError):  # of a system without
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
  own, template = environment(), None
  for line in sys.stdin:
    signal.setitimer(signal.ITIMER_REAL, SECONDS)  # ends the process
    given = json.loads(line)
    if template is None:
      try:
        template, answer = own.from_string(given), {'text': '', 'spans': []}
      except Exception as e:
        answer = {'error': f'{type(e).__name__}: {e}'[:300]}
    else:
      answer = render(own, template, given)
    signal.setitimer(signal.ITIMER_REAL, 0)
    print(json.dumps(answer), flush=True)


if __name__ == '__main__':
  main()
