"""What a model answers for records: by a head, or the text that it writes."""

import dataclasses

import jax

from ctxlm import files, objectives, plugins
from ctxlm.data.sources import file_formats
from ctxlm.data.sources import files as files_source
from ctxlm.decoding import FILTERS, build, stream
from ctxlm.errors import UserError, note
from ctxlm.families import hub
from ctxlm.inference import lines, loading, outputs, writing
from ctxlm.models.variables import make_apply
from ctxlm.objectives import span
from ctxlm.parallel import pmap as pmap_lib
from ctxlm.parallel import rows as rows_lib

TABLES = ('jsonl', 'json', 'csv', 'tsv', 'parquet')  # endings


class Predictor:
  """Records to answers, on all devices.

  Attributes:
    task: block of the objective whose head answers.
    objective: ctxlm.objectives.Answers, built of it.
    settings: what its answers hang on, as JSON.
  """

  def __init__(self, loaded, placement, max_length=0, batch_size=32):
    """Settles how.

    Args:
      loaded: loading.Loaded of a head, its parameters placed by `placement`.
      placement: parallel.Pmap or Mesh.
      max_length: tokens of a row; 0 is what was trained on, or the model's.
      batch_size: rows, made a multiple of the devices.

    Raises:
      UserError: the folder has no tokenizer.
    """
    loading.need_tokenizer(loaded)
    self.task = loaded.task
    self.objective = plugins.build(
      'objectives',
      self.task,
      tokenizer=loaded.tokenizer,
      max_length=_longest(loaded, max_length),
    )
    if not isinstance(self.objective, objectives.Answers):
      raise UserError(f'{loaded.folder}: its task {self.task} answers nothing')
    self.settings = _settings(loaded, self.objective)
    self._fields = _fields(loaded, self.objective)
    self._params, apply = loaded.params, make_apply(loaded.model)

    def function(params, batch):
      return apply(params, lambda m: self.objective.outputs(m, batch))

    most = self.objective.max_length
    self._rows = rows_lib.Rows(
      placement, function, batch_size, lambda n: min(rows_lib.multiple(n), most)
    )

  def check(self, record):
    """Raises UserError for a record that can't be asked about."""
    self.objective.ask(_named(record, self._fields))

  def __call__(self, records, first=0):
    """Returns the answer for each record, a dict as JSON has it.

    Args:
      records: list of dicts, with the fields that the objective reads.
      first: the first one's number, which a head's answers don't hang on.
    """
    del first
    records = [_named(record, self._fields) for record in records]
    asked = [self.objective.ask(record) for record in records]
    self._say_full(asked)
    rows = [row for own in asked for row in own]
    given = iter(self._rows(self._params, rows))
    return [
      self.objective.answer(record, [next(given) for _ in own])
      for record, own in zip(records, asked)
    ]

  def _say_full(self, asked):
    most = self.objective.max_length
    if isinstance(self.objective, span.Objective):
      return  # of a long text it reads windows
    full = sum(any(len(row['tokens']) >= most for row in own) for own in asked)
    if full:
      note(
        f'{full:,} of {len(asked):,} records fill max_length={most} tokens: '
        'what is longer is cut'
      )


