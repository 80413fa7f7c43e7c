"""Tokenizers of GGUF files: against transformers, sentencepiece, llama.cpp."""

import io
import json

import gguf
import pytest
import regex
import sentencepiece
import transformers
from sentencepiece import sentencepiece_model_pb2

from ctxlm import data
from ctxlm.data.tokenizers import tokenizer as tokenizer_lib
from ctxlm.errors import UserError

TEXTS = ["the quick brown fox jumps over the lazy dog's 123 bones"] * 9
HARD = (
  " it's  THE Dog 12345 ½ x=1\n\n\n\ttabs… naïve 漢字 🙂 e\u0301 I'Ll a  1 "
  '\r\nb '
)


def write(path, model, tokens, types, **more):
  w = gguf.GGUFWriter(path, 'llama')
  w.add_tokenizer_model(model)
  w.add_token_list(tokens)
  w.add_token_types(types)
  for key, value in more.items():
    vars(gguf.GGUFWriter)[f'add_{key}'](w, value)
  w.write_header_to_file()
  w.write_kv_data_to_file()
  w.write_tensors_to_file()
  w.close()
  return path


@pytest.fixture(scope='module')
def byte_level():
  """(tokens, types, merges), with a word that no merges lead to."""
  trained = tokenizer_lib.train('bpe', 300, TEXTS)
  model = json.loads(trained._backend.to_str())['model']
  tokens = sorted(model['vocab'], key=model['vocab'].get)
  types = [3 if t == '<|endoftext|>' else 1 for t in tokens]
  merges = [' '.join(m) for m in model['merges']]
  return [*tokens, 'Ġzebra'], [*types, 1], merges


def read(path, byte_level, pre):
  tokens, types, merges = byte_level
  eos = tokens.index('<|endoftext|>')
  more = dict(token_merges=merges, tokenizer_pre=pre, eos_token_id=eos)
  more |= dict(bos_token_id=eos, add_bos_token=False)
  write(path, 'gpt2', tokens, types, **more)
  return data.load_tokenizer(path)


@pytest.mark.parametrize('pre', ['gpt-2', 'llama-bpe', 'tekken'])
def test_texts_are_cut_as_in_transformers(byte_level, tmp_path, pre):
  t = read(tmp_path / 'm.gguf', byte_level, pre)
  wanted = transformers.AutoTokenizer.from_pretrained(
    tmp_path, gguf_file='m.gguf'
  )
  ids = wanted(HARD)['input_ids']
  assert t.encode(HARD) == ids and t.decode(ids) == HARD
  assert t.template == ((), ())


# llama.cpp's two passes of SMOLLM: each digit, then GPT-2's pattern.
GPT2 = (
  r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
)


def test_digits_stand_alone_where_llama_cpp_has_them_so(byte_level, tmp_path):
  t = read(tmp_path / 'm.gguf', byte_level, 'smollm')
  parts = [p for p in regex.split(r'(\p{N})', HARD) if p]
  wanted = [p for part in parts for p in regex.findall(GPT2, part)]
  cut = t._backend.pre_tokenizer.pre_tokenize_str(HARD)
  assert [HARD[a:b] for _, (a, b) in cut] == wanted
  assert t.decode(t.encode(HARD)) == HARD


def test_a_whole_word_is_one_token_of_llama_3(byte_level, tmp_path):
  for pre, count in (('llama-bpe', 1), ('gpt-2', 6)):
    t = read(tmp_path / 'm.gguf', byte_level, pre)
    assert len(t.encode(' zebra')) == count


@pytest.mark.parametrize('prefix', [True, False])
def test_pieces_are_those_of_sentencepiece(tmp_path, prefix):
  model = io.BytesIO()
  sentencepiece.SentencePieceTrainer.train(
    sentence_iterator=iter(TEXTS),
    model_writer=model,
    model_type='bpe',
    vocab_size=320,
    hard_vocab_limit=False,
    byte_fallback=True,
    add_dummy_prefix=prefix,
    remove_extra_whitespaces=False,
    normalization_rule_name='identity',
    user_defined_symbols=['<turn>'],
    num_threads=1,
    minloglevel=2,
  )
  proto = sentencepiece_model_pb2.ModelProto()
  proto.ParseFromString(model.getvalue())
  own = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
  path = write(
    tmp_path / 'm.gguf',
    'llama',
    [p.piece for p in proto.pieces],
    [p.type for p in proto.pieces],
    token_scores=[p.score for p in proto.pieces],
    bos_token_id=own.bos_id(),
    eos_token_id=own.eos_id(),
    unk_token_id=own.unk_id(),
    add_space_prefix=prefix,
  )
  t = data.load_tokenizer(path)
  for text in (*TEXTS[:1], HARD[1:], 'the  dog <turn>the dog', 'a  '):
    assert t.encode(text) == own.encode(text), text
    assert t.decode(t.encode(text)) == own.decode(own.encode(text))
  # llama.cpp begins such a text with bos where the file doesn't say.
  assert t.template == ((own.bos_id(),), ())
  assert (t.bos_id, t.eos_id, t.unk_id) == (1, 2, 0)


def test_a_file_without_a_tokenizer_says_so(tmp_path):
  with pytest.raises(UserError, match='m.gguf has no tokenizer'):
    data.load_tokenizer(write(tmp_path / 'm.gguf', 'no_vocab', ['a'], [1]))
