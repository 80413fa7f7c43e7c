"""What a record is: its fields, and the unit of text that it holds."""

from ctxlm import files
from ctxlm.data.sources import paths, sentences
from ctxlm.data.sources.records import Store, Writer
from ctxlm.errors import UserError

SOME = 64  # records of a fingerprint
UNITS = ('document', 'paragraph', 'sentence')
TEXTS = ('text', 'text_a', 'text_b', 'negative')  # fields that models read
ASKED = ('question', 'context', 'prompt', 'completion')  # and these
PARTED = ('turns', 'messages', 'tokens', 'choices')  # and lists of texts


def key(unit):
  """Returns what of the cutting into units belongs into a fingerprint."""
  return (unit,) if unit == 'document' else (unit, sentences.VERSION)


def choose(records, fields, unit, fingerprint):
  """Returns records with `fields` chosen, cut into units.

  Args:
    records: random access.
    fields: {new name: path}, see ctxlm.data.sources.paths; None is all as they
      are.
    unit: see `UNITS`; below 'document', records are {'text', 'document'}.
    fingerprint: hash of all of these, the cache's key.

  Raises:
    UserError: no records, or a field that they lack.
  """
  if not len(records):
    raise UserError('the data has no records: is the file or split empty?')
  if fields:
    records = Fields(records, fields)
    if paths.starred(fields):
      records = _stored('leaves', fingerprint, records.leaves())
    else:
      records[0]
  if unit == 'document':
    return records
  return _stored('units', fingerprint, _cut(records, unit))


def _stored(kind, fingerprint, made):
  def build(folder):
    writer = Writer(folder)
    for record in made:
      writer.add(record)
    writer.close()

  return Store(files.folder(kind, fingerprint, build))


class Fields:
  """Records with their fields renamed and chosen: {new name: path}."""

  def __init__(self, base, fields):
    self.base, self.fields = base, dict(fields)

  def __len__(self):
    return len(self.base)

  def __getitem__(self, i):
    return next(self._leaves(i))

  def leaves(self):
    """Yields the records of all items, where paths have '*'."""
    for i in range(len(self)):
      yield from self._leaves(i)

  def _leaves(self, i):
    record = self.base[i]
    check_one_text(record, self.fields.values(), i)
    return paths.leaves(record, self.fields, which(i))


def which(number):
  """Returns what a message calls the `number`-th record."""
  return 'the data' if number == 0 else f'record {number} of the data'


def check_one_text(record, names, number):
  """Raises UserError if 'text' is one of `names` and the record has pairs."""
  if 'text' in names and 'text' not in record and 'text_a' in record:
    raise UserError(
      f'{which(number)} has pairs, text_a and text_b, and one text is to be '
      "read: say which in config.tasks.NAME.data.fields={'text': FIELD}, or "
      'take an objective of pairs: contrastive with fields=2, or seq2seq'
    )


def check_fields(record, names, number):
  """Raises UserError if a record, the `number`-th, lacks one of the fields."""
  check_one_text(record, names, number)
  for name in names:
    if name not in record:
      how = f'Set config.tasks.NAME.data.fields, or --data FILE:{name}=FIELD'
      if 'messages' in record or 'turns' in record:
        how = 'For dialogues set config.tasks.NAME.objective.kind=dialogue'
      raise UserError(f'{which(number)} {paths.lacks(name, record)} {how}')


def read(record, names, others):
  """Returns the values of the fields that an objective reads.

  Args:
    record: mapping.
    names: of the fields.
    others: {names: what to set so that these are read in their place}.

  Raises:
    UserError: the record lacks one, or it is no text; says which setting
      suits it.
  """
  if not all(name in record for name in names):
    cures = [
      f'set config.tasks.NAME.objective.{how}, or '
      for own, how in others.items()
      if record.keys() >= set(own)
    ]
    raise UserError(
      f'the objective reads {", ".join(names)}, and the data has '
      f'{", ".join(sorted(record))}: {"".join(cures[-1:])}name them in '
      'config.tasks.NAME.data.fields'
    )
  values = [record[name] for name in names]
  for name, value in zip(names, values, strict=True):
    if not isinstance(value, str):
      raise UserError(
        f'the field {name!r} of a record is no text but '
        f'{type(value).__name__}; of a list, "FIELD.0" is the first, and '
        '"FIELD.+" joins all: set them in config.tasks.NAME.data.fields'
      )
  return values


def texts(records):
  """Yields (number, text) of the records that have more than space.

  Raises:
    UserError: a record without 'text', or whose 'text' is none.
  """
  for i in range(len(records)):
    record = records[i]
    check_fields(record, ['text'], i)
    text = record['text']
    if not isinstance(text, str):
      raise UserError(
        f"the field 'text' of record {i} is no text but {type(text).__name__}"
      )
    if text.strip():
      yield i, text


def sample(records):
  """Returns the texts of some records, evenly spaced, for a fingerprint.

  To read all would take hours for large data.
  """
  n = len(records)
  places = {i * (n - 1) // (SOME - 1) for i in range(SOME)} if n else ()
  return [repr(records[i]) for i in sorted(places)]


def every_text(records):
  """Yields every text that records train on, of dialogues each turn's."""
  for i in range(len(records)):
    record = records[i]
    found = [record.get(name) for name in (*TEXTS, *ASKED)]
    found += _list(record.get('turns'))
    found += [
      turn.get('content')
      for turn in _list(record.get('messages'))
      if isinstance(turn, dict)
    ]
    yield from (text for text in found if isinstance(text, str))
    for name in ('tokens', 'choices'):
      words = _list(record.get(name))
      if words:
        yield ' '.join(x for x in words if isinstance(x, str))


def _list(value):
  return value if isinstance(value, (list, tuple)) else []


def _cut(records, unit):
  cut = sentences.split if unit == 'sentence' else files.split_lines
  for i, document in texts(records):
    for text in cut(document):
      if text.strip():
        yield {'text': text.strip(), 'document': i}
