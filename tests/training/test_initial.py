"""config.init_from: steps that take parameters from folders of any kind."""

import json

import jax
import numpy as np
import pytest

import ctxlm
from ctxlm import config as config_lib
from ctxlm import trees
from ctxlm.configs import finetune
from ctxlm.data.tokenizers import tokenizer as tokenizer_lib
from ctxlm.errors import UserError
from ctxlm.inference import conversion
from ctxlm.parallel import placement as placement_lib
from ctxlm.parallel import pmap
from ctxlm.training import initial, run_folder
from ctxlm.training import program as program_lib
from tests.families import reference

TEXTS = ['the quick brown fox jumps over the lazy dog', 'pack my box'] * 9


@pytest.fixture(scope='module')
def tokenizer(folders):
  return tokenizer_lib.load(folders / '0')


@pytest.fixture(scope='module')
def folders(tmp_path_factory):
  """A reference's BERT with all heads, and a model folder of another's."""
  tokenizer = tokenizer_lib.train('wordpiece', 90, TEXTS)
  path = tmp_path_factory.mktemp('folders')
  for seed in (0, 2):
    drawn = reference.draw('bert', 0)
    drawn.model.resize_token_embeddings(tokenizer.vocab_size)
    reference.randomise(drawn.model, seed)
    drawn.model.save_pretrained(path / f'{seed}')
    tokenizer.save(path / f'{seed}')
  conversion.convert(path / '2', to=path / 'model')
  return path


def program_of(folder, tokenizer, steps=None, **model):
  """Returns the program of masked LM and pairs that starts from a folder."""
  c = finetune.get_config(folder)
  c.max_length = 8
  c.model.update(model)
  if steps is not None:
    c.init_from = steps
  config_lib.check(c)
  rows, one = np.zeros((2, 8), np.int32), np.zeros(2, np.int32)
  features = {name: rows for name in ('tokens', 'segment_ids', 'positions')}
  features |= {name: rows[:, :2] for name in ('masked_positions',)}
  features |= {'masked_targets': rows[:, :2], 'type_ids': rows, 'label': one}
  features |= {'masked_weights': rows[:, :2], 'valid': one, 'index': one}
  placement = placement_lib.make(c)
  return program_lib.build(c, placement, tokenizer, {'text': features})


def sources(program):
  """Returns {path: name of the folder that it is taken from}."""
  taken = initial.choose(program)
  return {path: opened.folder.name for path, opened in taken.items()}


def test_a_reference_is_read_directly(folders, tokenizer):
  program = program_of(folders / '0', tokenizer)
  assert program.tasks[0].objective.pair == 'next_sentence'
  found = sources(program)
  assert found == dict.fromkeys(trees.flatten(program.shapes), '0')
  assert {path.split('/')[1] for path in found if 'heads' in path} == {
    'mlm',
    'pooler',
    'next_sentence',
  }


def test_steps_go_from_left_to_right(folders, tokenizer):
  steps = (
    {'from': str(folders / '0')},
    {'without': '^(inputs|heads)/'},
    {'from': str(folders / 'model')},
    {'without': 'pooler|norm/scale$'},
  )
  program = program_of(folders / '0', tokenizer, steps)
  found = sources(program)
  paths = set(trees.flatten(program.shapes))
  assert set(found.values()) == {'model'}
  left = {p for p in paths if 'pooler' in p or p.endswith('norm/scale')}
  assert left and found.keys() == paths - left
  found = sources(program_of(folders / '0', tokenizer, steps[:2]))
  assert set(found.values()) == {'0'}
  assert {path.split('/')[0] for path in found} == {'stack'}


def test_what_is_taken_is_read(folders, tokenizer, capsys):
  left = 'inputs/type_embed/embedding'
  steps = ({'from': str(folders / 'model')}, {'without': left})
  program = program_of(folders / '0', tokenizer, steps)
  taken = initial.choose(program)
  state = program.init(initial._read(taken, program))
  wanted = trees.flatten(initial.open_folder(folders / '2').read_all())
  fresh = trees.flatten(program.init_params())[left]
  assert np.abs(fresh - wanted[left]).max() > 0.01
  for path, x in trees.flatten(state.params).items():
    if path == left:
      np.testing.assert_allclose(x, fresh, rtol=1e-5, atol=1e-7)
    else:
      np.testing.assert_array_equal(x, wanted[path], path)
  said = capsys.readouterr().err
  assert f'from {folders}/model; initialised afresh: {left}\n' in said


