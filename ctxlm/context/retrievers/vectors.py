"""The nearest vectors of an encoder, such as one that was trained to contrast.

A run is made a model folder first, which `ctxlm convert --to` writes.
"""

import dataclasses
import hashlib
from typing import Any

import jax

from ctxlm.errors import UserError
from ctxlm.families import folder as folder_lib
from ctxlm.families import hub, model_folder
from ctxlm.objectives import vectors
from ctxlm.parallel import pmap


@dataclasses.dataclass(frozen=True)
class Retriever:
  """By the cosine of texts' vectors.

  Attributes:
    encoder: model folder, or one of sentence-transformers, by path or name.
  """

  encoder: str

  @property
  def key(self):
    """See retrievers.Retriever; of the contents of the folder's files."""
    folder = _found(self.encoder)
    sums = []
    for path in sorted(p for p in folder.rglob('*') if p.is_file()):
      with open(path, 'rb') as file:
        sums.append(hashlib.file_digest(file, 'sha256').hexdigest())
    return 'vectors', *sums

  def index(self, texts, tokenizer):
    """See retrievers.Retriever."""
    encode = _encoder(_found(self.encoder))
    return Index(encode, tokenizer, encode(_strings(texts, tokenizer)))


@dataclasses.dataclass(frozen=True)
class Index:
  """See retrievers.Index.

  Attributes:
    encode: strings -> vectors float32 [n, m] of length 1.
    tokenizer: of the run, whose ids are made text again.
    vectors: float32 [t, m] of the texts, of length 1.
  """

  encode: Any
  tokenizer: Any
  vectors: Any

  def scores(self, queries):
    """See retrievers.Index."""
    return self.encode(_strings(queries, self.tokenizer)) @ self.vectors.T


def _encoder(folder):
  # Strings to vectors float32 [n, m] of length 1.
  kind = model_folder if model_folder.is_one(folder) else folder_lib
  placement = pmap.Pmap(jax.devices()[:1])
  embed = vectors.embedder(kind.open_folder(folder), placement)
  embed.normalise = True
  return embed


def _strings(texts, tokenizer):
  return [tokenizer.decode([int(i) for i in text]) for text in texts]


def _found(name):
  folder = hub.find(name)
  if (folder / 'checkpoints').is_dir():
    raise UserError(
      f'{folder} is a run folder: ctxlm convert --model {folder} --to DIR '
      'makes the model folder that the retriever vectors needs'
    )
  return folder
