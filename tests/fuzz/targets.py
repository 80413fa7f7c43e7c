"""Small valid folders of every kind that is read, and what reads them."""

import contextlib
import io
import json
import os
import shutil
import types
from pathlib import Path

import numpy as np
import sentencepiece
import torch

from ctxlm import data as data_lib
from ctxlm import decoding, files, plugins, trees
from ctxlm.data.sources import files as text_files
from ctxlm.data.tokenizers import tokenizer as tokenizer_lib
from ctxlm.families import export, folder, sentence
from ctxlm.families.formats import tensors, tf_checkpoint
from ctxlm.inference import conversion, loading, writing
from ctxlm.objectives import pooling
from ctxlm.training import loop
from tests import tiny

TEXT = 'The quick brown fox — naïve, 12 of "them" — jumps, isn\'t it?\n'
TEXTS = [TEXT * 3, 'the cat and the dog', 'a b c 1 2 3'] * 9
ARCHIVES = {'pickles': True, 'old_pickles': False}
TENSORFLOW = Path(tiny.ROOT, 'tests/families/tensorflow')
CONFIGS = {
  'gpt2': {'n_embd': 8, 'n_layer': 1, 'n_head': 2, 'n_positions': 16},
  'bert': {'max_position_embeddings': 16},
  'roberta': {'max_position_embeddings': 18, 'pad_token_id': 0},
  'llama': {'max_position_embeddings': 16, 'tie_word_embeddings': True},
  'mistral': {'max_position_embeddings': 16, 'num_key_value_heads': 2},
  'bart': {
    **{'d_model': 8, 'encoder_layers': 1, 'decoder_layers': 1},
    **{'encoder_attention_heads': 2, 'decoder_attention_heads': 2},
    **{'encoder_ffn_dim': 12, 'decoder_ffn_dim': 12},
    **{'max_position_embeddings': 16, 'pad_token_id': 0},
  },
  't5': {
    **{'d_model': 8, 'd_kv': 4, 'd_ff': 12, 'num_layers': 1, 'num_heads': 2},
    **{'decoder_start_token_id': 0, 'pad_token_id': 0},
  },
}
COMMON = {
  'hidden_size': 8,
  'num_hidden_layers': 1,
  'num_attention_heads': 2,
  'intermediate_size': 12,
}
GENERATION = {
  **{'do_sample': True, 'top_k': 5, 'top_p': 0.9, 'temperature': 0.7},
  **{'max_new_tokens': 3, 'repetition_penalty': 1.1, 'eos_token_id': [5]},
  **{'bad_words_ids': [[7], [8, 9]], 'stop_strings': ['x'], 'num_beams': 1},
}


def make(top):
  """Makes the folders in `top`, one of each name of READERS."""
  trained = tokenizer_lib.train('wordpiece', 200, TEXTS)
  for name, config in CONFIGS.items():
    _write_model(top / name, name, config, trained)
  _make_sentences(top)
  weights = tensors.open_folder(top / 'bert')
  weights = {k: torch.tensor(np.array(x[:])) for k, x in weights.items()}
  for name, zipped in ARCHIVES.items():
    (top / name).mkdir()
    torch.save(
      weights,
      top / name / 'pytorch_model.bin',
      _use_new_zipfile_serialization=zipped,
    )
  _make_tokenizers(top)
  for name in ('bert', 'gpt2'):
    shutil.copytree(TENSORFLOW / name, top / f'tensorflow_{name}')
  _make_texts(top)
  _make_run(top)
  conversion.convert(top / 'run', to=top / 'model_folder')
  os.environ['CTXLM_CACHE'] = str(top / 'cache')
  read('cache', top / 'cache')


def _write_model(path, name, config, tokenizer):
  path.mkdir()
  settings = {'model_type': name, 'vocab_size': tokenizer.vocab_size}
  settings |= COMMON | config
  block = folder.find(name).options(settings)
  shapes = folder.shapes(plugins.build('models', block))
  rng = np.random.default_rng(0)
  params = {k: rng.normal(size=x).astype('f4') for k, x in shapes.items()}
  with contextlib.redirect_stdout(io.StringIO()):
    export.write(
      path, block, trees.nest(params), tokenizer, settings, shard=9000
    )
  tokenizer.save(path)
  text = json.dumps(GENERATION)
  (path / 'generation_config.json').write_text(text)


