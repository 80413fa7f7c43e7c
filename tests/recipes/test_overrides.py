"""Overrides: what they reach, how texts are read, and what mistakes answer."""

import sys

import ml_collections
import pytest
from absl import flags
from ml_collections import config_flags

from ctxlm import config, plugins, ranges
from ctxlm.configs import quickstart_mlm, simcse
from ctxlm.errors import UserError
from ctxlm.recipes import overrides
from tests import test_plugins, tiny


def flat(block, above=''):
  """Returns {path: value} of what is no block."""
  found = {}
  for key, value in block.items():
    if isinstance(value, dict) and value:
      found |= flat(value, f'{above}{key}.')
    else:
      found[above + key] = value
  return found


def change(lines, make=quickstart_mlm.get_config):
  """Returns ({path: value} that came or changed, {paths that went})."""
  c = make().lock()
  before = flat(c.to_dict())
  pairs = [line.split('=', 1) for line in lines]
  for order in (pairs, pairs[::-1]):  # it doesn't matter
    c = make().lock()
    assert overrides.apply(c, order) is c and c.is_locked
    config.check(c)
    after = flat(c.to_dict())
    came = {k: v for k, v in after.items() if before.get(k, ...) != v}
    gone = before.keys() - after.keys()
  return came, gone


@pytest.mark.parametrize(
  'line, value',
  [
    ('num_steps=0x10', 16),
    ('optimizer.learning_rate=1', 1.0),
    ('tracking.wandb=TRUE', True),
    ('optimizer.schedule=rsqrt', 'rsqrt'),
    ("optimizer.factors=(('heads/', 10.0),)", (('heads/', 10.0),)),
    ('init_from=runs/x', 'runs/x'),
    ('tokenizer.kind=none', 'none'),
  ],
)
def test_what_recipes_write_is_read_as_ml_collections_does(line, value):
  values = flags.FlagValues()
  config_flags.DEFINE_config_dict(
    'config', config.base(), flag_values=values, sys_argv=[f'--config.{line}']
  )
  values(['', f'--config.{line}'])
  path, text = line.split('=', 1)
  c = overrides.apply(config.base(), [(path, text)])
  ours, theirs = flat(c.to_dict()), flat(values.config.to_dict())
  assert ours == theirs and ours[path] == value
  assert type(ours[path]) is type(theirs[path])


def test_every_option_is_reached():
  c = tiny.get_config()
  for kind, path in (
    ('models', 'model'),
    ('data.sources', 'tasks.causal.data'),
    ('objectives', 'tasks.causal.objective'),
    ('evaluators', 'evaluators.new'),
  ):
    for name in plugins.names(kind):
      cls = plugins.find(kind, name)
      defaults = ranges.block(cls)
      wanted = {'name': name} | {
        k: defaults[k] for k in plugins.options(cls) if k not in ('task',)
      }
      pairs = [(f'{path}.{k}', str(v)) for k, v in wanted.items()]
      overrides.apply(c, pairs[::-1])
      block = c
      for key in path.split('.'):
        block = block[key]
      assert block.to_dict() == {
        k: v.to_dict() if isinstance(v, ml_collections.ConfigDict) else v
        for k, v in wanted.items()
      }


@pytest.mark.parametrize(
  'lines, came',
  [
    (['model.num_kv_heads=2'], {'model.num_kv_heads': 2}),
    (
      ['tasks.text.data.pattern=x/*.txt', 'tasks.text.data.name=files'],
      {'tasks.text.data.name': 'files', 'tasks.text.data.pattern': 'x/*.txt'},
    ),
    (
      ['evaluators.mine.every_steps=3', 'evaluators.mine.name=perplexity'],
      {'evaluators.mine.every_steps': 3, 'evaluators.mine.name': 'perplexity'},
    ),
    (
      ['tasks.two.data.name=corpus', 'tasks.two.objective.name=causal'],
      {
        'tasks.two.data.name': 'corpus',
        'tasks.two.objective.name': 'causal',
        'tasks.two.weight': 1.0,
      },
    ),
    (
      ['tasks.text.data.name=files', 'tasks.text.data.pattern=x']
      + ['tasks.text.data.columns=a, b', 'tasks.text.data.fields.text=a'],
      {
        'tasks.text.data.name': 'files',
        'tasks.text.data.pattern': 'x',
        'tasks.text.data.columns': ('a', 'b'),
        'tasks.text.data.fields.text': 'a',
      },
    ),
    (['model.gated=TRUE', 'model.dropout=0'], {'model.gated': True,
      'model.dropout': 0.0}),
    (
      ['optimizer.factors.0.1=10'],
      {'optimizer.factors': (('relative_position', 10.0),)},
    ),
    (
      ["optimizer={'name': 'sgd', 'momentum': 0.9}", 'optimizer.momentum=0.5'],
      {'optimizer.name': 'sgd', 'optimizer.momentum': 0.5},
    ),
    (
      ["init_from=({'from': 'a'}, {'without': 'b'})", 'init_from.0.from=c'],
      {'init_from': ({'from': 'c'}, {'without': 'b'})},
    ),
    (["evaluators.two={'name': 'losses'}"], {'evaluators.two.name': 'losses'}),
  ],
)  # fmt: skip
def test_what_no_recipe_wrote(lines, came):
  assert change(lines) == (came, set())


