"""Evaluators on a run: every example once, and numbers by hand."""

import dataclasses
import math

import jax
import numpy as np
import pytest
from scipy import stats

from ctxlm import plugins
from ctxlm.data.sources import corpus
from ctxlm.errors import UserError
from ctxlm.evaluators import alignment, losses, perplexity, sts


def context(run, batch_size=8):
  run.config.batch_size = batch_size
  made = run.program.bench
  made.params = run.params
  return made


def token_by_token(run, split='validation'):
  """Returns (nats, tokens) of the split's documents by the chain rule.

  Each window of each document is run alone, with no packing and no padding.
  """
  made = context(run)
  view = made.view(made.task(), split)
  forward = jax.jit(
    lambda piece: run.program.apply(run.params, lambda m: m.logits(m(piece)))
  )
  nats = count = 0
  for i in range(len(view)):
    example = view.read(i, np.random.default_rng(0))
    for segment in range(1, example['segment_ids'].max() + 1):
      piece = example['tokens'][example['segment_ids'] == segment]
      logits = np.asarray(forward(piece[None, :-1]))[0].astype(np.float64)
      p = np.exp(logits - logits.max(1, keepdims=True))
      p /= p.sum(1, keepdims=True)
      nats -= np.log(p[np.arange(len(piece) - 1), piece[1:]]).sum()
      count += len(piece) - 1
  return nats, count


@pytest.mark.slow
def test_perplexity_is_that_of_documents_one_by_one(runs):
  run = runs['causal']
  found = perplexity.Evaluator().run(context(run))
  nats, count = token_by_token(run)
  assert found['tokens'] == count
  np.testing.assert_allclose(found['loss'], nats / count, rtol=1e-5)
  np.testing.assert_allclose(found['perplexity'], math.exp(found['loss']))
  source = context(run).view(run.program.tasks[0], 'validation')
  bits = nats / math.log(2) / source.num_bytes
  np.testing.assert_allclose(found['bits_per_byte'], bits, rtol=1e-5)


@pytest.mark.parametrize('name', ['causal', 'mlm'])
def test_ragged_last_batch_counts_once(runs, name):
  run = runs[name]
  size = len(context(run).view(run.program.tasks[0], 'train'))
  assert size % 56  # and 8 devices hold uneven shares of the rest
  a, b = (context(run, n).sums(run.program.tasks[0], 'train') for n in (8, 56))
  for key in a:
    assert a[key][1] == b[key][1]
    np.testing.assert_allclose(a[key][0], b[key][0], rtol=1e-5)


def test_losses_are_ratios_of_sums(runs):
  run = runs['mlm']
  found = losses.Evaluator().run(context(run))
  sums = context(run).sums(run.program.tasks[0], 'validation')
  assert found['accuracy'] == sums['accuracy'][0] / sums['accuracy'][1]
  assert sums['accuracy'][1] > 0


def test_a_prefix_has_no_bits_per_byte(runs):
  """A part of the text isn't predicted, and all its bytes would count."""
  bench = context(runs['causal'])
  task = bench.task()
  objective = dataclasses.replace(task.objective, prefix=0.5)
  bench.tasks = {task.name: dataclasses.replace(task, objective=objective)}
  bench._compiled, bench._views = {}, {}
  found = perplexity.Evaluator().run(bench)
  bench.tasks = {task.name: task}
  bench._compiled, bench._views = {}, {}
  assert found['perplexity'] > 1 and 'bits_per_byte' not in found


def views(run, split='validation'):
  """Returns each text's vector in training, float64 [n, m], no dropout."""
  made = context(run)
  view, objective = made.view(made.task(), split), made.task().objective
  rows = [objective.row(view.read(i, None)['text']) for i in range(len(view))]
  tokens, segments = (np.stack(x) for x in zip(*rows, strict=True))
  vectors = run.program.apply(
    run.params,
    lambda m: objective.embed(m, tokens, segments, project=True),
  )
  vectors = np.asarray(vectors, np.float64)
  return vectors / np.linalg.norm(vectors, axis=1, keepdims=True), tokens


