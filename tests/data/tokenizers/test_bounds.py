"""Tokenizers of strangers: one line, before the library is asked."""

import base64
import io
import json

import pytest
import sentencepiece
import tokenizers
from sentencepiece import sentencepiece_model_pb2

from ctxlm import data
from ctxlm.data.tokenizers import bounds, spm
from ctxlm.errors import UserError

WHOLE = {
  'version': '1.0',
  'added_tokens': [],
  'normalizer': None,
  'pre_tokenizer': None,
  'post_processor': None,
  'decoder': None,
  'model': {
    'type': 'WordLevel',
    'vocab': {'</s>': 0, 'a': 1},
    'unk_token': 'a',
  },
}
SPLIT = {'type': 'Split', 'behavior': 'Isolated', 'invert': False}

BYTES = {
  **{'type': 'ByteLevel', 'add_prefix_space': False},
  **{'trim_offsets': False, 'use_regex': False},
}


def replace(content, pattern=None):
  pattern = pattern or {'String': 'a'}
  return {'type': 'Replace', 'pattern': pattern, 'content': content}


TOKENIZERS = {  # parts of tokenizer.json, and the line
  'a regular expression': (
    {'pre_tokenizer': SPLIT | {'pattern': {'Regex': '(a+)+b'}}},
    'can be read in several ways',
  ),
  'in a list of steps': (
    {
      'normalizer': {
        'type': 'Sequence',
        'normalizers': [replace('b', {'Regex': '(a|b)*c'})],
      }
    },
    'can be read in several ways',
  ),
  'a text that grows': (
    {'normalizer': {'type': 'Sequence', 'normalizers': [replace('aa')] * 40}},
    'more than 1000 times as long',
  ),
  'what is put everywhere': (
    {'decoder': replace('b' * 1000, {'Regex': 'x*'})},
    'more than 1000 times as long',
  ),
  'a table of characters': (
    {
      'normalizer': {
        'type': 'Precompiled',
        'precompiled_charsmap': base64.b64encode(b'\0\4\0\0' + b'x' * 1024),
      }
    },
    'precompiled_charsmap is damaged',
  ),
  'one that is no base64': (
    {'normalizer': {'type': 'Precompiled', 'precompiled_charsmap': 7}},
    'is no base64',
  ),
  'bytes of bytes': (
    {'pre_tokenizer': {'type': 'Sequence', 'pretokenizers': [BYTES] * 21}},
    'more than 1000 times as long',
  ),
  'a prefix that is not there': (
    {
      'model': {
        **{'type': 'BPE', 'vocab': {'a': 0, 'b': 1, '</s>': 2}},
        **{'merges': [['a', 'b']], 'continuing_subword_prefix': '###'},
      }
    },
    'second part without continuing_subword_prefix',
  ),
  'pieces of nothing': (
    {'pre_tokenizer': {'type': 'FixedLength', 'length': 0}},
    'pieces of length 0',
  ),
  'ids': (
    {'model': WHOLE['model'] | {'vocab': {'a': 0, '</s>': 10**8}}},
    'ids of its vocabulary must be 0 to',
  ),
  'what is unknown is nothing': (
    {'model': WHOLE['model'] | {'unk_token': 'b'}},
    'the tokenizer fails at a text: WordLevel',
  ),
}


@pytest.mark.parametrize('name', TOKENIZERS)
def test_tokenizer_json_is_bounded(tmp_path, name):
  parts, wanted = TOKENIZERS[name]
  text = json.dumps(WHOLE | parts, default=bytes.decode)
  (tmp_path / 'tokenizer.json').write_text(text)
  with pytest.raises(UserError, match=wanted) as e:
    data.load_tokenizer(tmp_path).encode('c' * 30)
  assert '\n' not in str(e.value)


def test_what_no_byte_level_vocabulary_has_is_shown_as_it_is(tmp_path):
  model = WHOLE['model'] | {'vocab': {'</s>': 0, '—': 1, 'Ġa': 2}}
  text = json.dumps(WHOLE | {'model': model, 'decoder': BYTES})
  (tmp_path / 'tokenizer.json').write_text(text)
  assert data.load_tokenizer(tmp_path).pieces([1, 2]) == ['—', ' a']


def test_padding_and_cuts_of_a_file_are_left_out(tmp_path):
  padding = {
    **{'strategy': {'Fixed': 10**9}, 'direction': 'Right'},
    **{'pad_to_multiple_of': None, 'pad_id': 0, 'pad_type_id': 0},
    'pad_token': '</s>',
  }
  text = json.dumps(WHOLE | {'padding': padding})
  (tmp_path / 'tokenizer.json').write_text(text)
  assert data.load_tokenizer(tmp_path).encode('a') == [1]


