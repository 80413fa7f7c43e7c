"""Prompts in, texts out: the compiled loop of a strategy around a model."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

from ctxlm import models
from ctxlm.decoding import build, steps
from ctxlm.decoding import text as text_lib
from ctxlm.errors import UserError
from ctxlm.models.decoder import Prompts
from ctxlm.parallel import memory
from ctxlm.parallel.collectives import gather

LARGE = 2**20  # tokens at once whose memory is counted before it is taken
BUCKET = 16  # least length that is compiled for; others are its doubles


def bucket(length, most=None):
  """Returns the length that `length` is padded to, `most` at most."""
  padded = max(BUCKET, 1 << (length - 1).bit_length())
  return padded if most is None else min(padded, most)


@dataclasses.dataclass(frozen=True)
class Writer:
  """A model that writes.

  Attributes:
    model, params: a ctxlm.decoding.Model, and its parameters.
    tokenizer: or None.
    eos_ids: tokens that end a text.
    pad_id: what stands after it.
    decoder_start: tokens that an encoder-decoder's target begins with.
    first: tokens that a decoder's prompt begins with.
    draft: (model, params) of the draft model, or None.
    placement: parallel.Pmap or Mesh on which the parameters lie; None is the
      first device.
    finder: of passages that a prompt is read beside, see
      inference.retrieval.Finder, or None.
  """

  model: object
  params: object
  tokenizer: object
  eos_ids: tuple
  pad_id: int
  decoder_start: tuple = ()
  first: tuple = ()
  draft: tuple | None = None
  placement: object = None
  finder: object = None


class Generator:
  """Generates by a decoding config; compiles once for each bucket."""

  def __init__(self, writer, config):
    """See Writer, and ctxlm.decoding.base for the config."""
    self.config, self.tokenizer = config, writer.tokenizer
    self._writer, self._placement = writer, writer.placement
    self.strategy, self.rules = build.build(
      config,
      tokenizer=writer.tokenizer,
      vocab_size=writer.model.vocab_size,
      eos_ids=writer.eos_ids,
      pad_id=writer.pad_id,
    )
    if self.strategy.keeps_hidden:
      models.need_vectors(writer.model)
    pairs = [(writer.model, writer.params)]
    if writer.draft is not None:
      pairs.append(writer.draft)
    if self.strategy.drafts and not all(m.rewinds for m, _ in pairs):
      raise UserError(
        f'the strategy {config.strategy["name"]!r} takes tokens back, which a '
        'recurrent, a convolutional or a counted model cannot'
      )
    pairs = [model.to_write(params) for model, params in pairs]
    self._models = [m for m, _ in pairs]
    self._params = [p for _, p in pairs]
    self._guided = config.guidance != 1
    if self._guided and (
      self.strategy.drafts
      or self.strategy.keeps_hidden
      or writer.model.encoder_decoder
    ):
      raise UserError(
        'guidance is for decoders alone, with the strategies greedy, sample '
        'and beam'
      )
    self._negative = self._framed(config.negative_prompt)
    self._shortest = max(
      (getattr(one, 'shortest', 0) for one in self.rules.processors), default=0
    )
    self._compiled = {}

  def _framed(self, negative):
    # Ids of the negative prompt, behind what a prompt begins with.
    if not negative:
      return []
    ids = self.tokenizer.encode(negative)
    if not ids:
      raise UserError('negative_prompt has no token')
    ids, most = [*self._writer.first, *ids], self.context_length
    if most is not None and len(ids) > most:
      raise UserError(
        f'negative_prompt has {len(ids)} tokens; the model sees {most}'
      )
    return ids

  @property
  def results(self):
    """Texts of each prompt."""
    return self.config.num_samples * self.strategy.results

  @property
  def context_length(self):
    """Tokens that the model can see, or None where there is no limit."""
    return self._writer.model.context_length

  @property
  def room(self):
    """Ids of a prompt that leave room for what is to be written, or None."""
    sees = self.context_length
    if sees is None:
      return None
    # The last token that is written is not read.
    return max(sees - self.config.max_new_tokens + 1, sees // 2)

  @property
  def encoder_decoder(self):
    """Whether a prompt is a source, and the text that is written a target."""
    return self._writer.model.encoder_decoder

  def check(self, prompt):
    """Raises UserError if token ids can't be a prompt."""
    if not prompt:
      raise UserError('the prompt is empty')
    size = self._writer.model.vocab_size
    wrong = [i for i in prompt if not 0 <= i < size]
    if wrong:
      raise UserError(f'the prompt has the token {wrong[0]}; ids end at {size}')
    most = self.context_length
    if most is not None and len(prompt) > most:
      raise UserError(
        f'the prompt has {len(prompt)} tokens; the model sees {most}'
      )
    most = self.config.max_length
    if most and not self.encoder_decoder and len(prompt) >= most:
      raise UserError(
        f'the prompt has {len(prompt)} tokens; with it a text has max_length='
        f'{most}: give max_new_tokens'
      )
    if not self.encoder_decoder:
      self._check_left(len(prompt))

  def _check_left(self, size):
    left = self._left(size)
    if left < self._shortest:
      raise UserError(
        f'the prompt leaves {left} tokens, and what may be written has '
        f'{self._shortest} at least'
      )

  def _left(self, size):
    # Tokens that may be written behind a row of `size`.
    left, most = self.config.max_new_tokens, self.context_length
    if most is not None:
      # The last token is not read, and needs no place in the context.
      left = min(left, most - max(size, len(self._negative)) + 1)
    if self.config.max_length:
      left = min(left, self.config.max_length - size)
    return left

  def take(self, params):
    """Goes on with other parameters of the model; None lets them go."""
    if params is not None:
      _, params = self._writer.model.to_write(params)
    self._params[0] = params

  def __call__(self, prompts, first=0, size=None):
    """Writes texts.

    Args:
      prompts: list of lists of token ids; an encoder-decoder's are sources.
      first: the first prompt's number among all, or each one's; randomness is
        of it.
      size: rows of the compiled batch; None is the number of prompts.

    Returns:
      a list for each prompt, of `results` dicts: 'tokens', a list of ids, the
      end included; with show_probs 'logps'; what else the strategy gives.

    Raises:
      UserError: a prompt that is empty, too long, or has unknown tokens.
    """
    size = size or len(prompts)
    self._check_memory(size)
    batch = self._batch(prompts, first, size)
    self._check_memory(size, batch)
    run = self._get('run', batch)
    if self._placement is not None:
      rows = self._placement.rows(size)
      batch = self._placement.put({k: v[rows] for k, v in batch.items()})
    written = jax.device_get(run(self._params, batch))
    out = []
    for i in range(len(prompts) * self.results):
      one = {k: v[i] for k, v in written.items()}
      length = int(one.pop('lengths'))
      one['tokens'] = one['tokens'][:length].tolist()
      one['logps'] = one['logps'][:length].tolist()
      out.append(one)
    width = self.results
    return [out[i : i + width] for i in range(0, len(out), width)]

  def _check_memory(self, size, batch=None):
    """Raises UserError if what `size` prompts take can't be in memory.

    Args:
      size: prompts.
      batch: of `_batch`; None counts the tokens alone, before it is made.
    """
    shards = 1 if self._placement is None else self._placement.shards
    size = -(-size // shards)
    rows = size * self.config.num_samples * self.strategy.siblings
    room = bucket(self.config.max_new_tokens)
    if rows * room < LARGE:
      return
    shapes = jax.ShapeDtypeStruct((rows, room), jnp.int32)
    if batch is not None:
      one = {
        k: jax.ShapeDtypeStruct((size, *v.shape[1:]), v.dtype)
        for k, v in batch.items()
      }
      shapes = jax.eval_shape(self._begin, self._params, one)
    memory.check(
      f'{rows:,} texts of max_new_tokens={self.config.max_new_tokens} at once',
      shapes,
      'write fewer or shorter ones',
    )

  def stream(self, prompt, first=0, every=4):
    """Yields the new tokens of one prompt as they come, lists of ids.

    The compiled loop gives its state back after `every` steps; what is on the
    device stays there.
    """
    self._check_memory(1)
    batch = self._batch([prompt], first, 1)
    self._check_memory(1, batch)
    state = self._get('begin', batch)(self._params, batch)
    go, shown = self._get('go', batch), 0
    while True:
      more = bool(self.strategy.unfinished(state).any())
      if not more or self.strategy.streams:
        so_far = jax.device_get(self.strategy.result(self.rules, state))
        tokens = so_far['tokens'][0, : so_far['lengths'][0]].tolist()
        if len(tokens) > shown:
          yield tokens[shown:]
        shown = len(tokens)
      if not more:
        return
      state = go(self._params, state, every)

  def _batch(self, prompts, first, size):
    for prompt in prompts:
      self.check(prompt)
    prompts, found = self._beside(prompts)
    rows = prompts
    if self.encoder_decoder:
      rows = [list(self._writer.decoder_start)] * len(prompts)
    longest = max(map(len, rows))
    most = self.context_length
    width = longest if self.encoder_decoder else bucket(longest, most)
    batch = {
      'tokens': np.full((size, width), self._writer.pad_id, np.int32),
      'start': np.zeros(size, np.int32),
      'limit': np.zeros(size, np.int32),
      'index': np.zeros(size, np.int32),
      'seed': np.full(size, self.config.seed, np.int32),
    }
    numbers = first if np.ndim(first) else first + np.arange(len(rows))
    batch['index'][: len(rows)] = numbers
    for i, row in enumerate(rows):
      batch['tokens'][i, width - len(row) :] = row
      batch['start'][i] = width - len(row)
      self._check_left(len(row))
      batch['limit'][i] = self._left(len(row))
    if self.encoder_decoder:
      width = bucket(max(map(len, prompts)), most)
      batch['source'] = np.full((size, width), self._writer.pad_id, np.int32)
      batch['source_segment_ids'] = np.zeros((size, width), np.int32)
      for i, row in enumerate(prompts):
        batch['source'][i, : len(row)] = row
        batch['source_segment_ids'][i, : len(row)] = 1
    for name, x in found.items():
      batch[name] = np.zeros((size, *x.shape[1:]), x.dtype)
      batch[name][: len(x)] = x
    return batch

  def _beside(self, prompts):
    # (prompts, arrays [n, ...]) with the passages that they find.
    if self._writer.finder is None:
      return prompts, {}
    bounds = [self.room, self.config.max_length - 1]
    bounds = [n for n in bounds if n is not None and n >= 0]
    return self._writer.finder.prompts(prompts, min(bounds, default=None))

  def _get(self, what, batch):
    key = what, *(v.shape for v in batch.values())
    if key not in self._compiled:
      self._compiled[key] = self._compile(what)
    return self._compiled[key]

  def _compile(self, what):
    if what == 'begin':
      return jax.jit(self._begin)
    if what == 'go':
      return jax.jit(self._go, donate_argnums=1)

    def run(params, batch, axis):
      state = self._go(params, self._begin(params, batch), None)
      return gather(self.strategy.result(self.rules, state), axis)

    if self._placement is None:
      return jax.jit(functools.partial(run, axis=None))
    return self._placement.compile(run)

  def _begin(self, params, batch):
    room, copies = bucket(self.config.max_new_tokens), self.config.num_samples
    text = text_lib.begin(
      batch['tokens'],
      batch['start'],
      batch['limit'],
      batch['index'] * copies,
      batch['seed'][0],
      room=room,
      logps=self.config.show_probs,
    ).repeat(copies)
    copy = jnp.arange(len(text.start)) % copies
    text = self.rules.begin(text.replace(index=text.index + copy))
    prompts = Prompts(
      batch['tokens'],
      batch['start'],
      batch.get('source'),
      batch.get('source_segment_ids'),
      ahead=room + self.strategy.chunk - 1,
      chunk=self.strategy.chunk,
      copies=copies,
      siblings=self.strategy.siblings,
      keep_hidden=self.strategy.keeps_hidden,
    )
    begun = [
      m.begin(p, prompts) for m, p in zip(self._models, params, strict=True)
    ]
    logits, cache = begun[0]
    if self.strategy.drafts:
      cache = tuple(c for _, c in begun)
    if self._guided:
      without, other = self._models[0].begin(params[0], self._without(prompts))
      logits = steps.guide(logits, without, self.config.guidance)
      cache = steps.Guided(cache, other)
    return self.strategy.begin(self.rules, text, logits, cache)

  def _without(self, prompts):
    # The prompts that guidance goes away from: the last token alone, as the
    # reference has it, or the negative prompt.
    if not self._negative:
      last = prompts.tokens.shape[1] - 1
      return prompts.replace(start=jnp.full_like(prompts.start, last))
    rows = len(prompts.start), len(self._negative)
    return prompts.replace(
      tokens=jnp.broadcast_to(jnp.array(self._negative, jnp.int32), rows),
      start=jnp.zeros_like(prompts.start),
    )

  def _go(self, params, state, most):
    every = [
      functools.partial(m.advance, p)
      for m, p in zip(self._models, params, strict=True)
    ]
    step = tuple(every) if self.strategy.drafts else every[0]
    if self._guided:
      step = steps.guided(step, self.config.guidance)

    def more(carry):
      left = self.strategy.unfinished(carry[1]).any()
      return left if most is None else left & (carry[0] < most)

    def body(carry):
      return carry[0] + 1, self.strategy.advance(self.rules, step, carry[1])

    return jax.lax.while_loop(more, body, (jnp.int32(0), state))[1]
