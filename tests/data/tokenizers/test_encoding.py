"""Long texts in pieces, and special tokens that a text spells."""

import io

import numpy as np
import pytest
import sentencepiece
import tokenizers
from tokenizers import models, normalizers, pre_tokenizers

from ctxlm.data import framing
from ctxlm.data.tokenizers import encoding, spm
from ctxlm.data.tokenizers import tokenizer as tokenizer_lib
from tests.families import lines

LINES = lines.make(400, plain=True)
SPELLED = 'a [MASK] b <|endoftext|> [CLS][SEP] </s>'


def pieces(**more):
  file = io.BytesIO()
  sentencepiece.SentencePieceTrainer.train(
    sentence_iterator=iter(LINES),
    model_writer=file,
    vocab_size=600,
    hard_vocab_limit=False,
    minloglevel=2,
    **more,
  )
  return spm.convert(file.getvalue())


def llama():
  return pieces(
    model_type='bpe',
    byte_fallback=True,
    normalization_rule_name='identity',
    remove_extra_whitespaces=False,
  )


def prepending():
  """LLaMA's of before, whose normaliser puts a space before every text."""
  backend = llama()
  backend.pre_tokenizer = None
  backend.normalizer = normalizers.Sequence(
    [normalizers.Prepend('▁'), normalizers.Replace(' ', '▁')]
  )
  return backend


def t5():
  backend = pieces(pad_id=0, eos_id=1, unk_id=2, bos_id=-1)
  space = dict(replacement='▁', prepend_scheme='always')
  backend.pre_tokenizer = pre_tokenizers.Sequence(
    [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace(**space)]
  )
  return backend


@pytest.fixture(scope='module')
def trained():
  return {
    kind: tokenizer_lib.train(kind, 800, LINES)
    for kind in ('bpe', 'wordpiece', 'unigram')
  }


@pytest.fixture(
  params=['bpe', 'wordpiece', 'unigram', llama, prepending, t5],
  ids=lambda p: p if isinstance(p, str) else p.__name__,
)
def backend(request, trained):
  if isinstance(request.param, str):
    return trained[request.param]._backend
  return request.param()


@pytest.mark.parametrize('end', ['\n', ' ', '  \n'])
def test_pieces_have_the_ids_of_the_whole(backend, monkeypatch, end):
  text = end.join(LINES)
  whole = backend.encode(text, add_special_tokens=False).ids
  monkeypatch.setattr(encoding, 'PIECE', 300)
  monkeypatch.setattr(encoding, 'GROUP', 1000)
  encoder = encoding.Encoder(backend, ())
  cut = list(encoder._pieces(text))
  assert len(cut) > 30
  assert encoder(text) == whole
  texts = ['', text, 'a b', text[:1000]]
  found = encoder.batch(texts)
  assert found[1] == whole
  for ids, one in zip(found, texts, strict=True):
    assert ids == backend.encode(one, add_special_tokens=False).ids


def test_a_text_that_has_no_place_to_cut_is_one_piece(trained, monkeypatch):
  monkeypatch.setattr(encoding, 'PIECE', 50)
  text = '漢字' * 300
  encoder = encoding.Encoder(trained['bpe']._backend, ())
  assert list(encoder._pieces(text)) == [text]
  # An added token that holds a space isn't cut.
  backend = tokenizers.Tokenizer.from_str(trained['bpe']._backend.to_str())
  backend.add_tokens(['one two'])
  text = 'one two' * 300
  encoder = encoding.Encoder(backend, ())
  assert encoder(text) == [backend.token_to_id('one two')] * 300


def test_places_are_those_of_the_whole(backend, monkeypatch):
  text = '\n'.join(LINES[:200])
  whole = backend.encode(text, add_special_tokens=False)
  monkeypatch.setattr(encoding, 'PIECE', 300)
  ids, places = encoding.Encoder(backend, ()).places(text)
  assert ids == whole.ids
  # At a cut a space may be no token's, or of the character behind it.
  for found, wanted in zip(places, whole.offsets, strict=True):
    part = text[slice(*wanted)].strip()
    assert not part or text[slice(*found)].strip() == part


@pytest.mark.parametrize('kind', ['bpe', 'wordpiece', 'unigram', t5])
def test_places_where_special_tokens_are_text(trained, kind):
  if kind is t5:
    t = tokenizer_lib.Tokenizer(t5())
  else:
    t = trained[kind]
  text = f'{SPELLED} the fox</s> and </s> ' * 3
  for data in (False, True):
    ids, places = t.places(text, data)
    assert ids == t.encode(text, data)
    covered = {at for a, b in places for at in range(a, b)}
    left_out = {c for at, c in enumerate(text) if at not in covered}
    assert left_out <= {' '}
    assert places == sorted(places)


@pytest.mark.parametrize('kind', ['bpe', 'wordpiece', 'unigram'])
def test_spelled_tokens_are_text_in_data(trained, kind):
  t = trained[kind]
  assert {t.mask_id, t.bos_id, t.cls_id, t.sep_id} <= set(t.encode(SPELLED))
  for ids in (t.encode(SPELLED, data=True), *t.encode_batch([SPELLED], True)):
    assert not (t.special_ids - {t.unk_id}) & set(ids)
  if kind == 'bpe':
    assert t.decode(t.encode(SPELLED, data=True)) == SPELLED
    # As the library splits them.
    t._backend.encode_special_tokens = True
    wanted = t._backend.encode(SPELLED).ids
    t._backend.encode_special_tokens = False
    assert t.encode(SPELLED, data=True) == wanted
  # Text that spells none is what it was.
  for line in LINES[:50]:
    assert t.encode(line, data=True) == t.encode(line)


def test_an_entry_that_the_model_finds_itself_is_cut():
  """A unigram vocabulary holds </s>, and takes it for a word."""
  t = tokenizer_lib.Tokenizer(t5())
  text = 'the fox</s> and </s> the dog'
  assert t.eos_id in t.encode(text)
  assert t.eos_id not in t.encode(text, data=True)


def test_the_switch(trained):
  plain = trained['bpe']
  t = tokenizer_lib.Tokenizer(plain._backend, special_in_data=True)
  assert t.encode(SPELLED, data=True) == plain.encode(SPELLED)
  assert t.fingerprint == plain.fingerprint
  for kind in (plain, t):
    [document] = framing.documents(kind, [SPELLED], 'bos')
    inside = kind.mask_id in document[1:-1]
    assert inside == kind.special_in_data


def test_half_a_pair_is_the_replacement_character(trained):
  for t in trained.values():
    wanted = t.encode('a \ufffd b')
    assert t.encode('a \ud83d b') == wanted
    assert t.encode_batch(['a \ude00 b', 'x'])[0] == wanted
    assert t.encode('\ud83d\ude00') == t.encode('😀')


def test_words_alone():
  backend = tokenizers.Tokenizer(models.WordLevel({'</s>': 0}))
  t = tokenizer_lib.Tokenizer(backend)
  assert t.encode('', data=True) == []
  assert np.array(t.encode_batch([])).size == 0
