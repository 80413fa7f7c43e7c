"""Tokenizers against sentencepiece, transformers and rules by hand."""

import json
import os
import pickle
import subprocess
import sys
import types

import numpy as np
import pytest
import sentencepiece
import transformers

from ctxlm.data.sources import corpus
from ctxlm.data.tokenizers import tokenizer
from ctxlm.errors import UserError

KINDS = ('bpe', 'wordpiece', 'unigram')
HARD = 'Ünïcode  ½ 漢字 \n\n\ttabs… don\'t "x=1" 🙂 e\u0301 [PAD'


@pytest.fixture(scope='module')
def texts(cache_root, prepared):
  with pytest.MonkeyPatch.context() as patch:
    patch.setenv('CTXLM_CACHE', str(cache_root))
    records = corpus.Source().records('validation')
  return [records[i]['text'] for i in range(len(records))]


@pytest.fixture(scope='module')
def trained(texts):
  return {k: tokenizer.train(k, 2000, texts) for k in KINDS}


TRAIN = """
import sys
from ctxlm.data.sources import corpus
from ctxlm.data.tokenizers import tokenizer
records = corpus.Source().records('validation')
texts = [records[i]['text'] for i in range(len(records))]
for kind in ('bpe', 'wordpiece', 'unigram'):
  print(tokenizer.train(kind, 2000, texts).fingerprint)
"""


def test_training_is_reproducible(trained):
  # Hash maps are seeded afresh in each process.
  expected = [trained[k].fingerprint for k in KINDS]
  for seed in '12':
    env = os.environ | {'PYTHONHASHSEED': seed}
    found = subprocess.run(
      [sys.executable, '-c', TRAIN], env=env, capture_output=True, text=True
    )
    assert found.stdout.split() == expected, found.stderr
    assert found.stderr == ''


@pytest.mark.parametrize('kind', KINDS)
def test_trained(trained, kind, texts, tmp_path):
  t = trained[kind]
  # sentencepiece may find fewer pieces worth having.
  assert t.vocab_size == 2000 or (kind == 'unigram' and t.vocab_size > 1500)
  names = ['pad', 'unk', 'cls', 'sep', 'mask', 'bos']
  ids = [getattr(t, f'{n}_id') for n in names]
  assert len(set(ids)) == 6 and set(ids) == t.special_ids
  assert t.eos_id == t.bos_id
  assert t.tokens(ids) == [
    '[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]', '<|endoftext|>',
  ]  # fmt: skip
  # No special tokens are added, and text that it was trained on is known.
  encoded = t.encode_batch(texts[:3])
  assert encoded == [t.encode(x) for x in texts[:3]]
  flat = [i for e in encoded for i in e]
  assert t.special_ids & set(flat) <= {t.unk_id}  # the rarest characters
  assert flat.count(t.unk_id) < 0.005 * len(flat)
  assert len(flat) < 0.35 * sum(map(len, texts[:3]))  # letters a token
  # Sent to a worker, and saved and loaded, it is the same.
  t.save(tmp_path)
  for other in (pickle.loads(pickle.dumps(t)), tokenizer.load(tmp_path)):
    assert other.fingerprint == t.fingerprint
    assert other.encode(HARD) == t.encode(HARD)
    assert vars(other).keys() - {'_backend'} <= vars(t).keys()
    assert other.special_ids == t.special_ids


def test_byte_level_keeps_every_text(trained):
  t = trained['bpe']
  assert t.decode(t.encode(HARD)) == HARD
  rng = np.random.default_rng(0)
  for _ in range(50):
    points = rng.integers(1, 0x2FFF, 30)
    text = ''.join(map(chr, points))
    assert t.decode(t.encode(text)) == text


def test_decoding_the_others(trained):
  text = 'The value of an object, if there is none.'
  assert trained['unigram'].decode(trained['unigram'].encode(text)) == text
  found = trained['wordpiece'].decode(trained['wordpiece'].encode(text))
  assert found == text.lower()


@pytest.mark.parametrize('kind', KINDS)
def test_mask_takes_the_place_of_a_word(trained, kind):
  t = trained[kind]
  whole = t.encode('return the value of it.')
  masked = t.encode('return the [MASK] of it.')
  at = masked.index(t.mask_id)
  assert len(masked) == len(whole)
  assert masked[:at] == whole[:at] and masked[at + 1 :] == whole[at + 1 :]
  assert t.encode('return the [MASK].')[-2] == t.mask_id


@pytest.mark.parametrize('kind', KINDS)
def test_offsets_cut_the_text(trained, kind):
  text = 'return the value, please'
  parts = [text[a:b].strip() for a, b in trained[kind].places(text)[1]]
  assert ''.join(parts) == text.replace(' ', '')


