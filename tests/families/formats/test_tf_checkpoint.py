"""Checkpoints that TensorFlow wrote (see tensorflow/write.py) load whole."""

import shutil
from pathlib import Path

import numpy as np
import pytest

import ctxlm
from ctxlm.errors import UserError
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