def test_whatever_begins_or_ends_a_text_stands_in_for_the_other(tmp_path):
  for name in ('[CLS]', '[SEP]', '<s>', '</s>'):
    model = WHOLE['model'] | {'vocab': {name: 0, 'a': 1}}
    text = json.dumps(WHOLE | {'model': model})
    (tmp_path / 'tokenizer.json').write_text(text)
    tokenizer = data.load_tokenizer(tmp_path)
    assert tokenizer.bos_id == tokenizer.eos_id == 0, name
    assert tokenizer('a')['tokens'].tolist() == [[0, 1, 0]], name


SETTINGS = {
  'extra_ids': ({'extra_ids': 10**8}, 'extra_ids=100000000 must be from 0 to'),
  'class': ({'tokenizer_class': [1]}, r'tokenizer_class=\[1\] must be a text'),
  'flag': ({'add_bos_token': 'x'}, "add_bos_token='x' must be True or False"),
  'token': ({'eos_token': 7}, 'eos_token=7 must be a text, or a block of keys'),
  'inner': ({'eos_token': {'content': 7}}, 'eos_token: content=7 must be a te'),
  'id': ({'added_tokens_decoder': {'x': {}}}, "'x' of added_tokens_decoder is"),
  'no content': ({'added_tokens_decoder': {'1': {}}}, 'has no content'),
  'no token': ({'added_tokens_decoder': {'1': 'a'}}, 'must be a block of keys'),
}


@pytest.mark.parametrize('name', SETTINGS)
def test_settings_are_of_the_right_kinds(tmp_path, name):
  content, wanted = SETTINGS[name]
  (tmp_path / 'tokenizer.json').write_text(json.dumps(WHOLE))
  assert data.load_tokenizer(tmp_path).vocab_size == 2
  (tmp_path / 'tokenizer_config.json').write_text(json.dumps(content))
  with pytest.raises(UserError, match=wanted):
    data.load_tokenizer(tmp_path)


@pytest.fixture(scope='module')
def proto():
  model = io.BytesIO()
  sentencepiece.SentencePieceTrainer.train(
    sentence_iterator=iter(['the cat and the dog'] * 9),
    model_writer=model,
    vocab_size=30,
    hard_vocab_limit=False,
    minloglevel=2,
  )
  whole = sentencepiece_model_pb2.ModelProto()
  whole.ParseFromString(model.getvalue())
  return whole


def changed(proto, **parts):
  other = sentencepiece_model_pb2.ModelProto()
  other.CopyFrom(proto)
  for name, value in parts.items():
    part, _, key = name.partition('__')
    inner = other.pieces[3] if part == 'piece' else getattr(other, part)
    setattr(inner, key, value)
  return other.SerializeToString()


def test_sentencepiece_models_are_bounded(proto):
  assert spm.convert(changed(proto)).encode('the cat').ids
  for parts, wanted in (
    ({'trainer_spec__unk_id': 10**6}, 'none of a piece'),
    ({'piece__score': float('nan')}, 'not finite'),
    ({'piece__piece': 'a' * 10**5}, 'more than 1000 characters'),
    ({'normalizer_spec__precompiled_charsmap': b'\0\4\0\0'}, 'is damaged'),
  ):
    with pytest.raises(UserError, match=wanted):
      spm.convert(changed(proto, **parts))


def test_damaged_tables_of_characters_are_found(proto):
  table = proto.normalizer_spec.precompiled_charsmap
  assert bounds.check_charsmap(table) == 33  # U+FDFA's, as is known
  start = 4 + int.from_bytes(table[:4], 'little')
  first = bytearray(table)
  first[4:8] = b'\xff\xff\xff\x7f'  # the root's children lie beyond the end
  cut = table[: start + 9]  # texts that are named are gone
  inside = bytearray(table)
  inside[start:] = inside[start:].replace(b'\0', b'a')  # one text of them all
  for damaged in (bytes(first), cut, bytes(inside), table[:100], b'\0' * 9):
    with pytest.raises(UserError, match='is damaged'):
      bounds.check_charsmap(damaged)


def test_a_panic_is_a_line(capfd):
  split = tokenizers.pre_tokenizers.Split(tokenizers.Regex('(a+)+$'), 'removed')
  with (
    pytest.raises(UserError, match='it fails: Onig'),
    bounds.said('it fails'),
  ):
    split.pre_tokenize_str('a' * 40 + '!')
  capfd.readouterr()  # where Rust tells of it
  with pytest.raises(KeyboardInterrupt), bounds.said('it fails'):
    raise KeyboardInterrupt