@pytest.mark.parametrize('kind', KINDS)
def test_word_starts_count_the_words(trained, kind):
  t = trained[kind]
  # ' ' first: byte-level tokens of a text's first word have no space.
  words = ['unpicklable', 'objects', ',', 'asynchronously', 'returned', '.']
  text = ' unpicklable objects, asynchronously returned.'
  ids = t.encode(text)
  assert len(ids) > len(words)  # some are in pieces
  assert t.word_starts.shape == (t.vocab_size,) and t.word_starts.dtype == bool
  pieces = np.split(np.array(ids), np.flatnonzero(t.word_starts[ids])[1:])
  assert [t.decode(p.tolist()).strip() for p in pieces][:2] == words[:2]
  assert t.word_starts[ids].sum() == len(words)
  assert t.word_starts[sorted(t.special_ids)].all()


def test_vocabulary_is_learnt_from_counts():
  # By hand: a-a occurs 3 times, then aa-b 3 times and space-aa twice.
  t = tokenizer.train('bpe', 256 + 6 + 2, ['aab aab aab'])
  assert t.tokens([262, 263]) == ['aa', 'aab']
  assert t.tokens(t.encode('aabaa')) == ['aab', 'aa']


def test_reads_bert(tmp_path, trained):
  t = trained['wordpiece']
  entries = t.tokens(range(t.vocab_size))
  entries[entries.index('<|endoftext|>')] = '[unused0]'
  (tmp_path / 'vocab.txt').write_text('\n'.join(entries) + '\n')
  text = 'Émile returned 漢字 unpicklable [MASK], x=1. 🙂'
  own = tokenizer.load(tmp_path / 'vocab.txt')
  reference = transformers.BertTokenizer(str(tmp_path / 'vocab.txt'))
  assert own.encode(text) == reference.encode(text, add_special_tokens=False)
  assert own.encode(text) == t.encode(text)
  for role in ('pad', 'cls', 'sep', 'mask', 'unk'):
    assert getattr(own, f'{role}_id') == getattr(reference, f'{role}_token_id')
  assert own.bos_id == own.cls_id and own.eos_id == own.sep_id
  # A vocabulary with capitals is a cased one.
  (tmp_path / 'vocab.txt').write_text('\n'.join([*entries, 'Émile']) + '\n')
  assert tokenizer.load(tmp_path).tokens(own.encode('É')) != ['Émile']
  assert tokenizer.load(tmp_path).encode('Émile') == [t.vocab_size]


@pytest.fixture
def gpt2_folder(tmp_path, trained):
  model = json.loads(trained['bpe']._backend.to_str())['model']
  (tmp_path / 'vocab.json').write_text(json.dumps(model['vocab']))
  merges = [' '.join(m) for m in model['merges']]
  text = '#version: 0.2\n' + '\n'.join(merges) + '\n'
  (tmp_path / 'merges.txt').write_text(text)
  return tmp_path


def test_reads_gpt2(gpt2_folder, trained):
  own = tokenizer.load(gpt2_folder)
  reference = transformers.GPT2Tokenizer(
    str(gpt2_folder / 'vocab.json'), str(gpt2_folder / 'merges.txt')
  )
  for text in (HARD, 'Return the value of the unpicklable object.'):
    assert own.encode(text) == trained['bpe'].encode(text)
    assert own.encode(text) == reference.encode(text)
  assert own.eos_id == own.bos_id == reference.eos_token_id
  (gpt2_folder / 'merges.txt').unlink()
  with pytest.raises(UserError, match='merges.txt is missing'):
    tokenizer.load(gpt2_folder)


@pytest.mark.parametrize('model_type', ['unigram', 'bpe'])
def test_reads_sentencepiece(tmp_path, texts, model_type):
  (tmp_path / 'a.txt').write_text('\n'.join(texts))
  options = {
    'unigram': {},
    'bpe': {  # as LLaMA's
      'byte_fallback': True,
      'normalization_rule_name': 'identity',
      'remove_extra_whitespaces': False,
      'pad_id': 3,
    },
  }
  sentencepiece.SentencePieceTrainer.train(
    input=str(tmp_path / 'a.txt'),
    model_prefix=str(tmp_path / 'm'),
    model_type=model_type,
    vocab_size=1500,
    minloglevel=2,
    **options[model_type],
  )
  own = tokenizer.load(tmp_path / 'm.model')
  reference = sentencepiece.SentencePieceProcessor(
    model_file=str(tmp_path / 'm.model')
  )
  assert own.vocab_size == reference.vocab_size()
  assert own.bos_id == reference.bos_id()
  assert own.eos_id == reference.eos_id()
  lines = [x for text in texts for x in text.split('\n')][:300]
  for text in [*lines, 'Ünïcode ½  漢字 don\'t "x=1" 🙂 .']:
    assert own.encode(text) == reference.encode(text), text
    ids = own.encode(text)
    if own.unk_id not in ids:  # sentencepiece writes a sign of its own
      assert own.decode(ids) == reference.decode(ids)


