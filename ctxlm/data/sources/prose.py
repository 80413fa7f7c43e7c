"""English prose out of CPython: help topics and docstrings, cleaned.

Code is only parsed, never imported or run. What is kept are whole paragraphs
of sentences; signatures, code, tables, headings and doctests are not prose.
"""

import ast
import inspect
import re
import sysconfig
import warnings
from pathlib import Path

from ctxlm import files

# Tests hold few docstrings of use; site-packages and what is bundled with
# ensurepip or lib2to3 are not this Python's own.
SKIPPED = {
  'test', 'tests', 'idle_test', 'site-packages', 'dist-packages',
  '__pycache__', '_bundled', 'pydoc_data', 'lib2to3', '__phello__',
  'encodings',  # a hundred modules with the same words
}  # fmt: skip
MIN_WORDS = 5
_UNDERLINE = re.compile(r'^\s*([=\-*~^"\'#+.])\1{2,}\s*$')
_BULLET = re.compile(r'^\s*(?:[-*+•]|\(?\d{1,2}[.)]|\(?[a-z]\))\s+')
_ROLE = re.compile(r':[a-z:]+:`~?([^`]+)`')
_CODE = re.compile(r'[{}|=<>\\@$]|::|--|\(\)\s|\w\(\w*[,=]|\w_\w')


def documents():
  """Yields (name, text) in the order of names; text is paragraphs by '\\n'.

  A paragraph that occurred before is left out, so that none is in two splits.
  """
  seen = set()
  for name, pieces in sorted(_raw()):
    kept = []
    for piece in pieces:
      for paragraph in paragraphs(piece):
        if paragraph not in seen:
          seen.add(paragraph)
          kept.append(paragraph)
    if kept:
      yield name, '\n'.join(kept)


def _raw():
  yield from _topics()
  yield from _docstrings()


def _topics():
  try:
    from pydoc_data.topics import topics
  except ImportError:  # some distributions put it in a package of its own
    return
  for name, text in topics.items():
    yield f'topic/{name}', [text]


def _docstrings():
  root = Path(sysconfig.get_path('stdlib'))
  for path in sorted(root.rglob('*.py')):
    relative = path.relative_to(root)
    if SKIPPED & set(relative.parts):
      continue
    try:
      with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError, OSError):
      continue
    name = '.'.join(relative.with_suffix('').parts)
    docstrings = [ast.get_docstring(n) for n in _definitions(tree)]
    yield (
      f'module/{name.removesuffix(".__init__")}',
      [d for d in docstrings if d],
    )


def _definitions(tree):
  # Statements only: a walk over every expression would take twice as long.
  yield tree
  for node in ast.iter_child_nodes(tree):
    if isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
      yield from _definitions(node)


def paragraphs(text):
  """Returns the prose paragraphs of a docstring or help topic, one line each.

  Lines are joined, a list's items are paragraphs of their own, and
  reStructuredText's marks are taken off.
  """
  blocks, lines, indent = [], [], 0
  for line in [*files.split_lines(inspect.cleandoc(text)), '']:
    stripped = line.strip()
    width = len(line) - len(line.lstrip())
    bullet = _BULLET.match(line)
    if not stripped or bullet or _UNDERLINE.match(line):
      if lines and not _UNDERLINE.match(line):
        blocks.append((' '.join(lines), indent))
      lines = []
    if not stripped or _UNDERLINE.match(line):
      continue
    if lines and width != indent and not lines[-1][-1].isalnum():
      # Deeper or shallower text after a closed line is another block.
      blocks.append((' '.join(lines), indent))
      lines = []
    if bullet:
      stripped = line[bullet.end() :].strip()
      width = bullet.end()
    if not lines:
      indent = width
    if stripped:
      lines.append(stripped)
  cleaned = (_clean(p) for p, _ in blocks)
  return [p for p in cleaned if _is_prose(p)]


def _clean(text):
  text = _ROLE.sub(r'\1', text)
  text = text.replace('``', '"').replace('`', '"')
  text = re.sub(r'\*\*?(\w[^*]*)\*\*?', r'\1', text)
  text = re.sub(r'\s+\[\d+\]', '', text)
  text = re.sub(r'::$', ':', text)
  text = ''.join(c if c.isprintable() else ' ' for c in text)
  return ' '.join(text.split())


def _is_prose(text):
  words = text.split()
  if len(words) < MIN_WORDS or '>>>' in text or text[-1] not in '.!?:")':
    return False
  if not (text[0].isalpha() or text[0] in '"('):
    return False
  plain = sum(w.strip('.,;:!?"()').replace("'", '').isalpha() for w in words)
  code = len(_CODE.findall(text))
  return plain >= 0.7 * len(words) and code <= 0.12 * len(words)
