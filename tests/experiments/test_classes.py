"""Sequences of labelled vectors, and the model that reads them."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ctxlm.experiments import bayes, classes

SOURCE = classes.Source(
  dim=16, num_classes=24, num_labels=12, noise=0.01, num_examples=300
)


def batch(count=400, **options):
  source = dataclasses.replace(SOURCE, **options)
  keys = jax.random.split(jax.random.key(0), count)
  return source, jax.device_get(jax.jit(jax.vmap(source.example))(keys))


def nearest(source, xs):
  away = ((xs[..., None, :] - source.means) ** 2).sum(-1)
  return away.argmin(-1)


def test_bursts():
  source, made = batch()
  assert made['xs'].shape == (400, 9, 16)
  near = nearest(source, made['xs'])
  np.testing.assert_array_equal(near[:, :-1] % 12, made['labels'])
  np.testing.assert_array_equal(near[:, -1] % 12, made['target'])
  asked = (near[:, :-1] == near[:, -1:]).sum(1)
  # Two classes that are drawn may be one.
  assert set(asked) <= {2, 4, 6, 8} and (asked == 2).mean() > 0.8
  first = (near[:, 0] == near[:, -1]).mean()
  assert first < 0.4  # the asked class stands anywhere
  _, alone = batch(burstiness=0)
  near = nearest(source, alone['xs'])
  some = (near[:, :-1] == near[:, -1:]).any(1).mean()
  assert some == pytest.approx(1 - (23 / 24) ** 8, abs=0.1)
  with pytest.raises(ValueError, match='burstiness=3'):
    classes.Source(burstiness=3)
  with pytest.raises(ValueError, match='num_labels'):
    classes.Source(num_classes=16)


def test_shares_noise_and_nested_classes():
  source, made = batch(2000, zipf=1.0)
  found = np.bincount(nearest(source, made['xs'][:, -1]), minlength=24) / 2000
  np.testing.assert_allclose(found, source.shares, atol=0.04)
  assert source.shares[0] == pytest.approx(2 * source.shares[1])
  source, made = batch(noise=0.75)
  assert (made['xs'] ** 2).sum(-1).mean() == pytest.approx(1, rel=0.1)
  more = dataclasses.replace(source, num_classes=30).means
  np.testing.assert_array_equal(more[:24], source.means)


def test_what_is_judged():
  found = {kind: classes.judged(SOURCE, 2, kind) for kind in classes.KINDS}
  for kind, made in found.items():
    assert made['xs'].shape == (300, 9, 16) and made['labels'].shape == (300, 8)
    known = nearest(SOURCE, made['xs'])
    for xs, labels, target, own, near in zip(*made.values(), known):
      names, copies = np.unique(labels, return_counts=True)
      assert len(names) == 4 and (copies == 2).all()
      inside = ((xs[:-1] - xs[-1]) ** 2).sum(-1) < 0.1
      if kind == 'in_weights':
        assert target not in labels and not inside.any()
        assert near[-1] % 12 == target == own
      else:
        assert set(labels[inside]) == {target} and inside.sum() == 2
      if kind == 'flipped':
        assert near[-1] % 12 == own and own not in labels
  best = classes.fixed(SOURCE, 2)
  assert best['flipped'][1] is None
  for kind in ('in_context', 'in_weights'):
    made, labels = best[kind]
    assert (labels == made['target']).mean() > 0.99  # as there is no noise
  noisy = dataclasses.replace(SOURCE, noise=2.0, num_examples=1500)
  made, labels = classes.fixed(noisy, 2)['in_weights']
  said = bayes.label_in_weights(
    made['xs'][:, -1], made['labels'], noisy.means, noisy.shares, 12, 2.0
  )
  # It is as often right as it says.
  right = (labels == made['target']).mean()
  assert right == pytest.approx(said.max(-1).mean(), abs=0.04)
  assert right < 0.9
  made, labels = classes.fixed(noisy, 2)['in_context']
  said = bayes.label_in_context(made['xs'], made['labels'], 12, 2.0)
  right = (labels == made['target']).mean()
  assert right == pytest.approx(said.max(-1).mean(), abs=0.04)
  assert right < 0.9


def test_model_sees_all_pairs_and_the_last_item():
  model = classes.Model(
    vocab_size=12, hidden_size=8, num_layers=1, num_heads=1, max_length=17
  )
  _, made = batch(1)
  xs, labels = jnp.asarray(made['xs']), jnp.asarray(made['labels'])
  variables = model.init(jax.random.key(0), xs, labels)
  out = jax.jit(model.apply)(variables, xs, labels)
  assert out.shape == (1, 12)
  by_x = jax.jit(jax.jacrev(lambda x: model.apply(variables, x, labels)))(xs)
  assert (abs(by_x).sum((0, 1, 2, 4)) > 0).all()
  for place in range(8):
    other = labels.at[0, place].add(1) % 12
    assert (jax.jit(model.apply)(variables, xs, other) != out).any()
