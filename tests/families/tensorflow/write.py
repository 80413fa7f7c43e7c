"""Writes the checkpoints in this folder, with TensorFlow itself.

pip install tensorflow-cpu; python tests/families/tensorflow/write.py

Tiny ones with the names and shapes of google-research/bert and openai/gpt-2,
and the optimizer's variables that a training run leaves in them.
"""

import json
import zlib
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
BERT = {
  'vocab_size': 11,
  'hidden_size': 6,
  'num_hidden_layers': 2,
  'num_attention_heads': 3,
  'intermediate_size': 10,
  'max_position_embeddings': 8,
  'type_vocab_size': 2,
  'hidden_act': 'gelu',
  'hidden_dropout_prob': 0.1,
  'attention_probs_dropout_prob': 0.1,
  'initializer_range': 0.02,
}
GPT2 = {'n_vocab': 11, 'n_ctx': 8, 'n_embd': 6, 'n_head': 3, 'n_layer': 2}


def bert_shapes():
  """Returns {variable: shape} of a BertModel with both heads."""
  v, m, f, length = 11, 6, 10, 8
  found = {
    'bert/embeddings/word_embeddings': (v, m),
    'bert/embeddings/position_embeddings': (length, m),
    'bert/embeddings/token_type_embeddings': (2, m),
  }

  def dense(name, n, k):
    found.update({f'{name}/kernel': (n, k), f'{name}/bias': (k,)})

  def norm(name):
    found.update({f'{name}/gamma': (m,), f'{name}/beta': (m,)})

  norm('bert/embeddings/LayerNorm')
  for i in range(2):
    layer = f'bert/encoder/layer_{i}'
    for name in ('query', 'key', 'value'):
      dense(f'{layer}/attention/self/{name}', m, m)
    dense(f'{layer}/attention/output/dense', m, m)
    norm(f'{layer}/attention/output/LayerNorm')
    dense(f'{layer}/intermediate/dense', m, f)
    dense(f'{layer}/output/dense', f, m)
    norm(f'{layer}/output/LayerNorm')
  dense('bert/pooler/dense', m, m)
  dense('cls/predictions/transform/dense', m, m)
  norm('cls/predictions/transform/LayerNorm')
  found['cls/predictions/output_bias'] = (v,)
  found['cls/seq_relationship/output_weights'] = (2, m)
  found['cls/seq_relationship/output_bias'] = (2,)
  found['bert/pooler/dense/kernel/adam_m'] = (m, m)
  return found


def gpt2_shapes():
  """Returns {variable: shape}; linear maps are convolutions of width 1."""
  m = 6
  found = {'model/wte': (11, m), 'model/wpe': (8, m)}
  found |= {'model/ln_f/g': (m,), 'model/ln_f/b': (m,)}
  for i in range(2):
    layer = f'model/h{i}'
    for name in ('ln_1', 'ln_2'):
      found |= {f'{layer}/{name}/g': (m,), f'{layer}/{name}/b': (m,)}
    for name, n, k in (
      ('attn/c_attn', m, 3 * m),
      ('attn/c_proj', m, m),
      ('mlp/c_fc', m, 4 * m),
      ('mlp/c_proj', 4 * m, m),
    ):
      found |= {f'{layer}/{name}/w': (1, n, k), f'{layer}/{name}/b': (k,)}
  return found


def value(name, shape):
  """Returns a variable's value, a function of its name."""
  rng = np.random.default_rng(zlib.crc32(name.encode()))
  return rng.normal(0, 0.3, shape).astype(np.float32)


def main():
  """Writes both."""
  import tensorflow.compat.v1 as tf

  tf.disable_eager_execution()
  for folder, name, shapes, settings in (
    ('bert', 'bert_model.ckpt', bert_shapes(), ('bert_config.json', BERT)),
    ('gpt2', 'model.ckpt', gpt2_shapes(), ('hparams.json', GPT2)),
  ):
    (HERE / folder).mkdir(exist_ok=True)
    with tf.Graph().as_default(), tf.Session() as session:
      for key, shape in shapes.items():
        tf.get_variable(key, initializer=value(key, shape))
      tf.get_variable('global_step', initializer=np.int64(3))
      session.run(tf.global_variables_initializer())
      saver = tf.train.Saver()
      saver.save(
        session, str(HERE / folder / name), write_meta_graph=False,
      )  # fmt: skip
      (HERE / folder / 'checkpoint').unlink()  # names of this machine
    (HERE / folder / settings[0]).write_text(json.dumps(settings[1]) + '\n')


if __name__ == '__main__':
  main()