def _make_sentences(top):
  shutil.copytree(top / 'bert', top / 'sentences')
  maps = (pooling.Dense(6), pooling.Dense(5, '', False))
  pooled = sentence.Sentence('mean', True, 12, 'query: ', dense=maps)
  rng = np.random.default_rng(0)
  params = {
    path: rng.normal(size=shape).astype('f4')
    for path, shape in pooled.shapes(8).items()
  }
  sentence.restate(top / 'sentences', pooled, 8, trees.nest(params))


def _make_tokenizers(top):
  kinds = {'bpe': 400, 'wordpiece': 200, 'unigram': 60}
  for kind, size in kinds.items():
    trained = tokenizer_lib.train(kind, size, TEXTS)
    trained.save(top / f'tokenizer_{kind}')
    for name in ('tokenizer_config.json', 'special_tokens_map.json'):
      text = json.dumps({'eos_token': '[SEP]', 'pad_token': '[PAD]'})
      (top / f'tokenizer_{kind}' / name).write_text(text)
  path = top / 'tokenizer_bpe' / 'tokenizer.json'
  content = json.loads(path.read_text())
  content['normalizer'] = {
    'type': 'Sequence',
    'normalizers': [
      {'type': 'NFKC'},
      {'type': 'Replace', 'pattern': {'Regex': ' {2,}'}, 'content': ' '},
      {'type': 'Prepend', 'prepend': ' '},
    ],
  }
  pattern = r"'s|'t| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
  split = {'pattern': {'Regex': pattern}, 'behavior': 'Isolated'}
  content['pre_tokenizer'] = {
    'type': 'Sequence',
    'pretokenizers': [
      {'type': 'Split', 'invert': False} | split,
      content['pre_tokenizer'] | {'use_regex': False},
    ],
  }
  path.write_text(json.dumps(content))
  for name in ('vocab_txt', 'merges'):
    (top / name).mkdir()
  vocab = json.loads((top / 'tokenizer_wordpiece/tokenizer.json').read_text())
  entries = sorted(vocab['model']['vocab'], key=vocab['model']['vocab'].get)
  (top / 'vocab_txt' / 'vocab.txt').write_text('\n'.join(entries))
  settings = {
    'do_lower_case': True,
    'model_max_length': 512,
    'added_tokens_decoder': {'0': {'content': '[PAD]', 'special': True}},
  }
  text = json.dumps(settings)
  (top / 'vocab_txt' / 'tokenizer_config.json').write_text(text)
  model = content['model']
  (top / 'merges' / 'vocab.json').write_text(json.dumps(model['vocab']))
  merges = '\n'.join(map(' '.join, model['merges']))
  (top / 'merges' / 'merges.txt').write_text(f'#version: 0.2\n{merges}\n')
  texts = {
    'added_tokens.json': {'<x>': len(model['vocab'])},
    'special_tokens_map.json': {'eos_token': {'content': '<|endoftext|>'}},
    'config.json': {'model_type': 'gpt2', 'eos_token_id': 5},
  }
  for name, content in texts.items():
    (top / 'merges' / name).write_text(json.dumps(content))
  for name, kind in (('t5_spiece', 'unigram'), ('llama_spiece', 'bpe')):
    (top / name).mkdir()
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
      sentence_iterator=iter(TEXTS),
      model_writer=model,
      model_type=kind,
      vocab_size=60,
      hard_vocab_limit=False,
      byte_fallback=False,
      num_threads=1,
      minloglevel=2,
    )
    (top / name / 'spiece.model').write_bytes(model.getvalue())
    settings = {'tokenizer_class': 'T5Tokenizer', 'extra_ids': 100}
    if kind == 'bpe':
      settings = {'tokenizer_class': 'LlamaTokenizer', 'add_bos_token': True}
    text = json.dumps(settings)
    (top / name / 'tokenizer_config.json').write_text(text)