@pytest.mark.parametrize('size', [8, 128])
def test_every_example_has_as_many_negatives(runs, size):
  """The last batch is filled with the first examples, which don't count."""
  run = runs['contrastive']
  vectors, tokens = views(run)
  count = len(vectors)
  assert count % 8 and count < 128
  nats = 0.0
  for start in range(0, count, size):
    at = [i % count for i in range(start, start + min(size, count))]
    for i in range(start, min(start + size, count)):
      e = np.exp(vectors[at] @ vectors[i] / 0.05)
      differ = [j == i or (tokens[j] != tokens[i]).any() for j in at]
      nats += np.log(e[differ].sum()) - np.log(np.exp(1 / 0.05))
  found = context(run, size).sums(run.program.tasks[0], 'validation')['loss']
  context(run)
  np.testing.assert_allclose(found[0], nats, rtol=1e-4)
  assert found[1] == count


def test_alignment_by_hand(runs):
  """Halves of texts: distances, one half's uniformity, nearest by name."""
  run = runs['contrastive']
  made = context(run)
  view, objective = made.view(made.task(), 'validation'), made.task().objective
  halves = []
  for i in range(len(view)):
    words = view.read(i, None)['text'].split()
    cut = len(words) // 2
    halves.append((' '.join(words[:cut]), ' '.join(words[cut:])))
  rows = [objective.row(text) for pair in halves for text in pair]
  vectors = made.vectors(made.task(), rows).astype(np.float64)
  vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
  x, y = vectors[::2], vectors[1::2]
  potentials, right = [], 0
  for i, (first, second) in enumerate(halves):
    potentials += [np.exp(-2 * ((x[i] - z) ** 2).sum()) for z in x[:i]]
    rivals = [
      j
      for j, (a, b) in enumerate(halves)
      if a != first and b not in (first, second)
    ]
    right += all(x[i] @ y[j] < x[i] @ y[i] for j in rivals)
  found = alignment.Evaluator().run(made)
  np.testing.assert_allclose(
    found['alignment'], ((x - y) ** 2).sum(1).mean(), rtol=1e-4
  )
  np.testing.assert_allclose(
    found['uniformity'], np.log(np.mean(potentials)), rtol=1e-4
  )
  assert found['retrieval_at_1'] == right / len(x)


def test_sts_ranks_all_pairs_together(runs, tmp_path):
  run = runs['contrastive']
  rng = np.random.default_rng(0)
  words = [
    'cat',
    'dog',
    'bird',
    'king',
    'moon',
    'river',
    'bread',
    'hill',
    'stones',
  ]
  rows = [
    (' '.join(rng.choice(words, 4)), ' '.join(rng.choice(words, 3)), s)
    for s in rng.uniform(0, 5, 21)
  ]
  path = tmp_path / 'sts.tsv'
  path.write_text(
    'a\tb\tscore\n' + ''.join(f'{a}\t{b}\t{s}\n' for a, b, s in rows)
  )
  data = {
    'name': 'files',
    'split_patterns': {'validation': str(path)},
    'fields': {'text_a': 'a', 'text_b': 'b', 'score': 'score'},
  }
  made = context(run)
  found = plugins.build('evaluators', {'name': 'sts', 'data': data}).run(made)
  objective = run.program.tasks[0].objective
  forward = jax.jit(lambda ids: run.program.apply(run.params, lambda m: m(ids)))

  def vector(sentence):  # alone, unpadded, mean of the last hidden states
    t = run.tokenizer
    ids = np.array([[t.cls_id, *t.encode(sentence), t.sep_id]])
    assert ids.shape[1] <= objective.max_length
    v = np.asarray(forward(ids))[0].mean(0)
    return v / np.linalg.norm(v)

  cosines = [vector(a) @ vector(b) for a, b, _ in rows]
  want = stats.spearmanr(cosines, [s for *_, s in rows]).statistic
  assert found['pairs'] == 21
  np.testing.assert_allclose(found['spearman_all'], want, atol=2e-3)


def test_wrong_task_is_one_line(runs):
  with pytest.raises(UserError, match="'nope'"):
    perplexity.Evaluator(task='nope').run(context(runs['causal']))
  with pytest.raises(UserError, match='not contrastive'):
    sts.Evaluator(data=corpus.Source()).run(context(runs['causal']))
  with pytest.raises(UserError, match='not causal'):
    perplexity.Evaluator().run(context(runs['mlm']))
