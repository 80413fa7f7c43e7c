"""How a model's own files join the turns of a dialogue: a Jinja template.

It stands in chat_template.jinja, or in tokenizer_config.json, whose
'chat_template' is a text, or a list of {'name', 'template'} of which that named
'default' is meant.
"""

import functools
import json
import subprocess
import sys
import weakref
from pathlib import Path

from ctxlm import files
from ctxlm.data.tokenizers import gguf, renderer
from ctxlm.errors import UserError

FILE = 'chat_template.jinja'
MOST = 2**20  # characters of a template


def read(path):
  """Returns the template in a tokenizer's folder, or GGUF file, or None.

  Raises:
    UserError: it is none, or too long.
  """
  if path.suffix == '.gguf':
    return gguf.chat_template(path)
  folder = path if path.is_dir() else path.parent
  path = folder / FILE
  if path.is_file():
    files.inside(folder, FILE)
    if path.stat().st_size > MOST:
      raise UserError(f'{path} is too large to be a template')
    try:
      return path.read_text(encoding='utf-8')
    except UnicodeDecodeError as e:
      raise UserError(f'{path} is not UTF-8') from e
  path = folder / 'tokenizer_config.json'
  found = files.read_json(path).get('chat_template') if path.is_file() else None
  if isinstance(found, list):
    named = {
      one.get('name'): one.get('template')
      for one in found
      if isinstance(one, dict)
    }
    found = named.get('default')
  if (
    found is not None and not isinstance(found, str) or len(found or '') > MOST
  ):
    raise UserError(f'{path}: chat_template is no text that is a template')
  return found


class Template:
  """Messages to text, in another process that is ended if it goes on."""

  def __init__(self, source, tokens):
    """Takes the template, and {'bos_token': text, ...} that it may name."""
    self._source, self._tokens = source, tokens
    self._process = None

  def __call__(self, messages, going_on=False):
    """Returns the text of a dialogue.

    Args:
      messages: [{'role', 'content'}].
      going_on: whether the beginning of an answer is to stand at its end.

    Returns:
      (text, [[first, end]] of its characters in {% generation %} tags).

    Raises:
      UserError: the template fails, refuses the dialogue, or takes too long.
    """
    if self._process is None:
      self._start()
    given = {'messages': messages, 'add_generation_prompt': going_on}
    answer = self._ask(self._tokens | given)
    return answer['text'], answer['spans']

  def _start(self):
    self._process = subprocess.Popen(
      [sys.executable, '-P', str(Path(renderer.__file__).resolve())],
      stdin=subprocess.PIPE,
      stdout=subprocess.PIPE,
      text=True,
      encoding='utf-8',
      cwd='/',
    )
    weakref.finalize(self, _end, self._process)
    self._ask(self._source)

  def _ask(self, content):
    try:
      print(json.dumps(content), file=self._process.stdin, flush=True)
      line = self._process.stdout.readline()
    except BrokenPipeError:
      line = ''
    answer = json.loads(line) if line else {}
    if 'text' not in answer:
      process, self._process = self._process, None
      _end(process)
      said = answer.get(
        'error',
        f'it takes more than {renderer.SECONDS:.0f} s or '
        f'{renderer.MEMORY >> 20} MB',
      )
      raise UserError(f'the chat template fails: {said}')
    return answer


def _end(process):
  process.kill()
  process.wait()
  process.stdin.close()
  process.stdout.close()


@functools.lru_cache(maxsize=8)
def opened(source, tokens):
  """Returns the Template of a source; the same one keeps its process.

  Args:
    source: str.
    tokens: tuple of (name, text), see Template.
  """
  return Template(source, dict(tokens))
