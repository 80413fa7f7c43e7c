"""Text in, batches of numpy arrays out. Imports no model and no TensorFlow.

Modules with a `Source` are plug-ins, named in `config.tasks.NAME.data.name`:

    records(split) -> random access to {'text': str, ...}
    fingerprint(split) -> hash of these records

with splits 'train', 'validation' and 'test'. A synthetic task's data needs no
host: a Source with `on_device = True` has instead

    example(key, step) -> {name: jax array}, one example, all that its
      objective needs; step is that of training, None in evaluations
    num_examples -> how many an evaluation counts

and is called inside the compiled step, so that the loop takes many steps a
call; objectives don't `prepare` it.
"""

from ctxlm import files as cache
from ctxlm import plugins
from ctxlm.data import views
from ctxlm.data.tokenizers.tokenizer import get as get_tokenizer
from ctxlm.data.tokenizers.tokenizer import load as load_tokenizer

__all__ = ['get_tokenizer', 'load_tokenizer', 'open_view']


def open_view(task_config, objective, tokenizer, split, max_length):
  """Returns a task's data as its objective reads it.

  Args:
    task_config: block with `data`, the source's block.
    objective: its `view` is 'windows' (then with `overlap` and `frame`),
      'texts' or 'pairs'.
    tokenizer: a Tokenizer.
    split: 'train', 'validation' or 'test'.
    max_length: tokens in a row.

  Raises:
    UserError: a dataset, split or field that isn't there, or no text.
  """
  source = plugins.build('data.sources', task_config.data)
  if getattr(source, 'on_device', False):
    return views.OnDevice(source, cache.digest(repr(source)))
  base, fingerprint = source.records(split), source.fingerprint(split)
  if objective.view == 'windows':
    return views.windows(
      base,
      tokenizer,
      max_length,
      objective.overlap,
      fingerprint,
      objective.frame,
    )
  if objective.view == 'texts':
    return views.texts(base, fingerprint)
  if objective.view == 'pairs':
    return views.pairs(base, tokenizer, max_length, fingerprint)
  raise ValueError(f'unknown view {objective.view!r}')
