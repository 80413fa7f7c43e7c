"""Text in, batches of numpy arrays out. Imports no model and no TensorFlow.

A source (ctxlm.data.sources) gives records, and a view (ctxlm.data.views) reads
them as the objective asks; the loader makes batches of what it reads.
"""

from ctxlm import plugins
from ctxlm.data import sources
from ctxlm.data.tokenizers.tokenizer import get as get_tokenizer
from ctxlm.data.tokenizers.tokenizer import load as load_tokenizer
from ctxlm.data.views import on_device

__all__ = ['get_tokenizer', 'load_tokenizer', 'open_view']


def open_view(task_config, objective, tokenizer, split, max_length):
  """Returns a task's data as its objective reads it.

  Args:
    task_config: block with `data`, the source's block.
    objective: its `view` names a module of ctxlm.data.views, which reads its
      options from it: 'windows' (`overlap`, `frame`), 'streams' (`frame`),
      'texts', 'parts' or 'pairs'.
    tokenizer: a Tokenizer.
    split: 'train', 'validation' or 'test'.
    max_length: tokens in a row.

  Raises:
    UserError: a dataset, split or field that isn't there, or no text.
  """
  source = plugins.build('data.sources', task_config.data)
  if isinstance(source, sources.OnDevice):
    return on_device.View(source)
  return plugins.find('data.views', objective.view).open(
    source.records(split),
    source.fingerprint(split),
    tokenizer,
    max_length,
    objective,
  )
