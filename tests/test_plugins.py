"""Blocks within blocks, and keys that are the loop's."""

import dataclasses
import sys
import types
from typing import Any

import flax.linen as nn
import ml_collections
import pytest

from ctxlm import config, plugins
from ctxlm.data.sources import files
from ctxlm.errors import UserError
from ctxlm.evaluators import losses, sts
from ctxlm.models import recurrent, transformer
from ctxlm.training import cadence
from tests import tiny


class Model(nn.Module):
  """One model around another, and others beside it."""

  scale: float = 1.0
  model: Any = plugins.field('models')
  others: Any = plugins.field('models')


@pytest.fixture
def wrapped(monkeypatch):
  """The block of such a model, whose module is `mylab.around`."""
  module = types.SimpleNamespace(Model=Model)
  for name in ('mylab', 'mylab.around'):
    monkeypatch.setitem(sys.modules, name, module)
  inner = {'name': 'transformer', 'hidden_size': 8, 'num_heads': 2}
  return ml_collections.ConfigDict(
    {
      'name': 'mylab.around',
      'scale': 0.5,
      'model': inner,
      'others': [{'name': 'recurrent', 'hidden_size': 4}],
    }
  )


def test_a_block_within_a_block_becomes_a_plug_in(wrapped):
  built = plugins.build('models', wrapped, vocab_size=7, max_length=5)
  assert built.scale == 0.5
  assert type(built.model) is transformer.Model
  assert built.model.hidden_size == 8
  (other,) = built.others
  assert type(other) is recurrent.Model
  # The loop's own are given where they are taken.
  assert {(m.vocab_size, m.max_length) for m in (built.model, other)} == {
    (7, 5)
  }


@pytest.mark.parametrize(
  'path, key, wanted',
  [
    (
      'model',
      'hidden_sise',
      r"config.model.model.hidden_sise: .*'hidden_size'",
    ),
    ('model', 'name', r'7 is no name'),
  ],
)
def test_a_mistake_within_is_told_with_its_path(wrapped, path, key, wanted):
  wrapped[path].unlock()
  wrapped[path][key] = '7'
  with pytest.raises(UserError, match=wanted.replace('7', "'7'")):
    plugins.check('models', wrapped, 'config.model.')


def test_no_block_where_one_belongs(wrapped):
  block = wrapped.to_dict() | {'model': 'transformer'}
  with pytest.raises(UserError, match='config.model.model must be a block'):
    plugins.check('models', block, 'config.model.')


def test_an_evaluators_data_is_a_source():
  block = {'name': 'sts', 'data': {'name': 'files', 'pattern': 'a'}}
  assert plugins.build('evaluators', block) == sts.Evaluator(
    data=files.Source(pattern='a')
  )


def test_the_loops_keys_reach_no_plug_in():
  block = {'name': 'losses', 'task': 'a', 'every_steps': 3}
  assert plugins.build('evaluators', block) == losses.Evaluator(task='a')
  assert not any(
    'every_steps' in (f.name for f in dataclasses.fields(cls))
    for cls in (losses.Evaluator, sts.Evaluator)
  )
  c = tiny.get_config()
  c.evaluators = {'a': block, 'b': {'name': 'losses'}}
  assert cadence.cadences(c) == {'a': 3, 'b': 0}
  with pytest.raises(UserError, match="Did you mean 'every_steps'"):
    plugins.check(
      'evaluators', {'name': 'losses', 'every_step': 3}, 'config.evaluators.a.'
    )


@pytest.mark.parametrize('every', ['3', 1.5, -1, True])
def test_a_cadence_is_a_whole_number(text, every):
  c = tiny.get_config()
  c.evaluators.a = {'name': 'losses', 'every_steps': every}
  with pytest.raises(UserError, match='config.evaluators.a.every_steps='):
    config.check(c)
