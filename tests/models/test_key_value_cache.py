"""Steps with a cache give what one pass over the whole row gives."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ctxlm.models import encoder_decoder, positions, transformer
from ctxlm.models.decoder import Prompts

VOCAB, NEW, PROMPTS = 40, 8, (7, 3)
LONGEST = max(PROMPTS)
CASES = [
  (position, window, kv_heads, scan)
  for (position, window), kv_heads, scan in zip(
    itertools.product(positions.SCHEMES, (0, 4)),
    itertools.cycle((0, 2, 1, 4)),
    itertools.cycle((False, True, False)),
  )
]


def make(position, window, kv_heads, scan, kind=transformer):
  """Returns a model and its parameters, drawn wide."""
  model = kind.Model(
    vocab_size=VOCAB,
    hidden_size=24,
    num_layers=2,
    num_heads=4,
    num_kv_heads=kv_heads,
    position=position,
    window=window,
    scan_layers=scan,
    max_length=32,
    init_stddev=0.3,
    t5_buckets=8,
    t5_max_distance=10,
  )
  tokens = jnp.zeros((1, 4), jnp.int32)
  args = (tokens, tokens) if kind is encoder_decoder else (tokens,)
  init = jax.jit(
    lambda key: model.init(key, *args, method=lambda m, *a: m.logits(m(*a)))
  )
  return model, init(jax.random.key(0))['params']


def texts(seed=0):
  rng = np.random.default_rng(seed)
  return [rng.integers(0, VOCAB, n + NEW).astype(np.int32) for n in PROMPTS]


def padded(rows):
  """Returns the prompts, padded on the left, and how much."""
  tokens = np.zeros((len(rows), LONGEST), np.int32)
  for i, (row, n) in enumerate(zip(rows, PROMPTS, strict=True)):
    tokens[i, LONGEST - n :] = row[:n]
  return tokens, np.array([LONGEST - n for n in PROMPTS], np.int32)


def whole(model, params, rows, **source):
  """Returns the logits [b, l, v] of one pass without cache.

  Rows are padded on the right, which nothing before can see.
  """
  width = max(map(len, rows))
  tokens = np.array([np.pad(row, (0, width - len(row))) for row in rows])

  def run(model):
    if not source:
      return model.logits(model(tokens))
    given = dict(segment_ids=source['source_segment_ids'])
    return model.logits(model(source['source'], tokens, **given))

  return np.asarray(
    jax.jit(lambda params: model.apply({'params': params}, method=run))(params)
  )


def check(model, params, rows, **source):
  """Compares steps of one token and of several with `whole`."""
  want = whole(model, params, rows, **source)
  tokens, start = padded(rows)
  model, params = model.to_write(params)
  step = jax.jit(lambda t, c: model.advance(params, t, c))

  def same(logits, at):
    for i, n in enumerate(PROMPTS):
      first = n + at[i]
      expected = want[i][first : first + logits.shape[1]]
      np.testing.assert_allclose(logits[i], expected, atol=1e-5)

  begin = jax.jit(
    lambda ahead, chunk: model.begin(
      params, Prompts(tokens, start, ahead=ahead, chunk=chunk, **source)
    ),
    static_argnums=(0, 1),
  )
  logits, cache = begin(NEW, 1)
  same(logits[:, None], (-1, -1))
  for at in range(NEW):
    now = [row[n + at] for row, n in zip(rows, PROMPTS, strict=True)]
    logits, cache = step(jnp.array(now)[:, None], cache)
    same(logits, (at, at))

  # Three at a time, of which each row then forgets some.
  _, cache = begin(NEW + 2, 3)
  at, rng = np.zeros(2, int), np.random.default_rng(0)
  while at.max() + 3 <= NEW:
    now = [
      row[n + a : n + a + 3]
      for row, n, a in zip(rows, PROMPTS, at, strict=True)
    ]
    logits, cache = step(jnp.array(now), cache)
    same(logits, at)
    back = rng.integers(0, 3, 2)
    cache, at = cache.rewind(jnp.array(back)), at + 3 - back


@pytest.mark.slow
@pytest.mark.parametrize('position, window, kv_heads, scan', CASES)
def test_decoder(position, window, kv_heads, scan):
  check(*make(position, window, kv_heads, scan), texts())


@pytest.mark.slow
@pytest.mark.parametrize('position, scan', [('learned', False), ('t5', True)])
def test_encoder_decoder(position, scan):
  model, params = make(position, 0, 0, scan, encoder_decoder)
  source = np.random.default_rng(1).integers(0, VOCAB, (2, 9))
  ids = np.ones((2, 9), np.int32)
  ids[1, 5:] = 0
  check(model, params, texts(), source=source, source_segment_ids=ids)


@pytest.mark.parametrize('window', [0, 5])
def test_siblings_go_on_from_whom_they_were_taken(window):
  model, params = make('rotary', window, 2, False)
  prompts = texts()
  tokens, start = padded(prompts)
  rows = [[list(p[:n])] * 3 for p, n in zip(prompts, PROMPTS, strict=True)]
  begin = jax.jit(
    lambda t, s: model.begin(params, Prompts(t, s, ahead=6, siblings=3))
  )
  _, cache = begin(tokens, start)
  step = jax.jit(lambda t, c: model.advance(params, t, c))
  forward = jax.jit(
    lambda x: model.apply(
      {'params': params}, x, method=lambda m, x: m.logits(m(x))
    )
  )
  rng = np.random.default_rng(0)
  for _ in range(6):
    new = rng.integers(0, VOCAB, (2, 3))
    logits, cache = step(jnp.array(new).reshape(6, 1), cache)
    rows = [
      [[*text, t] for text, t in zip(row, ts, strict=True)]
      for row, ts in zip(rows, new.tolist(), strict=True)
    ]
    flat = [text for row in rows for text in row]
    want = forward(np.array([np.pad(x, (0, 13 - len(x))) for x in flat]))
    for i, text in enumerate(flat):
      np.testing.assert_allclose(
        logits[i, 0], want[i, len(text) - 1], atol=1e-5
      )
    who = rng.integers(0, 3, (2, 3))
    cache = cache.take(jnp.array(who + [[0], [3]]).reshape(-1))
    rows = [[row[w] for w in ws] for row, ws in zip(rows, who, strict=True)]


def test_a_window_keeps_no_more_than_it_needs():
  model, params = make('rotary', 4, 2, False)
  tokens, start = padded(texts())
  _, cache = model.begin(params, Prompts(tokens, start, ahead=1000, chunk=3))
  sizes = {x.shape for x in jax.tree.leaves(cache.kept)}
  assert sizes == {(2, 2, 6, 6)}  # [b, g, d, s] and [b, g, s, d]; 4 + 3 - 1
  assert cache.place.tolist() == [[6, 1, 2, 3, 4, 5]] * 2
