"""Dialogues that a model answers: as prompts, and kept in a file."""

import json
from pathlib import Path

from ctxlm import files
from ctxlm.data import dialogues
from ctxlm.errors import UserError, note
from ctxlm.inference import outputs
from ctxlm.parallel import locks


def prompter(join, generator, systems=True):
  """Returns prompt(turns): the ids that the answer to some turns follows.

  What with the answer is longer than the model sees loses its oldest turns,
  whole, and never the system's; that is said, once. A last turn of the
  assistant's is not answered but goes on.

  Args:
    join: how turns become ids, see ctxlm.data.dialogues.of.
    generator: ctxlm.decoding.generator.Generator.
    systems: whether a turn may be the system's.

  Raises:
    UserError: of the prompt: the template fails, turns that are none, or
      newest ones that have no room.
  """

  def prompt(turns):
    turns, _ = dialogues.messages({'messages': turns})
    if generator.encoder_decoder:
      raise UserError(
        'a dialogue needs a decoder alone, which reads its own turns'
      )
    dialogues.check_asks(turns)
    if not systems and any(turn['role'] == 'system' for turn in turns):
      raise UserError(
        "a system's turn needs a chat template: put chat_template.jinja into "
        "the model's folder"
      )
    goes_on, room = turns[-1]['role'] == 'assistant', generator.room
    ids = join.prompt(turns, None, goes_on)
    if room is not None and len(ids) > room:
      ids = join.prompt(turns, room, goes_on)
      note(
        'the oldest turns are left out: with an answer of max_new_tokens='
        f'{generator.config.max_new_tokens} the model sees '
        f'{generator.context_length} tokens'
      )
    generator.check(ids)
    return ids

  return prompt


def with_system(turns, text):
  """Returns the turns, the first of which is the system's.

  Raises:
    UserError: they begin otherwise.
  """
  first = {'role': 'system', 'content': text}
  if turns and turns[0] != first:
    raise UserError('--system is not how the dialogue of --save begins')
  return turns or [first]


class Kept:
  """A file of one dialogue, a line {"messages": [...]}, held while it grows.

  It is whole after every turn; `ctxlm generate --input` and training read it.

  Attributes:
    turns: what is there.
  """

  def __init__(self, path):
    """Opens FILE.jsonl, which need not be there.

    Raises:
      UserError: it holds something else, or is another process's.
    """
    self._path = path = Path(path)
    if path.suffix != '.jsonl' or not path.resolve().parent.is_dir():
      raise UserError(f'--save {path}: name a FILE.jsonl in a folder that is')
    self._lock = locks.Lock.of_output(path)
    self._row = {'messages': []}
    try:
      if path.exists():
        self._row = self._read()
    except UserError:
      self.close()
      raise

  def _read(self):
    found = list(files.lines(self._path))
    try:
      (line,) = found
      row = json.loads(line)
      dialogues.messages({'messages': row['messages']})
    except (ValueError, TypeError, KeyError, RecursionError, UserError) as e:
      said = e if isinstance(e, UserError) else 'one line {"messages": [...]}'
      raise UserError(
        f'--save {self._path} holds no dialogue that can go on: {said}'
      ) from e
    return row

  @property
  def turns(self):
    """[{'role', 'content'}]."""
    return self._row['messages']

  def keep(self, turns):
    """Writes what was said so far."""
    self._row['messages'] = turns
    files.write_text(self._path, outputs.line(self._row))

  def close(self):
    """Lets others have the file."""
    self._lock.close()
