"""Theory lines: what the best predictor of a synthetic task would say.

Numpy in float64, a batch at a time; each is held against brute force in
tests/experiments/test_theory.py. Predictions for place t use what stands before
it only.
"""

import collections
import itertools

import numpy as np
from scipy import special


def unigram_in_context(tokens, num_symbols, prior=1.0):
  """Returns P(next | counts of the context), float64 [b, l, v].

  Symbols drawn independently from one Dirichlet(prior) draw: the posterior
  predictive (n_j + prior) / (n + prior v) of all tokens up to and including
  each place.

  Args:
    tokens: int [b, l] below num_symbols.
    num_symbols: v.
    prior: of the Dirichlet distribution.

  >>> unigram_in_context(np.array([[0, 0, 1]]), num_symbols=2).round(2).tolist()
  [[[0.67, 0.33], [0.75, 0.25], [0.6, 0.4]]]
  """
  counts = np.eye(num_symbols)[tokens].cumsum(axis=1) + prior
  return counts / counts.sum(-1, keepdims=True)


def bigram_in_context(tokens, num_symbols, prior=1.0):
  """Returns P(next | transitions of the context), float64 [b, l, v].

  Chains whose rows are Dirichlet(prior) draws: (n_ij + prior) / (n_i + prior
  v), i the token at each place, over the transitions before it. That is Bayes
  optimal, given the first token (Edelman et al. 2024, 2402.11004, section 2).

  >>> bigram_in_context(np.array([[0, 1, 0]]), num_symbols=2).round(2).tolist()
  [[[0.5, 0.5], [0.5, 0.5], [0.33, 0.67]]]
  """
  b, l = tokens.shape
  counts = np.full((b, num_symbols, num_symbols), float(prior))
  out = np.empty((b, l, num_symbols))
  rows = np.arange(b)
  for t in range(l):
    if t:
      counts[rows, tokens[:, t - 1], tokens[:, t]] += 1
    now = counts[rows, tokens[:, t]]
    out[:, t] = now / now.sum(-1, keepdims=True)
  return out


def trigger_text(tokens, chain, triggers, recall=True):
  """Returns P(next | context) of bigram text with triggers, float64 [b, l, v].

  Each trigger has one next token in a sequence, drawn from all that are no
  triggers: any of them until it was seen, which is then certain (Bietti et al.
  2023, 2306.00802, section 3). Other tokens follow the chain.

  Args:
    tokens: int [b, l].
    chain: [v, v], P(next | token).
    triggers: tokens.
    recall: whether what was seen is known, or forgotten at once.

  >>> chain = np.array([[0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]])
  >>> trigger_text(np.array([[0, 2, 0]]), chain, [0]).tolist()
  [[[0.0, 0.5, 0.5], [0.0, 0.5, 0.5], [0.0, 0.0, 1.0]]]
  """
  chain, symbols = np.array(chain, np.float64), np.arange(len(chain))
  chain /= chain.sum(-1, keepdims=True)
  others = np.setdiff1d(symbols, triggers)
  chain[triggers] = np.isin(symbols, others) / len(others)
  out = chain[tokens]
  for row, sequence in zip(out, tokens) if recall else ():
    seen = {}
    for t, token in enumerate(sequence):
      if t and sequence[t - 1] in triggers:
        seen[sequence[t - 1]] = token
      if token in seen:
        row[t] = symbols == seen[token]
  return out


def _solve_each(xs, ys, solve):
  # w of the first t examples, for every t, then its prediction at x_t.
  out = np.zeros(ys.shape)
  for t in range(1, ys.shape[1]):
    w = solve(xs[:, :t], ys[:, :t])
    out[:, t] = np.einsum('bd,bd->b', xs[:, t], w)
  return out


def least_squares(xs, ys):
  """Returns predictions [b, k] of y_t from the examples before it.

  The solution of least norm where fewer than d examples leave a choice; 0
  without any.

  Args:
    xs: [b, k, d].
    ys: [b, k].

  >>> least_squares([[[1.0], [2.0]]], [[2.0, 4.0]]).round(2).tolist()
  [[0.0, 4.0]]
  """
  xs, ys = np.asarray(xs, np.float64), np.asarray(ys, np.float64)

  def solve(x, y):
    return np.einsum('bdt,bt->bd', np.linalg.pinv(x), y)

  return _solve_each(xs, ys, solve)


def ridge(xs, ys, penalty):
  """Returns predictions [b, k] by ridge regression; see least_squares.

  With w ~ N(0, I) and noise of variance `penalty` it is the posterior mean.

  >>> ridge([[[1.0], [2.0], [3.0]]], [[2.0, 4.0, 6.0]], 1.0).round(2).tolist()
  [[0.0, 2.0, 5.0]]
  """
  xs, ys = np.asarray(xs, np.float64), np.asarray(ys, np.float64)

  def solve(x, y):
    gram = np.einsum('btd,bte->bde', x, x) + penalty * np.eye(x.shape[-1])
    return np.linalg.solve(gram, np.einsum('btd,bt->bd', x, y)[..., None])[
      ..., 0
    ]

  return _solve_each(xs, ys, solve)


