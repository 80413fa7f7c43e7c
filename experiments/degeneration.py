r"""How a text is written decides whether it degenerates.

Claims (Holtzman et al. 2020, 1904.09751, table 1, of GPT-2 Large): what is
likeliest repeats itself, greedy text and beams; drawn from the whole
distribution, text is less likely than what people write; from the nucleus, of a
p below 1, it is as likely.

  ctxlm sweep experiments/degeneration.py --workdir runs/degeneration
  ctxlm report experiments/degeneration.py --workdir runs/degeneration

Models are those of experiments/lm_ladder.py, of its text, and counts of order 3
of the same words. Each goes on from words of the test split, and is compared
with how that went on: all perplexities are by the model that writes. A text
repeats if it ends in a phrase of 2 tokens or more, three times in a row; Zipf's
coefficient is the slope over all ranks, of equally many tokens. Neither the end
of the text nor an unknown word is written. The paper's figures are quoted from
memory, and were not checked against its text.
"""

import dataclasses
from types import SimpleNamespace as Scale

import jax
import jax.numpy as jnp
import numpy as np

from ctxlm import plugins
from ctxlm.evaluators import generation
from ctxlm.evaluators.metrics import distinct
from ctxlm.experiments import lm_ladder
from ctxlm.lab import verdicts
from ctxlm.lab.experiment import Claim, Line, Plot, Series
from ctxlm.lab.verdicts import Effect, Every, Finding
from ctxlm.ranges import Count

SEEDS = verdicts.Seeds(tuned=(0,))
DRAWN = {f'top_p={p}': {'top_p': p} for p in (0.5, 0.8, 0.9, 0.95)}
# name: settings of decoding.
STRATEGIES = {
  'greedy': {'strategy': 'greedy'},
  'beam': {'strategy': 'beam:num_beams=4'},
  'top_k=40': {'strategy': 'sample', 'top_k': 40},
  **{k: {'strategy': 'sample'} | v for k, v in DRAWN.items()},
  'pure': {'strategy': 'sample'},
}
NUCLEI = [*DRAWN, 'pure']  # in rising order of p
NAMES = {'ngram': 'counts', 'lstm': 'LSTM', 'transformer': 'Transformer'}
SCALES = {
  'smoke': Scale(prompts=2, size=2),
  'small': Scale(prompts=64, size=32),
  'large': Scale(prompts=512, size=64),
}


@dataclasses.dataclass(frozen=True)
class Evaluator:
  """What a model writes by each strategy, beside how a text went on.

  Attributes:
    prompts: of the test split, evenly spaced.
    size: of them at a time.
    length: tokens of a text, a quarter of which are its prompt.
  """

  prompts: Count = 64
  size: Count = 32
  length: Count = 128

  def run(self, bench):
    """Returns 'WAY_METRIC' for each way of writing, and for 'human'.

    'repeats' is a share of the texts, 'perplexity' is by the model, 'zipf' is
    -1 times the slope, and 'distinct' of pairs of words.
    """
    task, t = bench.task(), bench.tokenizer
    data = plugins.build('data.sources', bench.config.tasks[task.name].data)
    ids = t.encode(data.records('test')[0]['text'], data=True)
    starts = np.linspace(0, len(ids) - self.length, self.prompts).astype(int)
    human = np.array([ids[i : i + self.length] for i in starts])
    first = self.length // 4
    told = self._told(bench, human)
    found = {f'human_{k}': v for k, v in told.items()}
    unknown = t.encode(lm_ladder.UNKNOWN, data=True)
    for name, settings in STRATEGIES.items():
      more = self.length - first
      config = generation.config_of(
        {
          'max_new_tokens': more,
          'processors': [f'min_new_tokens:{more}', f'suppress:{unknown}'],
          'seed': bench.config.seed,
        }
        | settings
      )
      generator = bench.writer(task, config)
      prompts = human[:, :first].tolist()
      written = generation.write(generator, prompts, self.size)
      generator.take(None)
      texts = np.concatenate([human[:, :first], np.array(written)], axis=1)
      told = self._told(bench, texts)
      found |= {f'{name}_{k}': v for k, v in told.items()}
    return found

  def _told(self, bench, texts):
    first = self.length // 4
    nats = [
      np.asarray(bench.call(said, texts[i : i + self.size])[0])
      for i in range(0, len(texts), self.size)
    ]
    own = texts[:, first:]
    words = [' '.join(map(str, text)) for text in own]
    score, _ = distinct.Metric(orders=(2,)).measure(words, None)
    different = score(np.ones((1, len(words))))['distinct_2'][0]
    return {
      'perplexity': np.exp(np.concatenate(nats)[:, first - 1 :].mean()),
      'repeats': np.mean([repeats(text) for text in own]),
      'zipf': zipf(own),
      'distinct': different,
    }


