"""A head needs an objective that calls it, and a line in a family's table."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
import transformers as tr

from ctxlm import plugins, trees
from ctxlm.families import answers, bert, folder, source
from ctxlm.families import family as family_lib
from ctxlm.models.variables import make_apply
from tests.families import reference

SHAPE = dict(
  vocab_size=30,
  hidden_size=12,
  num_hidden_layers=1,
  num_attention_heads=2,
  intermediate_size=20,
  max_position_embeddings=16,
)
LINE = {'classifier': {'heads/classifier': 'classifier'}}


def classify(model, tokens):
  """Returns logits of three labels, as an objective of its own would."""
  from ctxlm.objectives import mlm

  hidden = model(tokens)
  pooled = model.head('pooler', mlm.Pooler(model.options), hidden)
  return model.head('classifier', nn.Dense(3), pooled)


@pytest.fixture(scope='module')
def theirs():
  found = tr.BertForSequenceClassification(tr.BertConfig(num_labels=3, **SHAPE))
  reference.randomise(found)
  return found.eval()


def test_a_new_head_is_read_and_written(theirs):
  # Ours of the same tensors stand aside.
  own = bert.FAMILY.heads.items()
  others = {k: v for k, v in own if k not in answers.NAMES}
  family = dataclasses.replace(bert.FAMILY, heads=others | LINE)
  block = family.options(theirs.config.to_dict())
  model = plugins.build('models', block)
  options = family_lib.complete(block)
  weights = {k: v.numpy() for k, v in theirs.state_dict().items()}
  places = source.Source(family, weights).places(folder.shapes(model), options)
  whole = {
    path: p.read(tuple(slice(0, n) for n in p.shape.shape))
    for path, p in places.items()
  }
  assert whole['heads/classifier/kernel'].shape == (12, 3)
  tokens = np.random.default_rng(0).integers(1, 30, (4, 9))
  ours = make_apply(model)(
    trees.nest(whole), lambda model: classify(model, tokens)
  )
  with torch.no_grad():
    wanted = theirs(torch.tensor(tokens)).logits
  np.testing.assert_allclose(ours, wanted, atol=1e-5)
  at, head = family.place('heads/classifier/kernel', (12, 3), options)
  assert (at.names, head) == (('classifier.weight',), 'classifier')
  back = at.write(whole['heads/classifier/kernel'])
  np.testing.assert_array_equal(back, weights['classifier.weight'])


def test_values_are_of_the_seed_and_the_path_alone():
  """Another head, and whether one is called twice, changes no other value."""
  block = {'name': 'transformer', 'vocab_size': 9, 'hidden_size': 8}
  model = plugins.build('models', block | {'num_layers': 1, 'num_heads': 2})
  tokens = jnp.zeros((1, 3), jnp.int32)

  def values(*names):
    def forward(model):
      hidden = model(tokens)
      for name in names:
        model.head(name, nn.Dense(5), hidden)
      return model.logits(hidden)

    made = model.init(jax.random.key(1), method=forward)
    return trees.flatten(made['params'])

  none, one, two = values(), values('a'), values('b', 'a', 'a')
  assert one.keys() - none.keys() == {'heads/a/kernel', 'heads/a/bias'}
  for name, x in (none | one).items():
    np.testing.assert_array_equal(two[name], x, name)
  assert not np.array_equal(two['heads/a/kernel'], two['heads/b/kernel'])
