"""Alignment and uniformity of sentence vectors on the unit sphere.

Wang & Isola 2020 (arXiv:2005.10242), equations of section 4:
alignment = mean |x - x+|^2; uniformity = log mean exp(-2 |x - y|^2) over all
pairs of different examples x and y, of which no positive is one. Both are
better when smaller.
"""

import dataclasses

import numpy as np

from ctxlm import objectives
from ctxlm.errors import UserError
from ctxlm.objectives import contrastive
from ctxlm.ranges import Count


def alignment(x, y):
  """Returns mean squared distance of unit vectors x, y [n, m]."""
  return float(((x - y) ** 2).sum(1).mean())


def uniformity(x, t=2.0):
  """Returns log of the mean Gaussian potential of unit vectors x [n, m]."""
  squared = np.clip(2 - 2 * x @ x.T, 0, None)
  pairs = squared[np.triu_indices(len(x), 1)]
  return float(np.log(np.exp(-t * pairs).mean()))


@dataclasses.dataclass(frozen=True)
class Evaluator:
  """Judges a contrastive task's vectors on pairs from its own data.

  A record of one text has no pair; its positive is the text cut in half:
  the first half's nearest second half should be its own.

  Attributes:
    task: the contrastive task; '' is the first.
    split: of the task's data.
    limit: examples, the first ones of the split.
  """

  task: str = ''
  split: str = 'validation'
  limit: Count = 1000

  def run(self, bench):
    """Returns alignment, uniformity, and retrieval of the positive at 1.

    A text that is equal to the positive, or its query's, is no rival of it.
    """
    task = bench.task(self.task)
    objective = task.objective
    if not isinstance(objective, objectives.Embeds):
      raise UserError(
        f'evaluator alignment: task {task.name!r} is not contrastive'
      )
    view = bench.view(task, self.split)
    rng = np.random.default_rng(0)
    rows = []
    for i in range(min(len(view), self.limit)):
      example = view.read(i, rng)
      if objective.fields == 1:
        words = example['text'].split()
        half = len(words) // 2
        pair = ' '.join(words[:half]), ' '.join(words[half:])
      else:
        pair = example['text_a'], example['text_b']
      rows += [objective.row(text) for text in pair]
      if bench.enough(i + 1):
        break
    vectors = bench.vectors(task, rows)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True).clip(1e-8)
    x, y = vectors[0::2], vectors[1::2]
    texts = np.array([contrastive.contents(tokens) for tokens, _ in rows])
    texts = texts.reshape(-1, 2)
    kept = contrastive.rivals(texts, texts)[:, 0] | np.eye(len(x), dtype=bool)
    nearest = np.where(kept, x @ y.T, -np.inf).argmax(1)
    return {
      'alignment': alignment(x, y),
      'uniformity': uniformity(x),
      'retrieval_at_1': float((nearest == np.arange(len(x))).mean()),
      'examples': len(x),
    }
