"""SQuAD's exact match and F1, as its official script computes them.

evaluate-v2.0.py of Rajpurkar et al. 2018 (arXiv:1806.03822); where every
question has an answer the numbers are those of SQuAD 1.1's script. A question
without references has no answer, and the right text is the empty one.
"""

import collections
import dataclasses
import re
import string

import numpy as np

ARTICLES = re.compile(r'\b(a|an|the)\b')
PUNCTUATION = str.maketrans('', '', string.punctuation)


@dataclasses.dataclass(frozen=True)
class Metric:
  """Gives 'squad_exact' and 'squad_f1', 0 to 100.

  Where some questions have an answer and others none, those of each kind too:
  'squad_answered_exact', 'squad_answered_f1' and 'squad_unanswered_exact'.
  """

  halves = False

  def measure(self, texts, references):
    """See metrics.Metric."""
    exact, f1 = 100 * np.array(scores(texts, references)).T
    answered = np.array([bool(golds(own)[0]) for own in references], float)
    groups = {'': np.ones(len(texts))}
    if 0 < answered.sum() < len(texts):
      groups |= {'answered_': answered, 'unanswered_': 1 - answered}

    def score(weights):
      out = {}
      for group, inside in groups.items():
        with np.errstate(invalid='ignore'):  # a resample may have none
          each = weights * inside / (weights @ inside)[:, None]
        out[f'squad_{group}exact'] = each @ exact
        if group != 'unanswered_':  # there it is the same
          out[f'squad_{group}f1'] = each @ f1
      return out

    return score, ''


def normalize(text):
  """Returns a text without case, punctuation, articles and extra space.

  >>> normalize(' The  "Eiffel" tower,  an icon. ')
  'eiffel tower icon'
  """
  text = text.lower().translate(PUNCTUATION)
  return ' '.join(ARTICLES.sub(' ', text).split())


def golds(references):
  """Returns the answers that are any, or [''] where there is none."""
  return [own for own in references if normalize(own)] or ['']


def exact(text, reference):
  """Returns 1.0 where the two are the same when normalized, else 0.0."""
  return float(normalize(text) == normalize(reference))


def f1(text, reference):
  """Returns the F1 of the words that the two share, 0 to 1."""
  found, wanted = normalize(text).split(), normalize(reference).split()
  if not found or not wanted:
    return float(found == wanted)
  shared = collections.Counter(found) & collections.Counter(wanted)
  return 2 * shared.total() / (len(found) + len(wanted))


def scores(texts, references):
  """Returns [(exact, F1) of each text], the best of its references."""
  return [
    tuple(max(one(text, gold) for gold in golds(own)) for one in (exact, f1))
    for text, own in zip(texts, references)
  ]


def with_threshold(scores, unanswerable, answered, threshold):
  """Returns scores where one above the threshold gives no answer: float [n].

  Args:
    scores: float [n], exact matches or F1s of the texts.
    unanswerable: float [n], how sure the model is that there's no answer.
    answered: bool [n], whether there is one.
    threshold: of `unanswerable`.
  """
  return np.where(np.asarray(unanswerable) > threshold, 1.0 - answered, scores)


def best_threshold(scores, unanswerable, answered, empty):
  """Returns (the best mean score, its threshold); of -inf none is answered.

  Args:
    scores, unanswerable, answered: see `with_threshold`.
    empty: bool [n], whether the text itself is no answer.
  """
  scores, answered = np.asarray(scores, float), np.asarray(answered)
  unanswerable = np.asarray(unanswerable, float)
  order = np.argsort(unanswerable, kind='stable')
  # What it gains over the empty answer that the question is answered.
  gains = np.where(answered, scores, np.where(empty, 0.0, -1.0))[order]
  sums = np.concatenate([[0.0], np.cumsum(gains)]) + (~answered).sum()
  ordered = np.concatenate([[-np.inf], unanswerable[order]])
  sums[:-1][ordered[:-1] == ordered[1:]] = -np.inf  # no threshold is between
  best = int(sums.argmax())
  return float(sums[best] / len(scores)), float(ordered[best])