def test_another_name_begins_anew():
  came, gone = change(['model.hidden_size=8', 'model.name=recurrent'])
  assert came == {'model.hidden_size': 8, 'model.name': 'recurrent'}
  assert gone == {
    f'model.{k}' for k in quickstart_mlm.get_config().model
  } - set(came)
  # The same name, and an optimizer's, which is no plug-in's, keep the others.
  assert change(['model.name=transformer', 'optimizer.name=sgd']) == (
    {'optimizer.name': 'sgd'},
    set(),
  )
  # What is the loop's own stays.
  came, gone = change(['evaluators.mlm.name=perplexity'])
  assert came == {'evaluators.mlm.name': 'perplexity'} and not gone
  # A block in a plug-in's.
  data = 'evaluators.sts.data.'
  came, gone = change(
    [f'{data}dataset=glue/stsb', f'{data}name=tfds'], simcse.get_config
  )
  assert came == {f'{data}dataset': 'glue/stsb', f'{data}name': 'tfds'}
  assert len(gone) == 4 and all(key.startswith(data) for key in gone)


def test_a_block_is_put_in_place_of_one():
  came, gone = change(["model={'name': 'recurrent'}", 'model.hidden_size=8'])
  assert came == {'model.hidden_size': 8, 'model.name': 'recurrent'} and gone
  came, gone = change(['evaluators={}'])
  assert came == {'evaluators': {}}
  assert gone == {'evaluators.mlm.name', 'evaluators.mlm.every_steps'}


def test_blocks_in_a_plug_ins_block(monkeypatch):
  monkeypatch.setitem(sys.modules, 'mylab.around', test_plugins)
  c = config.base()
  one = "[{'name': 'recurrent', 'hidden_size': 4}]"
  pairs = {
    'model.name': 'mylab.around',
    'model.others': one,
    'model.others.0.hidden_size': '8',
    'model.model.num_heads': '2',
    'model.model.name': 'transformer',
  }
  overrides.apply(c, pairs.items())
  plugins.check('models', c.model)
  assert plugins.build('models', c.model).others[0].hidden_size == 8
  assert c.model.model.num_heads == 2
  assert overrides.apply(c, [('model.model', 'none')]).model.model is None


def test_references_follow():
  c = config.base()
  c.model.max_length = c.get_ref('max_length')
  c.model.window = c.get_ref('max_length') // 2
  overrides.apply(c.lock(), [('max_length', '64')])
  assert (c.model.max_length, c.model.window) == (64, 32)
  c = config.base()
  c.model.dropout = ml_collections.config_dict.placeholder(float)
  assert overrides.apply(c, [('model.dropout', '0.5')]).model.dropout == 0.5


def test_values_that_are_no_text_stay():
  pairs = {'optimizer.learning_rate': 1, 'num_steps': 7, 'model.dropout': 0}
  c = overrides.apply(config.base(), pairs.items())
  assert type(c.model.dropout) is float
  assert type(c.optimizer.learning_rate) is float and c.num_steps == 7


@pytest.mark.parametrize(
  'lines, wanted',
  [
    (['batchsize=8'], r"batchsize: no key 'batchsize'. Did you mean 'batch_s"),
    (['optimizer.xyzzy=1'], "no key 'xyzzy' in config.optimizer. Known: b1, "),
    (['seed.value=1'], "seed.value: no 'value'"),
    (['seed=many'], '--config.seed=many: it must be a whole number$'),
    (['optimizer.b1=high'], 'b1=high: it must be a number$'),
    (['model.gated=maybe'], 'gated=maybe: it must be True or False$'),
    (['model.hidden_sise=8'], "'hidden_sise'. It has: hidden_size, .* more.$"),
    (['model.name=transfromer'], "model.name: no models .* 'transformer'[?]$"),
    (
      ['tasks.text.data.pattern=x'],
      "'corpus' has no option 'pattern'; 'files' would: "
      '--config.tasks.text.data.name=files, or --data in place of both. '
      'It has: unit, fields.$',
    ),
    (['tasks.text.data=x'], 'data=x: it must be a block of keys'),
    (['tasks.txt.weight=2'], "no 'txt' in config.tasks. Did you mean 'text'"),
    (
      ['evaluators.mien.every_steps=2'],
      'A new one needs --config.evaluators.mien.name$',
    ),
    (['tasks.b.data.name=corpus'], 'and --config.tasks.b.objective.name$'),
    (["evaluators.a={'task': ''}", 'evaluators.a.split=x'], 'has no name yet'),
    (['optimizer.factors.1.1=1'], "no number '1' in a list of 1"),
    (['model..x=1'], "'transformer' has no option ''"),
  ],
)
def test_mistakes(lines, wanted):
  with pytest.raises(UserError, match=wanted) as e:
    change(lines)
  line = str(e.value)
  assert line.startswith('--config.') and len(line) < 400
  assert '\\' not in line and '\n' not in line
