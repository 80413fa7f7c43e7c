"""`ctxlm embed --model DIR --input FILE.txt --output FILE.npy`.

A vector for each line of a text file, float32 [lines, hidden size], on all
devices. Lines are sorted by length, so that a batch has little padding.
"""

import os
import time
from pathlib import Path

import jax
import numpy as np
from absl import flags

from ctxlm.data import framing
from ctxlm.errors import UserError
from ctxlm.inference import loading
from ctxlm.models.variables import make_apply
from ctxlm.objectives import contrastive
from ctxlm.parallel import pmap as pmap_lib
from ctxlm.parallel import processes
from ctxlm.parallel.collectives import gather
from ctxlm.training import run_folder, tracking

MULTIPLE = 8  # a batch's length is one; each is compiled once


class Embedder:
  """Texts to vectors.

  Attributes:
    pooling: 'cls' or 'mean'.
    normalise: whether vectors have length 1.
    max_length: tokens of a text at most.
  """

  def __init__(self, found, placement, pooling='', max_length=0, batch_size=32):
    """Settles how, by the arguments or what the folder says.

    Args:
      found: loading.Loaded, its parameters placed by `placement`.
      placement: pmap_lib.Pmap or Mesh.
      pooling: '' is the folder's own.
      max_length: 0 is the folder's own.
      batch_size: texts, made a multiple of the devices.

    Raises:
      UserError: the folder has no pooling of its own, no tokenizer, or isn't
        of an encoder or decoder alone.
    """
    if found.model.encoder_decoder:
      raise UserError('embed takes encoders, and decoders without an encoder')
    loading.need_tokenizer(found)
    own = found.sentence
    self.pooling = pooling or (own and own.pooling)
    if not self.pooling:
      raise UserError(
        f'{found.folder} has no pooling of its own: choose --pooling cls or '
        'mean'
      )
    self.normalise = bool(own and own.normalise)
    self._prompt = own.prompt if own else ''
    limit = found.model.max_length
    self.max_length = min(
      max_length or (own and own.max_length) or limit, limit
    )
    self._tokenizer, self._params = found.tokenizer, found.params
    self._placement = placement
    shards = placement.shards
    self._batch_size = -(-batch_size // shards) * shards
    objective = contrastive.Objective(
      pooling=self.pooling, tokenizer=found.tokenizer
    )
    apply = make_apply(found.model)

    def embed(params, batch, axis):
      def forward(model):
        used = (batch['tokens'] >= 0).astype('int32')
        return objective.embed(model, batch['tokens'].clip(0), used)

      return gather(apply(params, forward), axis)

    self._compiled = placement.compile(embed)

  def __call__(self, texts, progress=None):
    """Returns float32 [n, m] of n texts.

    Args:
      texts: list of str.
      progress: tracking.Progress of the texts, or None.
    """
    prompted = [self._prompt + t for t in texts]
    ids = framing.texts(self._tokenizer, prompted, self.max_length)
    order = np.argsort([-len(i) for i in ids], kind='stable')
    size, began, pending = self._batch_size, time.monotonic(), []
    vectors = None

    def fetch(chosen, out):
      nonlocal vectors
      out = np.asarray(jax.device_get(out))[: len(chosen)]
      if vectors is None:
        vectors = np.zeros((len(texts), out.shape[1]), np.float32)
      vectors[chosen] = out

    for start in range(0, len(order), size):
      chosen = order[start : start + size]
      rows = self._placement.rows(size)
      batch = self._batch([ids[i] for i in chosen])[rows]
      batch = self._placement.put({'tokens': batch})
      pending.append((chosen, self._compiled(self._params, batch)))
      # The next is prepared while two are under way.
      if len(pending) > 2:
        fetch(*pending.pop(0))
      if progress:
        done = min(start + size, len(order))
        rate = done / (time.monotonic() - began)
        progress.advance(done)
        if start // size % 50 == 0 or done == len(order):
          left = (len(order) - done) / rate
          progress.show(done, f'{rate:,.0f} lines/s', left)
    for chosen, out in pending:
      fetch(chosen, out)
    if self.normalise and vectors is not None:
      norms = np.linalg.norm(vectors, axis=1, keepdims=True)
      vectors /= norms.clip(1e-12)
    return vectors

  def _batch(self, ids):
    longest = max(len(i) for i in ids)
    length = min(-(-longest // MULTIPLE) * MULTIPLE, self.max_length)
    # -1 is padding; rows that fill up the last batch are a text of one token.
    tokens = np.full((self._batch_size, length), -1, np.int32)
    tokens[len(ids) :, 0] = 0
    for row, i in zip(tokens, ids, strict=False):
      row[: len(i)] = i
    return tokens


def define_flags():
  """Defines the flags of `ctxlm embed`."""
  flags.DEFINE_string('model', None, 'folder of any kind')
  flags.DEFINE_string(
    'step', '', "of a run: '' is the newest, 'best', a number"
  )
  flags.DEFINE_string('input', None, 'text file, a sentence a line')
  flags.DEFINE_string('output', None, 'file.npy to write')
  flags.DEFINE_enum('pooling', '', ['', 'cls', 'mean'], "'': the folder's own")
  flags.DEFINE_integer('max_length', 0, "tokens; 0: the folder's own")
  flags.DEFINE_integer('batch_size', 32, 'sentences', lower_bound=1)


def main():
  """Entry point of `ctxlm embed`."""
  F = flags.FLAGS
  for name in ('model', 'input', 'output'):
    if F[name].value is None:
      raise UserError(f'--{name} is needed')
  output = Path(F.output)
  if output.suffix != '.npy' or not output.resolve().parent.is_dir():
    raise UserError(f'--output {output}: name a .npy file in a folder')
  try:
    texts = Path(F.input).read_text(encoding='utf-8').splitlines()
  except (OSError, UnicodeDecodeError) as e:
    raise UserError(f'--input {F.input}: {e}') from e
  if not texts:
    raise UserError(f'--input {F.input} is empty')
  processes.start()
  own = run_folder.is_one(Path(F.model))
  placement = None if own else pmap_lib.Pmap(jax.devices())
  found = loading.load(F.model, placement, F.step)
  placement = found.run.program.placement if found.run else placement
  embed = Embedder(found, placement, F.pooling, F.max_length, F.batch_size)
  progress = tracking.Progress(len(texts), 0, 'line')
  vectors = embed(texts, progress)
  progress.close()
  new = output.with_name(f'{output.name}.new')
  with new.open('wb') as f:
    np.save(f, vectors)
  os.replace(new, output)
  print(f'{output}: {vectors.shape[0]} x {vectors.shape[1]}, {embed.pooling}')