def test_roles_of_a_t5_vocabulary(tmp_path, texts):
  (tmp_path / 'a.txt').write_text('\n'.join(texts))
  sentencepiece.SentencePieceTrainer.train(
    input=str(tmp_path / 'a.txt'),
    model_prefix=str(tmp_path / 'spiece'),
    vocab_size=500,
    pad_id=0,
    eos_id=1,
    unk_id=2,
    bos_id=-1,
    minloglevel=2,
  )
  t = tokenizer.load(tmp_path)
  assert (t.pad_id, t.eos_id, t.unk_id) == (0, 1, 2)
  assert t.bos_id == t.eos_id and t.cls_id is None and t.mask_id is None
  assert t.special_ids == {0, 1, 2}


def test_get_trains_once(texts):
  class Source:
    reads = 0

    def records(self, split):
      assert split == 'train'
      Source.reads += 1
      return [{'text_a': t, 'text_b': t[:50], 'label': 1} for t in texts]

    def fingerprint(self, split):
      return 'some text'

  config = types.SimpleNamespace(
    kind='bpe', vocab_size=500, path='', special_in_data=False
  )
  first = tokenizer.get(config, Source())
  again = tokenizer.get(config, Source())
  assert Source.reads == 1 and again.fingerprint == first.fingerprint
  config.vocab_size = 501
  assert tokenizer.get(config, Source()).vocab_size == 501
  assert Source.reads == 2


def test_mistakes(tmp_path, texts):
  with pytest.raises(UserError, match='no tokenizer at'):
    tokenizer.load(tmp_path / 'none.json')
  with pytest.raises(UserError, match='it has none of'):
    tokenizer.load(tmp_path)
  for name in ('tokenizer.json', 'a.model', 'vocab.json'):
    (tmp_path / name).write_text('{"x": 1')
    (tmp_path / 'merges.txt').write_text('')
    with pytest.raises(UserError, match=name):
      tokenizer.load(tmp_path / name)
  (tmp_path / 'vocab.txt').write_text('a\nb\n')
  with pytest.raises(UserError, match=r'needs the entry \[UNK\]'):
    tokenizer.load(tmp_path / 'vocab.txt')
  for kind in KINDS:
    with pytest.raises(UserError, match='vocab_size=20 '):
      tokenizer.train(kind, 20, texts)
    with pytest.raises(UserError, match='no text'):
      tokenizer.train(kind, 2000, [' '])
  with pytest.raises(UserError, match='must be one of'):
    tokenizer.train('char', 2000, texts)
  config = types.SimpleNamespace(
    kind='file', vocab_size=500, path='', special_in_data=False
  )
  with pytest.raises(UserError, match='tokenizer.path'):
    tokenizer.get(config, None)


def test_pieces_are_what_a_person_reads():
  t = tokenizer.train('bpe', 300, ['the cat and the dog'] * 9)
  text = 'the cat\n日'
  ids = [t.bos_id, *t.encode(text)]
  pieces = t.pieces(ids)
  assert pieces[0] == '<|endoftext|>' and ' c' in ''.join(pieces)
  assert pieces[-4:] == ['\\n', '\\xe6', '\\x97', '\\xa5']
  words = tokenizer.train('wordpiece', 100, ['the cat and the dog'] * 9)
  assert words.pieces(words.encode('the cat')) == ['the', 'cat']


def test_words_are_what_stands_between_spaces(tmp_path):
  texts = ['b a\n a, <unk>  b', 'c b']
  t = tokenizer.train('word', 9, texts)
  assert t.pieces(range(6, 9)) == [' b', ' <unk>', ' a']  # 3 times, and by name
  ids = t.encode('\tb <unk>\n\nnew [CLS] a ', data=True)
  assert ids == [6, 7, t.unk_id, t.unk_id, 8]
  assert t.decode(ids) == 'b <unk> a' and t.word_starts.all()
  # A long text is cut where words end, and a saved one is the same.
  t.save(tmp_path)
  other = tokenizer.load(tmp_path)
  assert other.fingerprint == t.fingerprint
  assert other.encode('b a <unk> ' * 9000) == [6, 8, 7] * 9000
  assert other.places('b  a')[1] == [(0, 1), (2, 4)]
  with pytest.raises(UserError, match='too small'):
    tokenizer.train('word', 6, texts)
  with pytest.raises(UserError, match='no text'):
    tokenizer.train('word', 9, [' '])