class Writing:
  """Records to the texts that the model writes; as Predictor.

  An answer is {'text'}: a translation, a summary, a completion or a reply.
  """

  def __init__(self, loaded, placement, config, max_length=0, batch_size=32):
    """Settles how.

    Args:
      loaded, placement, max_length, batch_size: as of Predictor.
      config: decoding config, see ctxlm.decoding.unsaid; without a strategy it
        is that of a Hugging Face folder, or else greedy, or sample where one
        of decoding.FILTERS is there.

    Raises:
      UserError: the model writes nothing.
    """
    loading.need_tokenizer(loaded)
    objective = writing.learned_by(loaded)
    if objective is None:
      raise UserError(
        f'{loaded.folder} has no head that answers, and writes no text: train '
        'one with an objective such as classification or seq2seq'
      )
    longest = _longest(loaded, max_length)
    objective = dataclasses.replace(objective, max_length=longest)
    if config.strategy is None and (loaded.run or loaded.small is None):
      asked = {block['name'] for block in config.processors}
      name = 'sample' if asked & {*FILTERS} else 'greedy'
      config.strategy = build.parse('decoding.strategies', name)
    self.objective = objective
    self._fields = _fields(loaded, objective)
    self._generator, _ = writing.generator_of(loaded, config, placement)
    if self._generator.results > 1:
      raise UserError('predict gives one text for a record: leave num_best out')
    shards = placement.shards
    self._size = -(-batch_size // shards) * shards
    self.settings = _settings(loaded, objective)
    self.settings |= {'decoding': self._generator.config.to_dict()}

  def _ids(self, record):
    record = _named(record, self._fields)
    ids = self.objective.given(record, self._generator.room)
    self._generator.check(ids)
    return ids

  def check(self, record):
    """Raises UserError for a record that can't be asked about."""
    self._ids(record)

  def __call__(self, records, first=0):
    """Returns the answer for each record, a dict as JSON has it.

    Args:
      records: list of dicts, with the fields that the objective reads.
      first: the first one's number; what is drawn is of it.
    """
    prompts, found = list(map(self._ids, records)), []
    for start in range(0, len(prompts), self._size):
      part = prompts[start : start + self._size]
      for (one,) in self._generator(part, first + start, self._size):
        text = stream.clean(self._generator, one['tokens'])
        found.append({'text': text.strip()})
    return found


def _longest(loaded, asked):
  # Tokens of a row; 0 is what was trained on, or the model's, None any.
  limit = loaded.max_length
  if limit is not None and limit < asked:
    raise UserError(
      f'--max_length {asked} is more than the {limit} that the model takes'
    )
  return asked or limit


def _fields(loaded, objective):
  # {what an objective reads: the field of the run's own data}.
  for task in loaded.run.config.tasks.values() if loaded.run else ():
    if plugins.find('objectives', task.objective.name) is type(objective):
      return dict(task.data.get('fields') or {})
  return {}


def _named(record, fields):
  # A record of a file like the one that was trained on, by the names there.
  new = {
    name: record[field]
    for name, field in fields.items()
    if name not in record and field in record
  }
  return record | new


def _settings(loaded, objective):
  # What answers hang on, as JSON.
  return {
    'model': str(loaded.folder.resolve()),
    'step': loaded.run.step if loaded.run else None,
    'max_length': objective.max_length,
  }


def answers(predictor, texts, first=0):
  """Returns the answer for each line of text, see `of_line`."""
  return predictor(list(map(of_line, texts)), first)


def numbered(predictor, records):
  """Returns the answer for each record, or line of text, of a list.

  Raises:
    UserError: one that can't be asked about, said with its number from 0.
  """
  records = [of_line(r) if isinstance(r, str) else r for r in records]
  for i, record in enumerate(records):
    if not isinstance(record, dict):
      raise UserError(f'record {i} is no text and no dict: {record!r}')
    try:
      predictor.check(record)
    except UserError as e:
      raise UserError(f'record {i}: {e}') from e
  return predictor(records)


def open_predictor(folder, step='', max_length=0, batch_size=32, config=None):
  """Returns the Predictor of a folder of any kind, see loading.load.

  Args:
    folder, step: see loading.load.
    max_length, batch_size: see Predictor.
    config: see Writing; None is as the folder says.

  Raises:
    UserError: it answers nothing; or a config is given, and its head answers.
  """
  placement = pmap_lib.Pmap(jax.devices())
  loaded = loading.load(hub.find(folder), placement, step)
  return of_loaded(loaded, placement, max_length, batch_size, config)


def of_loaded(loaded, placement, max_length=0, batch_size=32, config=None):
  """Returns the Predictor, or the Writing, of a loading.Loaded.

  Args and Raises: as of `open_predictor`.
  """
  if loaded.task is None:
    config = build.config_of({}) if config is None else config
    return Writing(loaded, placement, config, max_length, batch_size)
  if config is not None:
    raise UserError(
      f'{loaded.folder} answers by a head, and writes no text: leave out how '
      'text is written'
    )
  return Predictor(loaded, placement, max_length, batch_size)


def read(path):
  """Returns the records of a file.

  Of TABLES they have the file's fields; of any other file see `of_line`.

  Raises:
    UserError: no such file, or one that can't be read, or an empty one.
  """
  ending = files.ending(path)[1:].lower()
  if ending in TABLES:
    source = files_source.Source(pattern=str(path))
    try:
      rows = file_formats.FORMATS[ending](path, source)
      records = [record for _, record in rows]
    except UserError as e:
      raise UserError(f'--input {e}') from e
  else:
    records = list(map(of_line, lines.read(path)))
  if not records:
    raise UserError(f'{lines.named(path)} is empty')
  return records


def of_line(line):
  """Returns the record of a line: a text, or two with a tab between."""
  first, tab, second = line.partition('\t')
  return {'text_a': first, 'text_b': second} if tab else {'text': line}


def each(predictor, source=None):
  """Yields (record, its answer) of a file, or of lines of standard input.

  Raises:
    UserError: a record that can't be asked about, said with its number.
  """
  done = 0

  def answer(texts):
    nonlocal done
    found = answers(predictor, texts, done)
    done += len(texts)
    return found

  if source is None:
    for text, one in lines.answers(None, answer):
      yield of_line(text), one
    return
  records = _checked(predictor, source)
  for first in range(0, len(records), lines.TOGETHER):
    part = records[first : first + lines.TOGETHER]
    yield from zip(part, predictor(part, first), strict=True)


def write_all(predictor, source, path, batch_size):
  """Writes a line for each record: the record, and its "answer".

  Args:
    predictor: Predictor.
    source: file of the records, see `read`.
    path: jsonl to write, or to go on with.
    batch_size: records at a time.

  Raises:
    UserError: a record that can't be asked about, or another's file.
  """
  records = _checked(predictor, source)

  def answer(first, last):
    return [{'answer': one} for one in predictor(records[first:last], first)]

  outputs.write_all(
    answer,
    records,
    path,
    batch_size,
    predictor.settings,
    _asked,
    word='record',
    names=('answer',),
  )


def _checked(predictor, source):
  records = read(source)
  for i, record in enumerate(records, 1):
    try:
      predictor.check(record)
    except UserError as e:
      raise UserError(f'{lines.named(source)}, record {i}: {e}') from e
  return records


def _asked(row):
  return {name: value for name, value in row.items() if name != 'answer'}
