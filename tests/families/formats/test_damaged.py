"""Damaged, foreign and hostile checkpoints: one line, nothing runs or stays."""

import json
import pickle
import subprocess
import sys

import pytest
import safetensors.numpy
import torch
import transformers

from ctxlm.errors import UserError
from ctxlm.inference import conversion


def contents(path):
  return {
    str(p.relative_to(path)): p.read_bytes() if p.is_file() else None
    for p in path.rglob('*')
  }


class Evil:
  """Unpickled, it would write a file."""

  def __init__(self, path):
    self.path = str(path)

  def __reduce__(self):
    return open, (self.path, 'w')


def break_truncated(path):
  file = path / 'model.safetensors'
  file.write_bytes(file.read_bytes()[:-5])
  return 'model.safetensors is damaged'


def break_header(path):
  (path / 'model.safetensors').write_bytes(b'\xff' * 100)
  return 'model.safetensors is damaged'


def break_family(path):
  change(path, model_type='bertt')
  return "model_type 'bertt' is of no family here; there are bart, bert, "


def break_json(path):
  (path / 'config.json').write_text('{')
  return 'config.json is not JSON'


def break_no_config(path):
  (path / 'config.json').unlink()
  return 'no file'


def break_no_weights(path):
  (path / 'model.safetensors').unlink()
  return 'has no model.safetensors'


def break_key(path):
  change(path, hidden_size=None)
  return "config.json has no 'hidden_size'"


def break_activation(path):
  change(path, hidden_act='mish')
  return "activation 'mish' is not supported"


def break_decoder(path):
  change(path, is_decoder=True)
  return 'is_decoder=True is not supported'


def break_shape(path):
  change(path, intermediate_size=77)
  return 'has shape [8, 12]; config.json asks for [8, 77]'


def break_missing(path):
  change_weights(path, lambda w: w.pop('bert.embeddings.LayerNorm.bias'))
  return 'embeddings.LayerNorm.bias is missing'


def break_missing_of_head(path):
  change_weights(path, lambda w: w.pop('bert.pooler.dense.bias'))
  return 'pooler.dense.bias is missing'


def break_extra(path):
  change_weights(
    path,
    lambda w: w.update({'bert.encoder.more': w['cls.seq_relationship.weight']}),
  )
  return 'encoder.more, which has no place in a bert model'


def break_vocabulary(path):
  file = path / 'tokenizer.json'
  content = json.loads(file.read_text())
  content['added_tokens'].append(
    content['added_tokens'][0] | {'id': 5000, 'content': '[MORE]'}
  )
  for i in range(100):
    content['model']['vocab'][f'more{i}'] = 90 + i
  file.write_text(json.dumps(content))
  return 'tokens, more than the'


def break_tokenizer(path):
  (path / 'tokenizer.json').write_text('{}')
  return 'tokenizer.json is no tokenizer'


def break_no_tokenizer(path):
  (path / 'tokenizer.json').unlink()
  return 'has no tokenizer'


def evil(old):
  def break_pickle(path):
    (path / 'model.safetensors').unlink()
    victim = path.parent / 'executed'
    weights = {'a': torch.zeros(3), 'b': Evil(victim)}
    torch.save(
      weights,
      path / 'pytorch_model.bin',
      _use_new_zipfile_serialization=not old,
    )
    return 'it asks to run '

  return break_pickle


def break_plain_pickle(path):
  (path / 'model.safetensors').unlink()
  with (path / 'pytorch_model.bin').open('wb') as f:
    pickle.dump({'b': Evil(path.parent / 'executed')}, f)
  return 'it asks to run '


def break_bin(cut):
  def break_(path):
    weights = safetensors.numpy.load_file(path / 'model.safetensors')
    (path / 'model.safetensors').unlink()
    file = path / 'pytorch_model.bin'
    torch.save(
      {k: torch.tensor(v) for k, v in weights.items()},
      file,
      _use_new_zipfile_serialization=cut != 'old',
    )
    size = file.stat().st_size
    file.write_bytes(file.read_bytes()[: size // 2 if cut != 'start' else 9])
    return 'pytorch_model.bin'

  return break_


def change(path, **keys):
  config = json.loads((path / 'config.json').read_text()) | keys
  (path / 'config.json').write_text(json.dumps(config))


def change_weights(path, function):
  file = path / 'model.safetensors'
  weights = safetensors.numpy.load_file(file)
  function(weights)
  safetensors.numpy.save_file(weights, file)


MISTAKES = [
  break_truncated,
  break_header,
  break_family,
  break_json,
  break_no_config,
  break_no_weights,
  break_key,
  break_activation,
  break_decoder,
  break_shape,
  break_missing,
  break_missing_of_head,
  break_extra,
  break_vocabulary,
  break_tokenizer,
  break_no_tokenizer,
  evil(False),
  evil(True),
  break_plain_pickle,
  break_bin('middle'),
  break_bin('old'),
  break_bin('start'),
]


@pytest.fixture(scope='module')
def whole(tmp_path_factory, tokenizer):
  """A folder with nothing wrong; its vocabulary fits its embedding."""
  path = tmp_path_factory.mktemp('whole')
  config = transformers.BertConfig(
    vocab_size=tokenizer.vocab_size,
    hidden_size=8,
    num_hidden_layers=1,
    num_attention_heads=2,
    intermediate_size=12,
    max_position_embeddings=16,
  )
  model = transformers.BertForPreTraining(config)
  model.save_pretrained(path)
  tokenizer.save(path)
  return path


@pytest.mark.parametrize('spoil', MISTAKES)
def test_mistakes_are_one_line_and_write_nothing(whole, tmp_path, spoil):
  source = tmp_path / 'source'
  source.mkdir()
  for path in whole.iterdir():
    (source / path.name).write_bytes(path.read_bytes())
  wanted = spoil(source)
  before = contents(tmp_path)
  with pytest.raises(UserError) as e:
    conversion.convert(source, tmp_path / 'run', tmp_path / 'hf')
  assert wanted in str(e.value) and len(str(e.value)) < 400
  assert '\n' not in str(e.value) and 'source' in str(e.value)
  assert contents(tmp_path) == before


def test_command_line(whole, tmp_path):
  (tmp_path / 'there').mkdir()
  (tmp_path / 'there/thesis.tex').write_text('years of work')
  argv = [sys.executable, '-m', 'ctxlm', 'convert', f'--from={whole}']
  for target in ('--to', '--to-hf'):
    done = subprocess.run(
      [*argv, f'{target}={tmp_path / "there"}'], capture_output=True, text=True
    )
    assert done.returncode == 2 and done.stderr.count('\n') == 1
    assert 'is there already' in done.stderr
  assert len(contents(tmp_path)) == 2