def _make_texts(top):
  path = top / 'texts'
  path.mkdir()
  texts = [' '.join(t.split()) for t in TEXTS * 4]
  rows = [(f'{i}, "a" {t}', i % 2) for i, t in enumerate(texts)]
  with (path / 'a.jsonl').open('w', encoding='utf-8') as f:
    for text, label in rows:
      f.write(json.dumps({'text': text, 'label': label, 'more': [{}]}) + '\n')
  quoted = [t.replace('"', '""') for t, _ in rows]
  lines = [f'"{t}",{n}' for t, (_, n) in zip(quoted, rows)]
  (path / 'b.csv').write_text('\n'.join(['text,label', *lines]), 'utf-8')
  lines = [f'{t}\t{n}' for t, n in rows]
  (path / 'c.tsv').write_text('\n'.join(['text\tlabel', *lines]), 'utf-8')
  (path / 'd.txt').write_text('\n\n'.join(t for t, _ in rows), 'utf-8')


def _make_run(top):
  os.environ['TINY_TEXT'] = str(tiny.write_text(top / 'text.txt'))
  config = tiny.get_config('causal')
  config.num_steps, config.checkpoint.every_steps = 4, 0
  with contextlib.redirect_stderr(io.StringIO()):
    loop.train(config, top / 'run')


def _load(path):
  loaded = loading.load(path)
  if loaded.tokenizer is not None:
    _use(loaded.tokenizer)
  return loaded


def _read_writer(path):
  loaded = _load(path)
  if loaded.model.causal:
    writing.generator_of(loaded, decoding.unsaid())


def _read_converted(path):
  target = path.with_name('converted')
  shutil.rmtree(target, ignore_errors=True)
  conversion.convert(path, to_hf=target)


def _use(tokenizer):
  ids = tokenizer.encode_batch([*TEXTS[:3], TEXT * 9])
  tokenizer(TEXTS[:3], length=8)
  tokenizer.decode(ids[0])
  tokenizer.pieces(range(min(tokenizer.vocab_size, 300)))
  tokenizer.encode(TEXT, data=True)


def _read_tokenizer(path):
  _use(data_lib.load_tokenizer(path))


def _read_pickles(path):
  for x in tensors.open_folder(path).values():
    x[:1].sum()


def _read_tensorflow(path):
  _, arrays = tf_checkpoint.find(path) or (None, {})
  for x in arrays.values():
    x[:1].sum()


def _read_texts(path):
  os.environ['CTXLM_CACHE'] = str(path.with_name('texts_cache'))
  with contextlib.redirect_stderr(io.StringIO()):  # of notes
    for file in sorted(path.iterdir()):
      source = text_files.Source(pattern=str(file))
      records = source.records('train')
      for i in range(min(len(records), 5)):
        assert isinstance(records[i], dict)


def _read_cache(path):
  """What is prepared is as it was, or made anew."""
  os.environ['CTXLM_CACHE'] = str(path)
  files._whole.clear()
  tokenizer = tokenizer_lib.train('bpe', 300, TEXTS)
  rows = [{'text': t} for t in TEXTS]
  objective = types.SimpleNamespace(overlap=1, frame='bos')
  windows = plugins.find('data.views', 'windows')
  with contextlib.redirect_stderr(io.StringIO()):
    view = windows.open(rows, 'x', tokenizer, 16, objective)
  sums = [int(view.read(i, None)['tokens'].sum()) for i in range(len(view))]
  known = _read_cache.__dict__.setdefault('sums', sums)
  assert sums == known, 'a damaged cache is read as it is'


READERS = {
  **dict.fromkeys(CONFIGS, _read_writer),
  'sentences': _load,
  'sentences_converted': _read_converted,
  **dict.fromkeys(ARCHIVES, _read_pickles),
  **dict.fromkeys(
    (
      *('tokenizer_bpe', 'tokenizer_wordpiece', 'tokenizer_unigram'),
      *('vocab_txt', 'merges', 't5_spiece', 'llama_spiece'),
    ),
    _read_tokenizer,
  ),
  **dict.fromkeys(('tensorflow_bert', 'tensorflow_gpt2'), _read_tensorflow),
  'texts': _read_texts,
  'run': _load,
  'model_folder': _load,
  'cache': _read_cache,
}


def read(name, path):
  """Reads a folder as its users do.

  Args:
    name: of READERS.
    path: pathlib.Path.

  Raises:
    UserError: what it should be where the folder is bad.
  """
  READERS[name](path)


def source_of(name):
  """Returns the name of the folder that a reader's cases begin with."""
  return name.removesuffix('_converted')