def averaging(xs, ys):
  """Returns predictions [b, k] with w = mean of x_i y_i (Garg et al. 2022).

  >>> averaging([[[1.0], [2.0], [3.0]]], [[2.0, 4.0, 6.0]]).round(2).tolist()
  [[0.0, 4.0, 15.0]]
  """
  xs, ys = np.asarray(xs, np.float64), np.asarray(ys, np.float64)
  return _solve_each(
    xs, ys, lambda x, y: np.einsum('btd,bt->bd', x, y) / x.shape[1]
  )


def nearest_neighbours(xs, ys, count=3):
  """Returns predictions [b, k], the mean y of the nearest of the x before.

  >>> nearest_neighbours([[[1.0], [5.0], [2.0]]], [[2.0, 4.0, 6.0]], 1).tolist()
  [[0.0, 2.0, 2.0]]
  """
  xs, ys = np.asarray(xs, np.float64), np.asarray(ys, np.float64)
  out = np.zeros(ys.shape)
  for t in range(1, ys.shape[1]):
    away = ((xs[:, :t] - xs[:, t, None]) ** 2).sum(-1)
    near = np.argsort(away, axis=1)[:, :count]
    out[:, t] = np.take_along_axis(ys[:, :t], near, 1).mean(1)
  return out


def lasso(xs, ys, penalty):
  """Returns predictions [b, k] of least |y - x w|^2 / 2t + penalty |w|_1.

  Exact: the penalty falls from where w is 0, and w is linear in it between the
  places where one of its entries becomes or ceases to be 0 (Efron et al. 2004,
  section 3.1). Coordinate descent takes thousands of turns where t < d.

  Args:
    xs: [b, k, d].
    ys: [b, k].
    penalty: above 0.

  >>> lasso([[[1.0], [2.0], [3.0]]], [[2.0, 4.0, 6.0]], 0.5).round(2).tolist()
  [[0.0, 3.0, 5.4]]
  """
  xs, ys = np.asarray(xs, np.float64), np.asarray(ys, np.float64)

  def solve(x, y):
    (b, t, d), rows = x.shape, np.arange(len(x))
    gram = np.einsum('btd,bte->bde', x, x) / t
    slope = np.einsum('btd,bt->bd', x, y) / t
    level, w = abs(slope).max(1), np.zeros((b, d))
    on = abs(slope) == level[:, None]
    while (level > penalty).any():
      left = level > penalty
      square = np.where(on[:, :, None] & on[:, None], gram, 0)
      square += np.eye(d) * ~on[:, None]
      way = np.linalg.solve(square, (np.sign(slope) * on)[..., None])[..., 0]
      fall = np.einsum('bde,be->bd', gram, way)
      with np.errstate(divide='ignore', invalid='ignore'):
        begin = (level[:, None] - slope) / (1 - fall)
        other = (level[:, None] + slope) / (1 + fall)
        end = -w / way
      parts = np.stack([begin, other, end])
      parts = np.where((parts > 1e-12) & [~on, ~on, on], parts, np.inf)
      steps = np.concatenate([*parts, (level - penalty)[:, None]], 1)
      at = steps.argmin(1)
      step = np.where(left, steps[rows, at], 0)[:, None]
      w, slope = w + step * way, slope - step * fall
      level = np.where(at == 3 * d, penalty, level - step[:, 0])
      turned = left & (at < 3 * d)
      on[rows[turned], at[turned] % d] ^= True
      w = np.where(on, w, 0)
    return w

  return _solve_each(xs, ys, solve)


def sparse_posterior_mean(xs, ys, sparsity, noise=1e-4):
  """Returns predictions [b, k] if few entries of w are not 0, by Bayes.

  Each support of `sparsity` of the d is as likely, and w ~ N(0, d / sparsity)
  on it: the mean of their ridge regressions, weighted by the evidence.

  Args:
    xs: [b, k, d].
    ys: [b, k].
    sparsity: entries that are not 0.
    noise: standard deviation of y's, as of rounding.

  >>> xs, ys = [[[1.0, 0.0], [1.0, 0.0]]], [[2.0, 2.0]]
  >>> sparse_posterior_mean(xs, ys, 1).round(2).tolist()
  [[0.0, 2.0]]
  """
  xs, ys = np.asarray(xs, np.float64), np.asarray(ys, np.float64)
  (b, _, d), variance = xs.shape, noise**2
  prior = d / sparsity

  def solve(x, y):
    ws, logs = [], []
    for support in itertools.combinations(range(d), sparsity):
      own = x[..., support]
      gram = np.einsum('btd,bte->bde', own, own)
      gram += variance / prior * np.eye(sparsity)
      moment = np.einsum('btd,bt->bd', own, y)
      w = np.linalg.solve(gram, moment[..., None])[..., 0]
      rest = y - np.einsum('btd,bd->bt', own, w)
      cost = (rest**2).sum(1) / variance + (w**2).sum(1) / prior
      logs.append(-(cost + np.linalg.slogdet(gram)[1]) / 2)
      ws.append(np.zeros((b, d)))
      ws[-1][:, support] = w
    weights = special.softmax(logs, axis=0)
    return np.einsum('sb,sbd->bd', weights, ws)

  return _solve_each(xs, ys, solve)


