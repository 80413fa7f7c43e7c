"""What a model's head answers for records: classes, scores, tags."""

import functools

import jax

from ctxlm import files, objectives, plugins
from ctxlm.data.sources import file_formats
from ctxlm.data.sources import files as files_source
from ctxlm.errors import UserError
from ctxlm.families import hub
from ctxlm.inference import lines, loading, outputs
from ctxlm.models.variables import make_apply
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
      loaded: loading.Loaded, its parameters placed by `placement`.
      placement: parallel.Pmap or Mesh.
      max_length: tokens of a row; 0 is what was trained on, or the model's.
      batch_size: rows, made a multiple of the devices.

    Raises:
      UserError: the folder has no head that answers, or no tokenizer.
    """
    loading.need_tokenizer(loaded)
    self.task = loaded.task
    if not self.task:
      raise UserError(
        f'{loaded.folder} has no head that answers: train one with an '
        'objective such as classification'
      )
    limit = loaded.max_length
    if limit < max_length:
      raise UserError(
        f'--max_length {max_length} is more than the {limit} that the model '
        'takes'
      )
    self.objective = plugins.build(
      'objectives',
      self.task,
      tokenizer=loaded.tokenizer,
      max_length=max_length or limit,
    )
    if not isinstance(self.objective, objectives.Answers):
      raise UserError(f'{loaded.folder}: its task {self.task} answers nothing')
    self.settings = {
      'model': str(loaded.folder.resolve()),
      'step': loaded.run.step if loaded.run else None,
      'max_length': self.objective.max_length,
    }
    self._params, apply = loaded.params, make_apply(loaded.model)

    def function(params, batch):
      return apply(params, lambda m: self.objective.outputs(m, batch))

    most = self.objective.max_length
    self._rows = rows_lib.Rows(
      placement, function, batch_size, lambda n: min(rows_lib.multiple(n), most)
    )

  def check(self, record):
    """Raises UserError for a record that can't be asked about."""
    self.objective.ask(record)

  def __call__(self, records):
    """Returns the answer for each record, a dict as JSON has it.

    Args:
      records: list of dicts, with the fields that the objective reads.
    """
    asked = [self.objective.ask(record) for record in records]
    rows = [row for own in asked for row in own]
    given = iter(self._rows(self._params, rows))
    return [
      self.objective.answer(record, [next(given) for _ in own])
      for record, own in zip(records, asked)
    ]


def answers(predictor, texts):
  """Returns the answer for each line of text, see `of_line`."""
  return predictor(list(map(of_line, texts)))


def open_predictor(folder, step='', max_length=0, batch_size=32):
  """Returns a Predictor of a folder of any kind, see loading.load."""
  placement = pmap_lib.Pmap(jax.devices())
  loaded = loading.load(hub.find(folder), placement, step)
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
  if source is None:
    answer = functools.partial(answers, predictor)
    for text, one in lines.answers(None, answer):
      yield of_line(text), one
    return
  records = _checked(predictor, source)
  for first in range(0, len(records), lines.TOGETHER):
    part = records[first : first + lines.TOGETHER]
    yield from zip(part, predictor(part), strict=True)


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
    return [{'answer': one} for one in predictor(records[first:last])]

  outputs.write_all(
    answer,
    records,
    path,
    batch_size,
    predictor.settings,
    _asked,
    word='record',
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
