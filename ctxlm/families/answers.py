"""What a reference's head answers: its config.json, and an objective's block.

A folder with such a head says in config.json what its outputs mean
(`id2label`, `problem_type`); ours is the block of the objective that owns the
head, `heads/NAME`, kept with the model (Opened.task).
"""

from ctxlm import objectives, plugins
from ctxlm.errors import UserError, note

# Objectives with a head that a reference may have, under the same name.
NAMES = ('classification', 'tagging', 'multiple_choice', 'span')
POOLED = ('classification', 'multiple_choice')  # they read one vector
CLASSES = {
  'classification': 'ForSequenceClassification',
  'tagging': 'ForTokenClassification',
  'multiple_choice': 'ForMultipleChoice',
  'span': 'ForQuestionAnswering',
}
PROBLEMS = {  # objective.kind: config.json's problem_type
  'class': 'single_label_classification',
  'classes': 'multi_label_classification',
  'score': 'regression',
}


def read(settings, shapes, family):
  """Returns the block of the objective whose head a checkpoint has, or None.

  Args:
    settings: config.json.
    shapes: {path: shape} of its parameters, as ours.
    family: Family that it is of.

  Raises:
    UserError: the names of the classes are none, or not as many; or what the
      head reads isn't there.
  """
  # Other classes have a head of the same shape that means something else.
  said = next(iter(settings.get('architectures') or ()), CLASSES[NAMES[0]])
  for name in NAMES:
    kernel = shapes.get(f'heads/{name}/dense/kernel')
    if kernel is not None and said.endswith(CLASSES[name]):
      pooled = name in POOLED and family.pooling == 'pooled'
      if pooled and 'heads/pooler/dense/kernel' not in shapes:
        if not settings.get('architectures'):
          return None  # nothing says what the head is
        raise UserError(
          f'the checkpoint is a {said} and has no pooler, which its head reads'
        )
      options = READ[name](settings, kernel[-1])
      return None if options is None else {'name': name} | options
  return None


def _classification(settings, size):
  problem = settings.get('problem_type')
  kinds = {theirs: ours for ours, theirs in PROBLEMS.items()}
  if problem is not None and problem not in kinds:
    raise UserError(f'config.json: problem_type={problem!r} is not supported')
  # As its loss takes it where nothing is said.
  kind = kinds.get(problem, 'score' if size == 1 else 'class')
  if kind == 'score':
    if size > 1:
      note(f'config.json: a regression of {size} numbers answers nothing here')
      return None
    return {'kind': kind}
  return {'kind': kind, 'labels': _labels(settings, size)}


def _labels(settings, size):
  unnamed = {i: f'LABEL_{i}' for i in range(size)}  # as the reference has it
  names = settings.get('id2label') or unnamed
  try:
    names = {
      int(i): unnamed.get(int(i)) if name is None else str(name)
      for i, name in names.items()
    }
  except (AttributeError, ValueError) as e:
    raise UserError(f'config.json: id2label={names!r} names no classes') from e
  if sorted(names) != list(range(size)):
    raise UserError(
      f'config.json: id2label names {len(names)} classes, and the head has '
      f'{size}'
    )
  return [names[i] for i in range(size)]


def _tagging(settings, size):
  return {'labels': _labels(settings, size)}


def _span(settings, size):
  del settings  # whether there may be no answer it doesn't say
  if size != 2:
    raise UserError(
      f'the head of questions has {size} outputs, and not 2, the two ends of '
      'an answer'
    )
  return {}


def _choice(settings, size):
  del settings  # it says nothing of choices
  if size != 1:
    raise UserError(
      f"the head of choices has {size} outputs, and not 1, a choice's score"
    )
  return {}


READ = {
  'classification': _classification,
  'tagging': _tagging,
  'multiple_choice': _choice,
  'span': _span,
}


def head(task, family):
  """Returns the reference's head that does as a task's does, or ''.

  Args:
    task: block of an objective, or None.
    family: Family that is written.
  """
  if not task or task['name'] not in NAMES:
    return ''
  same = task.get('pooling', '') in ('', family.pooling)
  return task['name'] if same else ''


def write(task, original):
  """Returns config.json's keys of a task's block.

  Args:
    task: block of the objective.
    original: config.json that the model came from, which may name a score.
  """
  keys = {}
  if task['name'] == 'multiple_choice':
    return keys
  if 'kind' in task:
    keys['problem_type'] = PROBLEMS[task['kind']]
  size = 2 if task['name'] == 'span' else 1
  names = original.get('id2label')  # of any kind, where no head was read
  names = names.values() if isinstance(names, dict) else []
  names = [name for name in names if isinstance(name, str)]
  if len(names) != size:  # they are of another head
    names = [f'LABEL_{i}' for i in range(size)]
  labels = task.get('labels') or names
  keys['id2label'] = {str(i): name for i, name in enumerate(labels)}
  keys['label2id'] = {name: i for i, name in enumerate(labels)}
  return keys


def of_config(tasks):
  """Returns the block of the first task of `config.tasks` that answers."""
  for task in tasks.values():
    kind = plugins.find('objectives', task.objective.name)
    if issubclass(kind, objectives.Answers):
      return task.objective.to_dict()
  return None
