"""Checkpoints that TensorFlow wrote (see tensorflow/write.py) load whole."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

import ctxlm
from ctxlm.errors import UserError
from ctxlm.families.formats import tf_checkpoint
from ctxlm.trees import path_name
from tests.families.tensorflow import write

FOLDER = Path(write.__file__).parent
LAYER = 'stack/layers_1'
BERT = {
  'inputs/token_embed/embedding': 'bert/embeddings/word_embeddings',
  'inputs/position_embed/embedding': 'bert/embeddings/position_embeddings',
  'inputs/type_embed/embedding': 'bert/embeddings/token_type_embeddings',
  'inputs/norm/scale': 'bert/embeddings/LayerNorm/gamma',
  f'{LAYER}/attention/key/kernel': (
    'bert/encoder/layer_1/attention/self/key/kernel'
  ),
  f'{LAYER}/attention/key/bias': 'bert/encoder/layer_1/attention/self/key/bias',
  f'{LAYER}/attention/out/kernel': (
    'bert/encoder/layer_1/attention/output/dense/kernel'
  ),
  f'{LAYER}/attention_norm/bias': (
    'bert/encoder/layer_1/attention/output/LayerNorm/beta'
  ),
  f'{LAYER}/mlp/up/kernel': 'bert/encoder/layer_1/intermediate/dense/kernel',
  f'{LAYER}/mlp/down/bias': 'bert/encoder/layer_1/output/dense/bias',
  f'{LAYER}/mlp_norm/scale': 'bert/encoder/layer_1/output/LayerNorm/gamma',
  'heads/pooler/dense/kernel': 'bert/pooler/dense/kernel',
  'heads/mlm/dense/kernel': 'cls/predictions/transform/dense/kernel',
  'heads/mlm/norm/bias': 'cls/predictions/transform/LayerNorm/beta',
  'heads/mlm/bias': 'cls/predictions/output_bias',
  'heads/next_sentence/bias': 'cls/seq_relationship/output_bias',
}
GPT2 = {
  'inputs/token_embed/embedding': 'model/wte',
  'inputs/position_embed/embedding': 'model/wpe',
  'stack/final_norm/scale': 'model/ln_f/g',
  f'{LAYER}/attention_norm/bias': 'model/h1/ln_1/b',
  f'{LAYER}/attention/out/kernel': 'model/h1/attn/c_proj/w',
  f'{LAYER}/mlp/up/kernel': 'model/h1/mlp/c_fc/w',
  f'{LAYER}/mlp/down/bias': 'model/h1/mlp/c_proj/b',
}


@pytest.mark.parametrize('name', ['bert', 'gpt2'])
def test_values(name):
  _, params, _ = ctxlm.load(FOLDER / name)
  shapes = getattr(write, f'{name}_shapes')()
  found = {path_name(p): x for p, x in jax_leaves(params)}
  for ours, theirs in {'bert': BERT, 'gpt2': GPT2}[name].items():
    value = write.value(theirs, shapes[theirs])
    # Kernels are [in, out] on both sides; ours have axes for heads.
    np.testing.assert_array_equal(np.ravel(found[ours]), value.ravel(), ours)
  wanted = sum(np.prod(s) for k, s in shapes.items() if 'adam' not in k)
  assert sum(x.size for x in found.values()) == wanted
  if name == 'gpt2':
    theirs = 'model/h0/attn/c_attn/w'
    value = write.value(theirs, shapes[theirs])[0]
    for i, part in enumerate(('query', 'key', 'value')):
      kernel = found[f'stack/layers_0/attention/{part}/kernel']
      np.testing.assert_array_equal(
        kernel.reshape(6, 6), value[:, 6 * i : 6 * i + 6]
      )
  else:
    theirs = 'cls/seq_relationship/output_weights'
    np.testing.assert_array_equal(  # [2, in], unlike all others
      found['heads/next_sentence/kernel'].T, write.value(theirs, (2, 6))
    )


def jax_leaves(params):
  import jax

  return jax.tree_util.tree_leaves_with_path(params)


@pytest.mark.parametrize(
  'ending, content, wanted',
  [
    ('index', lambda b: b[:-9], 'is damaged'),
    ('index', lambda b: b[:40] + b'\xff' * 400 + b[440:], 'is damaged'),
    ('data-00000-of-00001', lambda b: b[:-9], 'ends too early'),
  ],
)
def test_damaged(tmp_path, ending, content, wanted):
  shutil.copytree(FOLDER / 'bert', tmp_path / 'bert')
  path = tmp_path / f'bert/bert_model.ckpt.{ending}'
  path.write_bytes(content(path.read_bytes()))
  with pytest.raises(UserError, match=wanted) as e:
    ctxlm.load(tmp_path / 'bert')
  assert '\n' not in str(e.value) and path.name in str(e.value)


def varint(n):
  out = []
  while n > 127:
    out.append(n & 127 | 128)
    n >>= 7
  return bytes([*out, n])


def block(*entries):
  """Returns a block of (bytes shared with the last key, the others, value)."""
  parts = [
    b''.join(map(varint, (shared, len(own), len(value)))) + own + value
    for shared, own, value in entries
  ]
  return b''.join(parts) + bytes(4)


def table(data, times=1):
  """Returns a table whose index names one block of data, several times."""
  handle = varint(0) + varint(len(data))
  index = block(*((0, b'%d' % i, handle) for i in range(times)))
  at = len(data) + 1
  footer = bytes(2) + varint(at) + varint(len(index))
  footer = footer.ljust(40, b'\0') + tf_checkpoint.MAGIC.to_bytes(8, 'little')
  return data + b'\0' + index + b'\0' + footer


HOSTILE = {
  'a number without an end': bytes(9)
  + b'\x80' * 40
  + tf_checkpoint.MAGIC.to_bytes(8, 'little'),
  'a name without an end': table(
    block((0, b'a' * 4000, b''), *[(4000, b'b' * 4000, b'')] * 9)
  ),
  'blocks that overlap': table(block((0, b'a', bytes(9999))), times=99),
  'it is too large': None,
}


@pytest.mark.parametrize('reason', HOSTILE)
def test_what_would_take_for_ever_is_damaged(tmp_path, reason):
  path = tmp_path / 'x.ckpt.index'
  if HOSTILE[reason] is None:
    path.touch()
    os.truncate(path, 2**40)
  else:
    path.write_bytes(HOSTILE[reason])
  with pytest.raises(UserError, match=f'is damaged, or no checkp.*{reason}'):
    tf_checkpoint.read(path)
