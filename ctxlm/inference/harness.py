r"""Models of ours in lm-evaluation-harness (Gao et al., EleutherAI).

The harness finds models by a table of its own, which an installed package can't
add to; so its command is begun here, and takes all of its flags:

  pip install 'ctxlm[eval]'
  python -m ctxlm.inference.harness --model ctxlm --model_args path=DIR \
    --tasks lambada_openai,hellaswag --batch_size 32

DIR is whatever `ctxlm score --model` takes. In Python,
`lm_eval.simple_evaluate(model=harness.Model(DIR), tasks=[...])`. Scores and
texts are those of the harness's own model `hf` on the same folder.
"""

import sys

import jax
from lm_eval import utils
from lm_eval.api import model as lm_model
from lm_eval.api import registry
from lm_eval.models import utils as model_utils

from ctxlm.data import dialogues
from ctxlm.decoding import build, continuations
from ctxlm.errors import UserError
from ctxlm.inference import loading, score, writing
from ctxlm.parallel import pmap as pmap_lib
from ctxlm.parallel import processes

BATCH = 32  # rows, where the harness says 1, as it does by itself, or 'auto'
MAX_NEW_TOKENS = 256  # as `hf` has it
READ_ON = 2048  # tokens that a model is shown which takes any number


@registry.register_model('ctxlm')
class Model(lm_model.TemplateLM):
  """A causal model that the harness asks."""

  def __init__(
    self,
    path,
    step='',
    max_length=None,
    batch_size=BATCH,
    max_batch_size=None,
    device=None,
  ):
    """Opens it.

    Args:
      path: see loading.load.
      step: of a run folder, see checkpoint.find.
      max_length: tokens that it is shown; None is its own.
      batch_size: rows at a time, made a multiple of the devices.
      max_batch_size, device: the harness's, of no use here: all devices that
        JAX sees are taken.

    Raises:
      UserError: it can't be read, or is no causal model.
    """
    super().__init__()
    del max_batch_size, device
    placement = pmap_lib.Pmap(jax.devices())
    self._loaded = loading.load(str(path), placement, str(step))
    loading.need_tokenizer(self._loaded)
    score.need_causal(self._loaded)
    self._placement, self._own = placement, self._loaded.tokenizer
    said = str(batch_size).partition(':')[0]  # 'auto:4' is as 'auto'
    rows = BATCH if said in ('1', 'auto') else int(batch_size)
    self.batch_size = -(-rows // placement.shards) * placement.shards
    own = READ_ON if score.reads_on(self._loaded) else self._loaded.max_length
    self.max_length = max_length or own
    self._frame = writing.frame_of(self._loaded)
    self._judge = continuations.Continuations(
      self._loaded.model, placement, self.batch_size, self.max_length
    )

  @property
  def eot_token_id(self):
    """The id that ends a text."""
    return self._own.eos_id

  @property
  def prefix_token_id(self):
    """The id that an empty context stands for."""
    return self._own.bos_id

  @property
  def tokenizer_name(self):
    """What the harness keeps its requests under."""
    return self._own.fingerprint

  def chat_template(self, chat_template=False):
    """Returns the template of dialogues, or None where none is asked for."""
    return self._own.chat_template if chat_template else None

  def apply_chat_template(self, chat_history, add_generation_prompt=True):
    """Returns a dialogue as a text.

    Args:
      chat_history: [{'role', 'content'}].
      add_generation_prompt: whether an answer begins; else the last message
        goes on.

    Raises:
      UserError: there is no template, or it fails.
    """
    join = dialogues.Templated(self._own)
    if add_generation_prompt:
      return join.text(chat_history, True)
    return join.begun(chat_history)

  def tok_encode(self, string, add_special_tokens=None, **_):
    """Returns a text's ids, with what the tokenizer puts before a text."""
    ids = self._own.encode(string)
    begun = string.startswith(self._text_of(self.prefix_token_id))
    if add_special_tokens is None and not begun or add_special_tokens:
      ids = [*self._frame.first, *ids]
    return ids

  def _text_of(self, number):
    return self._own.decode([number], skip_special=False)

  def _loglikelihood_tokens(self, requests, **_):
    answers = []
    pairs = [request[1:] for request in requests]
    found = self._judge(self._loaded.params, pairs)
    for (strings, *_), (logps, best) in zip(requests, found, strict=True):
      answers.append((float(logps.sum()), bool(best.all())))
      if strings is not None:  # of a part of a text
        self.cache_hook.add_partial('loglikelihood', strings, answers[-1])
    return answers

  def loglikelihood_rolling(self, requests, disable_tqdm=False):
    """Returns each text's log-probability, read in windows that don't overlap.

    Args:
      requests: list of lm_eval Instance, of (text,).
      disable_tqdm: the harness's.
    """
    del disable_tqdm
    windows, owners = [], []
    for i, request in enumerate(requests):
      for pair in utils.get_rolling_token_windows(
        token_list=self.tok_encode(request.args[0]),
        prefix_token=self.prefix_token_id,
        max_seq_len=self.max_length,
        context_len=1,
      ):
        windows.append((None, *utils.make_disjoint_window(pair)))
        owners.append(i)
    sums = [0.0] * len(requests)
    answers = self._loglikelihood_tokens(windows)
    for i, (logp, _) in zip(owners, answers, strict=True):
      sums[i] += logp
    for request, logp in zip(requests, sums, strict=True):
      self.cache_hook.add_partial('loglikelihood_rolling', request.args, logp)
    return sums

  def generate_until(self, requests, disable_tqdm=False):
    """Returns the text that follows each context, up to a stop string.

    Args:
      requests: list of lm_eval Instance, of (context, settings).
      disable_tqdm: the harness's.

    Raises:
      UserError: a setting that isn't known.
    """
    del disable_tqdm
    groups, texts = {}, [None] * len(requests)
    for i, request in enumerate(requests):
      groups.setdefault(repr(request.args[1]), []).append(i)
    for numbers in groups.values():
      settings = requests[numbers[0]].args[1]
      contexts = [requests[i].args[0] for i in numbers]
      for i, text in zip(numbers, self._texts(contexts, settings), strict=True):
        texts[i] = text
        self.cache_hook.add_partial('generate_until', requests[i].args, text)
    return texts

  def _texts(self, contexts, settings):
    given = model_utils.normalize_gen_kwargs(settings, MAX_NEW_TOKENS)
    until = model_utils.handle_stop_sequences(
      given.pop('until', None), eos=self._text_of(self.eot_token_id)
    )
    count, draws = given.pop('max_gen_toks'), given.pop('do_sample')
    room = self.max_length - count
    if room < 1:
      raise UserError(
        f'max_gen_toks={count} leaves no room for a context: the model takes '
        f'{self.max_length} tokens'
      )
    if not draws:
      given.pop('temperature', None)
    # Ids that stand for no text end it where their names are to.
    ends = {self._own.token_id(s) for s in until} & self._own.special_ids
    stop = [s for s in until if s and self._own.token_id(s) not in ends]
    config = build.config_of(
      {
        'strategy': 'sample' if draws else 'greedy',
        'max_new_tokens': count,
        'num_samples': 1,
        'stop': tuple(stop),
      }
      | given
    )
    generator, _ = writing.generator_of(self._loaded, config, self._placement)
    rows = [self.tok_encode(context)[-room:] for context in contexts]
    order = sorted(range(len(rows)), key=lambda i: -len(rows[i]))
    texts = [None] * len(rows)
    for first in range(0, len(order), self.batch_size):
      numbers = order[first : first + self.batch_size]
      written = generator([rows[i] for i in numbers], numbers, self.batch_size)
      for i, (one,) in zip(numbers, written, strict=True):
        ids = one['tokens']
        last = next((k for k, n in enumerate(ids) if n in ends), len(ids))
        text = self._own.decode(ids[:last])
        texts[i] = model_utils.postprocess_generated_text(text, until, None)
    return texts


def main(argv=None):
  """The harness's own command, which knows --model ctxlm.

  Args:
    argv: its words; None is those of the process.
  """
  from lm_eval.__main__ import cli_evaluate

  if argv is not None:
    sys.argv = ['lm_eval', *argv]  # where it looks for them
  processes.start()
  try:
    cli_evaluate()
  except UserError as e:
    print(f'ctxlm: {e}', file=sys.stderr)
    sys.exit(2)


if __name__ == '__main__':
  main()