def test_another_shape_is_named_and_can_be_left_out(folders, tokenizer):
  folder = folders / '0'
  program = program_of(folder, tokenizer, type_vocab_size=9)
  with pytest.raises(UserError) as e:
    sources(program)
  path = 'inputs/type_embed/embedding'
  assert f'is of another model: {path} is [' in str(e.value)
  steps = ({'from': str(folder)}, {'without': path})
  program = program_of(folder, tokenizer, steps, type_vocab_size=9)
  assert path not in sources(program)


def test_another_tokenizer_is_refused(folders, tokenizer):
  """A vocabulary of the same size, whose ids mean other tokens."""
  folder = folders / '0'
  words = ' '.join(TEXTS).translate(str.maketrans('quick', 'kciuq'))
  other = tokenizer_lib.train('wordpiece', 90, [words])
  program = program_of(folder, other)
  with pytest.raises(UserError) as e:
    sources(program)
  assert 'was trained with another tokenizer: use its own' in str(e.value)
  assert "'tokenizer': 'any'" in str(e.value) and '\n' not in str(e.value)
  steps = ({'from': str(folder), 'tokenizer': 'any'},)
  program = program_of(folder, other, steps)
  assert sources(program)
  # The reference's settings come with its tokenizer, so they stay behind.
  taken = initial.choose(program)
  assert initial.settings_of(taken, other) is None
  assert initial.settings_of(taken, tokenizer).small == folder


@pytest.mark.parametrize(
  'steps, wanted',
  [
    (3, 'must be a folder, or steps'),
    (('runs/a',), "is no step, such as {'from': FOLDER}"),
    (({},), 'needs one of the keys from, without'),
    (({'from': 'a', 'without': 'b'},), 'needs one of the keys'),
    (({'from': 'a', 'tokeniser': 'any'},), "Did you mean 'tokenizer'"),
    (({'from': 'a', 'tokenizer': 'none'},), "'tokenizer' is 'same' or 'any'"),
    (({'without': '('},), 'is no regular expression'),
    (({'from': 3},), "'from' must be a text"),
  ],
)
def test_mistakes_are_one_line(steps, wanted):
  with pytest.raises(UserError) as e:
    config_lib.init_steps(steps)
  assert wanted in str(e.value) and '\n' not in str(e.value)


def test_steps_of_the_config_are_those_that_are_done(folders, tokenizer):
  assert initial.STEPS.keys() == config_lib.INIT_STEPS.keys()
  program = program_of(
    folders / '0', tokenizer, ({'from': str(folders / '0')}, {'without': 'x!'})
  )
  with pytest.raises(UserError, match="'x!' meets no parameter"):
    sources(program)


def test_steps_survive_json(folders, tokenizer):
  steps = ({'from': 'a', 'step': '3'}, {'without': 'b'})
  c = program_of(folders / '0', tokenizer, steps).config
  again = config_lib.from_json(config_lib.to_json(c))
  assert config_lib.init_steps(again.init_from) == steps


def test_run_folders_of_another_layout_are_refused(
  folders, tokenizer, tmp_path
):
  c = program_of(folders / '0', tokenizer).config
  run_folder.write(c, tokenizer, tmp_path / 'run')
  again = run_folder.load_config(tmp_path / 'run')
  assert config_lib.to_json(again) == config_lib.to_json(c)
  path = tmp_path / 'run/config.json'
  content = json.loads(path.read_text())
  del content['layout']
  path.write_text(json.dumps(content))
  for use in (
    lambda: run_folder.agree(c, tmp_path / 'run'),
    lambda: run_folder.load(tmp_path / 'run'),
    lambda: initial.open_folder(tmp_path / 'run'),
  ):
    with pytest.raises(UserError, match='of layout 1, and this is for 2') as e:
      use()
    assert '\n' not in str(e.value)


def test_vectors_are_those_of_the_encoder(runs):
  """Whose likeness is then of meaning, and not of the folder's first texts."""
  folder = runs['contrastive'].workdir
  placement = pmap.Pmap(jax.devices()[:2])
  texts = ['the cat sees the moon', 'a bird likes two stones']
  found = initial.vectors_by(placement, folder, texts)
  np.testing.assert_allclose(found, ctxlm.load(folder).embed(texts), atol=1e-5)