def discrete_posterior_mean(xs, ys, tasks, stddev):
  """Returns predictions [b, k] if w is one of `tasks`, each as likely.

  dMMSE of Raventos et al. 2023 (2306.15063), equation 3: the mean of the
  tasks, weighted by exp(-sum of squared errors so far / 2 stddev^2).

  Args:
    xs: [b, k, d].
    ys: [b, k].
    tasks: [m, d].
    stddev: of the noise.

  >>> xs, ys = [[[1.0], [1.0]]], [[2.0, 2.0]]
  >>> discrete_posterior_mean(xs, ys, [[2.0], [0.0]], 1.0).round(2).tolist()
  [[1.0, 1.76]]
  """
  xs, ys = np.asarray(xs, np.float64), np.asarray(ys, np.float64)
  tasks = np.asarray(tasks, np.float64)
  out = np.empty(ys.shape)
  log = np.zeros((len(ys), len(tasks)))
  for t in range(ys.shape[1]):
    guess = xs[:, t] @ tasks.T
    weight = np.exp(log - log.max(1, keepdims=True))
    out[:, t] = (weight * guess).sum(1) / weight.sum(1)
    log -= (ys[:, t, None] - guess) ** 2 / (2 * stddev**2)
  return out


def forward_backward(observed, initial, transition, emission):
  """Returns (posterior [l, s], log P(observed)) of a hidden Markov model.

  Rabiner 1989, section III, with every step scaled to sum to 1.

  Args:
    observed: int [l].
    initial: P(state at 0), [s].
    transition: P(next | state), [s, s].
    emission: P(observed | state), [s, v].

  >>> two = np.array([[0.9, 0.1], [0.1, 0.9]])
  >>> posterior, log_p = forward_backward([0, 0], [0.5, 0.5], two, two)
  >>> posterior.round(2).tolist()
  [[0.98, 0.02], [0.98, 0.02]]
  """
  length, states = len(observed), len(initial)
  forward, scale = np.empty((length, states)), np.empty(length)
  now = np.asarray(initial, np.float64)
  for t, symbol in enumerate(observed):
    now = now * emission[:, symbol]
    scale[t] = now.sum()
    forward[t] = now / scale[t]
    now = forward[t] @ transition
  backward = np.ones((length, states))
  for t in range(length - 2, -1, -1):
    later = emission[:, observed[t + 1]] * backward[t + 1]
    backward[t] = transition @ later / scale[t + 1]
  return forward * backward, np.log(scale).sum()


class KneserNey:
  """Interpolated Kneser-Ney n-grams with one discount an order.

  Chen & Goodman 1998, section 2.7: P(w | h) = max(c(h w) - D, 0) / c(h .)
  + D N1+(h .) / c(h .) P(w | h'), where shorter contexts count the different
  words that precede, and D = n1 / (n1 + 2 n2); below the unigrams, 1 / v.

  >>> model = KneserNey([[0, 1, 0, 1, 1]], order=2, vocab_size=2)
  >>> round(model.probability([0], 1), 2)
  0.88
  """

  def __init__(self, sequences, order, vocab_size):
    """Counts `order`-grams of an iterable of int sequences."""
    self.order, self.vocab_size = order, vocab_size
    counts = [
      collections.defaultdict(collections.Counter) for _ in range(order)
    ]
    for sequence in sequences:
      sequence = tuple(int(x) for x in sequence)
      for t in range(len(sequence)):
        begin = max(0, t - order + 1)
        # Contexts cut short by the beginning have no word before them, so
        # they count as they are.
        counts[t - begin][sequence[begin:t]][sequence[t]] += 1
    for n in range(order - 1, 0, -1):
      for history, words in counts[n].items():
        for word in words:
          counts[n - 1][history[1:]][word] += 1
    self._counts = counts
    self._discounts = [self._discount(table) for table in counts]

  @staticmethod
  def _discount(table):
    times = collections.Counter(
      c for words in table.values() for c in words.values()
    )
    once, twice = times[1], times[2]
    return once / (once + 2 * twice) if once else 0.0

  def probability(self, history, word):
    """Returns P(word | history); of the history the last words count."""
    history = tuple(history)[max(0, len(history) - self.order + 1) :]
    p = 1.0 / self.vocab_size
    for n in range(len(history) + 1):
      words = self._counts[n].get(history[len(history) - n :])
      if not words:
        break
      total, discount = sum(words.values()), self._discounts[n]
      p = (max(words[word] - discount, 0) + discount * len(words) * p) / total
    return p
