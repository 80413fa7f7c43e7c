"""A recipe's program without its data: from shapes, which no text changes."""

import dataclasses

from ctxlm import data as data_lib
from ctxlm import plugins
from ctxlm.data import sources
from ctxlm.errors import UserError
from ctxlm.training import program as program_lib

VOCAB = 320  # entries of a tokenizer that is trained on made-up text
WORDS = ('the', 'old', 'cat', 'sees', 'a', 'river', 'and', 'my', 'dog')


@dataclasses.dataclass(frozen=True)
class Source:
  """A plug-in of sources: some records that have every field of text.

  Attributes:
    labels: what a record's label may be, ('0',) where nothing is said.
  """

  labels: tuple = ('0',)

  def records(self, split):
    """See ctxlm.data.sources.Source."""
    del split

    def text(i):
      lines = (
        f'{" ".join(WORDS[(i + j + k) % len(WORDS)] for k in range(9))} {j}.'
        for j in range(4)
      )
      return ' '.join(lines)

    return [
      {
        'text': text(i),
        'text_a': text(i),
        'text_b': text(i + 1),
        'negative': text(i + 2),
        'prompt': text(i),
        'completion': text(i + 1),
        'turns': [text(i), text(i + 1)],
        'label': self.labels[i % len(self.labels)],
        'score': 0.5,
      }
      for i in range(64)
    ]

  def fingerprint(self, split):
    """See ctxlm.data.sources.Source."""
    return f'made up {self.labels} {split}'


def without_data(config):
  """Returns the config with made-up text in place of data that is text.

  A vocabulary that is to be learned has as many entries as it may have. Data
  from which an objective takes its labels, and passages, are opened.
  """
  config = program_lib.settle(config).copy_and_resolve_references()
  with config.unlocked():
    for task in config.tasks.values():
      source = plugins.build('data.sources', task.data)
      if isinstance(source, sources.OnDevice):
        continue
      labels = tuple(task.objective.get('labels', ()))
      block = {'name': __name__, **({'labels': labels} if labels else {})}
      task.data = block
    tokenizer = config.tokenizer
    if tokenizer.kind not in ('file', 'none'):
      if not config.model.get('vocab_size', 0):
        config.model.vocab_size = tokenizer.vocab_size
      tokenizer.vocab_size = min(VOCAB, tokenizer.vocab_size)
  return config


def build(config, placement):
  """Returns training.program.Program of a config that `without_data` gave.

  Raises:
    UserError: a model that takes no steps, or parts that don't fit.
  """
  name = config.tokenizer.task or next(iter(config.tasks))
  source = plugins.build('data.sources', config.tasks[name].data)
  tokenizer = data_lib.get_tokenizer(config.tokenizer, source)
  program = program_lib.build(config, placement, tokenizer)
  if program.counts:
    raise UserError(
      f'config.model.name={config.model.name!r} is counted and not trained: it '
      'takes no steps, so there is nothing to plan'
    )
  return program