def said(model, tokens):
  """Returns nats of each token but the first, float32 [b, l - 1]."""
  logps = jax.nn.log_softmax(model.logits(model(tokens[:, :-1])))
  own = jnp.take_along_axis(logps, tokens[:, 1:, None], axis=-1)
  return -own[..., 0]


def repeats(tokens, least=2, times=3):
  """Whether a text ends in a phrase that stands there several times in a row.

  Args:
    tokens: [l].
    least: tokens of the phrase.
    times: how often it stands there.

  >>> repeats([5, 1, 2, 1, 2, 1, 2]), repeats([1, 2, 1, 2, 1, 2, 5])
  (True, False)
  """
  tokens = np.asarray(tokens)
  return any(
    (tokens[-times * n :].reshape(times, n) == tokens[-n:]).all()
    for n in range(least, len(tokens) // times + 1)
  )


def zipf(tokens):
  """Returns -1 times the slope of log frequency over log rank."""
  often = np.sort(np.unique(tokens, return_counts=True)[1])[::-1]
  if len(often) < 2:
    return 0.0
  return -np.polyfit(np.log(1 + np.arange(len(often))), np.log(often), 1)[0]


def get_config(scale='small'):
  """Returns the recipe of the ladder's feed-forward model, judged otherwise."""
  c = lm_ladder.get_config(scale)
  del c.evaluators.ladder
  c.evaluators.written = {
    'name': 'ctxlm.experiments.degeneration',
    'length': c.max_length,
    **vars(SCALES[scale]),
  }
  return c


def sweep(scale):
  """Returns counts, the ladder's LSTM and its Transformer; at smoke no LSTM."""
  points = [{'model': {'name': 'ngram', 'order': 3}, 'num_steps': 0}]
  for point in lm_ladder.sweep(scale)[2 if scale == 'smoke' else 1 :]:
    point.pop('evaluators.ladder.window', None)
    points.append(point)
  return points


def criteria():
  """Returns the claims."""
  table = 'Holtzman et al. 2020, table 1'
  return [
    Claim(
      'what is likeliest repeats itself, and what is drawn does not',
      table,
      'greedy 73.66 %, 16 beams 28.94 %, nucleus 0.36 %, pure 0.22 %, human '
      '0.28 %',
      'of each model, every seed: greedy 50 % at least, beams 20 %; nucleus of '
      f'0.95 and pure 2 % at most{LEARNED}',
      _repeat,
    ),
    Claim(
      "what is likeliest is far likelier than people's text, and what is drawn "
      'less likely',
      table,
      'perplexity: greedy 1.50, beams 1.48, top-k 40 6.88, human 12.38, '
      'nucleus 13.13, pure 22.73',
      "of each model, every seed: human / greedy and human / beams' 2 at "
      'least; pure / human 1 at least; greedy below top-k 40 below nucleus of '
      f'0.95{LEARNED}',
      _likely,
    ),
    Claim(
      "a nucleus of p below 1 is as likely as people's text",
      table,
      'p = 0.95: 13.13 and 12.38',
      'of each model, every seed: of p = 0.5, 0.8, 0.9, 0.95 and 1 the one '
      "whose perplexity is nearest to people's (in logarithms) is 0.8 to 0.95"
      f'{LEARNED}',
      _nucleus,
    ),
  ]


LEARNED = "; people's text has a perplexity of 500 at most"


def _of(results, model, way, metric):
  runs = results.where(model=lambda block: block['name'] == model)
  return runs.final(f'eval/written/{way}_{metric}')


def _each(results, way, metric):
  # {model's name: [seeds]}.
  return {
    name: _of(results, model, way, metric) for model, name in NAMES.items()
  }


def _learned(results):
  return [
    Every(f"{name}, people's text", v, high=500)
    for name, v in _each(results, 'human', 'perplexity').items()
  ]


def _repeat(results):
  wanted, gaps = [], []
  for way, side in (
    ('greedy', {'low': 0.5}),
    ('beam', {'low': 0.2}),
    ('top_p=0.95', {'high': 0.02}),
    ('pure', {'high': 0.02}),
  ):
    for name, v in _each(results, way, 'repeats').items():
      wanted.append(Every(f'{name}, {way}', v, **side))
  greedy, pure = (_each(results, w, 'repeats') for w in ('greedy', 'pure'))
  gaps = [greedy[name] - pure[name] for name in greedy]
  return Finding(
    wanted=wanted,
    learned=_learned(results),
    effect=Effect('least of greedy - pure', np.min(gaps, 0), low=0.1),
  )


def _likely(results):
  at = {w: _each(results, w, 'perplexity') for w in (*STRATEGIES, 'human')}
  wanted = []
  for more, less, ratio in (
    ('human', 'greedy', 2),
    ('human', 'beam', 2),
    ('pure', 'human', 1),
    ('top_k=40', 'greedy', 1),
    ('top_p=0.95', 'top_k=40', 1),
  ):
    for name in NAMES.values():
      ratios = at[more][name] / at[less][name]
      wanted.append(Every(f'{name}, {more} / {less}', ratios, low=ratio))
  gaps = [np.log(at['pure'][n] / at['greedy'][n]) for n in NAMES.values()]
  return Finding(
    wanted=wanted,
    learned=_learned(results),
    effect=Effect('least log of pure / greedy', np.min(gaps, 0), low=0.5),
  )


def _nucleus(results):
  human = _each(results, 'human', 'perplexity')
  sizes = [*(own['top_p'] for own in DRAWN.values()), 1.0]
  wanted = []
  for name in NAMES.values():
    away = [
      abs(np.log(_each(results, way, 'perplexity')[name] / human[name]))
      for way in NUCLEI
    ]
    nearest = np.array(sizes)[np.argmin(away, axis=0)]
    wanted.append(Every(f'{name}, nearest p', nearest, low=0.8, high=0.95))
  return Finding(wanted=wanted, learned=_learned(results))


def report(results):
  """Returns repetition, perplexity and Zipf's coefficient by strategy."""
  names = ', '.join(f'{i}: {name}' for i, name in enumerate(STRATEGIES))
  plots = []
  for metric, y in (
    ('repeats', 'share of texts that repeat'),
    ('perplexity', 'perplexity by the model'),
    ('distinct', 'distinct pairs of words, share'),
    ('zipf', "Zipf's coefficient"),
  ):
    series, lines = [], []
    for model, name in NAMES.items():
      runs = results.where(model=lambda block, own=model: block['name'] == own)
      ys = [runs.last(f'eval/written/{way}_{metric}') for way in STRATEGIES]
      if all(len(y) for y in ys):
        series.append(Series(name, range(len(ys)), np.transpose(ys), 'points'))
      level = runs.level(f'eval/written/human_{metric}')
      lines.append(Line(f'people, by {name}', level))
    log = 'y' if metric == 'perplexity' else ''
    plots.append(Plot(metric, y, names, y, series, lines, log=log))
  return plots
