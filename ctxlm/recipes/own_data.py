"""The user's own files in place of a recipe's data, as `--data` names them."""

import glob
import os

import ml_collections

from ctxlm.errors import UserError

SPLITS = ('train', 'validation', 'test')
FIELDS = {1: ('text',), 2: ('text_a', 'text_b')}
FIELDS[3] = (*FIELDS[2], 'negative')
OF_FIELDS = {'columns', 'line', 'format', 'split_by'}


def with_each(config, texts, whole=False):
  """Lets tasks learn from local files, each as `with_data` has it.

  Raises:
    UserError: as there; or a task is named twice.
  """
  done = set()
  for text in texts:
    task = _task(config, text)[0]
    if task in done:
      raise UserError(
        f'--data is said twice of the task {task!r}: name all its files at '
        "once, by a folder or by a pattern in quotes, such as 'books/*.txt'"
      )
    done.add(task)
    with_data(config, text, whole)
  return config


def with_data(config, text, whole=False):
  """Lets a task learn from local files, as `--data [TASK=]FILES[:FIELDS]` says.

  How text is cut into records stays as the recipe has it, where there is one.

  Args:
    config: see overrides.apply.
    text: a file, a pattern or a folder, all of whose files are meant; behind a
      colon the field of the text, or of a pair, or of a triple: 'a.tsv:q,a';
      or any, with what the objective calls them: 'a.csv:text=q,label=kind'.
      TASK= may be left out where there is one task.
    whole: whether each split is all of the files, and not a part.

  Returns:
    The config.

  Raises:
    UserError: no such task, or it is not said which.

  >>> from ctxlm import config as config_lib
  >>> c = config_lib.base()
  >>> c.tasks.text = {'data': {'name': 'corpus'}, 'objective': {'name': 'mlm'}}
  >>> with_data(c, 'books/*.jsonl:body').tasks.text.data.to_dict()
  {'fields': {'text': 'body'}, 'name': 'files', 'pattern': 'books/*.jsonl'}
  """
  task, files = _task(config, text)
  files, fields = _split(files, f'--data {text}')
  old = config.tasks[task].data
  # Where the files are others, their format and its options may be the same.
  same = old.get('name') == 'files'
  dropped = {'pattern', 'split_patterns', 'aligned', *fields}
  # Who names fields has them from the files, not from where the recipe has.
  dropped |= OF_FIELDS if fields else set()
  if 'text' not in fields.get('fields', {'text': ''}):
    dropped.add('unit')  # which is of one text
  kept = {
    key: value
    for key, value in old.items()
    if key not in dropped and (same or key == 'unit')
  }
  pattern = _pattern(files)
  place = {'pattern': pattern}
  if whole:
    place = {'split_patterns': dict.fromkeys(SPLITS, pattern)}
    kept.pop('split_by', None)
  block = {'name': 'files'} | place | fields | kept
  with config.unlocked():
    config.tasks[task].data = ml_collections.ConfigDict(block)
  return config


def _task(config, text):
  """Returns (the task's name, FILES[:FIELDS]) of [TASK=]FILES[:FIELDS]."""
  if not text:
    raise UserError('--data is empty: name files')
  names = list(config.tasks)
  task, ends, files = text.partition('=')
  if not ends or not (task.isidentifier() or task in names):
    task, files = names[0] if len(names) == 1 else '', text
  if task not in names:
    known = f'the tasks are {", ".join(names)}: --data {names[0]}={files}'
    raise UserError(f'--data {text}: of which task? {known}')
  return task, files


def _split(text, said):
  """Returns (files, {'fields': {name: field}} or {}) of FILES[:FIELDS]."""
  files, colon, fields = text.rpartition(':')
  if not colon or '/' in fields or os.path.exists(os.path.expanduser(text)):
    return text, {}
  words = [word.strip() for word in fields.split(',')]
  if '=' in fields:
    pairs = [word.partition('=') for word in words]
    named = {name.strip(): field.strip() for name, _, field in pairs}
  else:
    named = dict(zip(FIELDS.get(len(words), ()), words))
  whole = all(named) and all(named.values()) and len(named) == len(words)
  if not files or not whole:
    raise UserError(
      f'{said}: behind the colon is a field, or two of a pair, or three '
      'of a triple with its negative, FILE:FIELD,FIELD; or any that have '
      'names, FILE:text=FIELD,label=FIELD'
    )
  return files, {'fields': named}


def _pattern(files):
  path = os.path.expanduser(files)
  if os.path.isdir(path):
    return os.path.join(glob.escape(path), '**', '*')
  return glob.escape(files) if os.path.exists(path) else files
