"""Options and how they rank: from log-probabilities to figures.

Scores are natural logarithms up to what all options of a query share; of a
query with n options they are float64 [n].
"""

import dataclasses

import numpy as np
from scipy import special

from ctxlm.errors import UserError
from ctxlm.evaluators.metrics import bootstrap, labels, means

# What options are ranked by: of their log-probability and their length.
SCORES = {
  'sum': lambda asked: asked.logps,
  'token': lambda asked: asked.logps / asked.tokens,
  'byte': lambda asked: asked.logps / asked.bytes,
  'unconditional': lambda asked: asked.logps - asked.before,
  'whole': lambda asked: asked.logps / asked.tokens,
}
FREE = ('sum', 'token', 'byte')  # what the same log-probabilities give


@dataclasses.dataclass(frozen=True)
class Example:
  """A record, read.

  Attributes:
    before, behind: texts around the answer.
    fields: its fields' texts, joined.
    options: texts, of which one is right.
    right: its number; None where there are no options.
    references: texts that are right where there are no options.
  """

  before: str
  behind: str
  fields: str
  options: tuple = ()
  right: int | None = None
  references: tuple = ()

  @property
  def answer(self):
    """The right text; '' where there is none."""
    if self.options:
      return self.options[self.right]
    return next(iter(self.references), '')

  @property
  def asked(self):
    """The texts whose probability is asked for."""
    return self.options or self.references[:1]

  @property
  def told(self):
    """What is said of it beside the model's answers."""
    if self.options:
      return {'options': list(self.options), 'right': self.right}
    return {'references': list(self.references)}

  def filled(self, answer):
    """Returns the text with an answer."""
    return f'{self.before}{answer}{self.behind}'


@dataclasses.dataclass(frozen=True)
class Asked:
  """What the model says of the options of a query: float64 [n] each.

  Attributes:
    logps: log p of an option, summed over its tokens.
    tokens, bytes: of an option, a space before it not counted among the bytes.
    before: log p of it behind the premise.
    likeliest: whether each of its tokens is the likeliest, bool [n].
  """

  logps: np.ndarray
  tokens: np.ndarray
  bytes: np.ndarray
  before: np.ndarray
  likeliest: np.ndarray

  @classmethod
  def of(cls, answers, options, before=()):
    """Gathers it.

    Args:
      answers: [(log p of each id, whether it is the likeliest)] of options.
      options: their texts.
      before: such answers behind the premise, if there is one.
    """
    return cls(
      _sums(answers),
      np.array([len(logps) for logps, _ in answers], float),
      np.array([len(o.lstrip(' ').encode()) for o in options], float),
      _sums(before or [([0.0], None)] * len(answers)),
      np.array([bool(np.all(best)) for _, best in answers]),
    )


def _sums(answers):
  return np.array([np.sum(logps, dtype=np.float64) for logps, _ in answers])


def calibrated(scores, without):
  """Returns scores without what the prompt itself prefers.

  W p with W = diag(p of the content-free input)^-1, Zhao et al. 2021, equation
  1 in section 5; here it is normalised, where they have a softmax of it.

  Args:
    scores: of a query.
    without: [scores of the same options behind each content-free input].
  """
  each = [special.log_softmax(own) for own in without]
  return scores - special.logsumexp(each, axis=0) + np.log(len(each))


def of_options(scores, asked, right, kind, same):
  """Returns (figures of a task with options, [what is said of each query]).

  Args:
    scores: [float64 [n]].
    asked: [Asked].
    right: numbers of the right options.
    kind: of SCORES.
    same: whether all queries have the same options.
  """
  found = [int(np.argmax(own)) for own in scores]
  p = [special.softmax(own) for own in scores]
  figures = of_found(found, right, len(scores[0]) if same else 0)
  confidence = np.array([own.max() for own in p])
  hits = np.equal(found, right).astype(float)
  figures |= bootstrap.figures(labels.calibration(confidence, hits), len(found))
  others = (name for name in FREE if kind in FREE and name != kind)
  for name in others:
    best = [int(np.argmax(SCORES[name](own))) for own in asked]
    figures[f'accuracy_{name}'] = np.mean(np.equal(best, right))
  rows = [
    {
      'scores': own.tolist(),
      'probabilities': each.tolist(),
      'logps': one.logps.tolist(),
      'tokens': one.tokens.astype(int).tolist(),
      'found': i,
      'correct': i == k,
    }
    for own, each, one, i, k in zip(scores, p, asked, found, right)
  ]
  return figures, rows


def of_found(found, right, size):
  """Returns the figures of what was chosen.

  Args:
    found: numbers of options; -1 is none.
    right: numbers of the right ones.
    size: options that all queries have; 0 is of each query its own, which have
      no F1.
  """
  if size:
    score = labels.of_options(np.array(right), np.array(found), size)
  else:
    score = means({'accuracy': np.equal(found, right).astype(float)})
  return bootstrap.figures(score, len(found))


def of_texts(asked):
  """Returns (figures of texts that are predicted, [what is said of each]).

  Accuracy is that each token is the likeliest, and perplexity is of texts,
  exp(-mean log p), as of LAMBADA's last words.

  Args:
    asked: [Asked] of one text each.
  """
  hits = np.array([one.likeliest[0] for one in asked], float)
  logps = np.array([one.logps[0] for one in asked])

  def score(weights):
    total = weights.sum(1)
    return {
      'accuracy': weights @ hits / total,
      'perplexity': np.exp(np.minimum(-(weights @ logps) / total, 700.0)),
    }

  rows = [
    {
      'logps': one.logps.tolist(),
      'tokens': one.tokens.astype(int).tolist(),
      'likeliest': bool(one.likeliest[0]),
    }
    for one in asked
  ]
  return bootstrap.figures(score, len(asked)), rows


def check_verbalisers(verbalisers):
  """Raises UserError unless labels have a text each, of their own."""
  seen = {}
  for label, text in verbalisers.items():
    if not isinstance(text, str) or not text.strip():
      raise UserError(
        f'the verbaliser of the label {label!r} is empty: give it a text'
      )
    other = seen.setdefault(text.strip(), label)
    if other != label:
      raise UserError(
        f'the labels {other!r} and {label!r} have the same verbaliser, '
        f'{text!r}: give each its own'
      )
  if len(verbalisers) == 1:
    raise UserError('verbalisers: one label is no choice; give two or more')
