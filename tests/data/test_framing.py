"""Frames by hand: the ids around texts, pairs, prompts and dialogues."""

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from ctxlm.data import framing
from ctxlm.data.tokenizers import tokenizer as tokenizer_lib
from ctxlm.errors import UserError

WORDS = ('[PAD]', '[CLS]', '[SEP]', '[MASK]', '<|endoftext|>', 'a', 'b', 'c')
PAD, CLS, SEP, MASK, END, A, B, C = range(8)


def make(*words, single=None):
  """Returns a tokenizer of words that are delimited by spaces."""
  backend = Tokenizer(models.WordLevel({w: i for i, w in enumerate(WORDS)}))
  backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
  backend.add_special_tokens([w for w in WORDS[:5]])
  if single is not None:
    names = [w for w in single.split() if w != '$A']
    backend.post_processor = processors.TemplateProcessing(
      single=single, special_tokens=[(n, WORDS.index(n)) for n in names]
    )
  return tokenizer_lib.Tokenizer(backend)


@pytest.fixture
def words():
  return make()


def test_frames_by_hand(words):
  assert framing.document(words)([A, B]) == [END, A, B, END]
  assert framing.text(words)([A, B]) == [CLS, A, B, SEP]
  assert framing.source(words)([A, B]) == [CLS, A, B, SEP]
  words.cls_id = None  # as T5's, but for the name of the end
  assert framing.text(words)([A, B]) == [END, A, B, END]
  assert framing.source(words)([A, B]) == [A, B, SEP]
  words.sep_id = None
  assert framing.source(words)([A, B]) == [A, B, END]


def test_the_text_is_cut_and_never_the_frame(words):
  frame = framing.text(words)
  assert frame([A, B, C], 4) == [CLS, A, B, SEP]
  assert frame([], 9) == [CLS, SEP]
  with pytest.raises(UserError, match='max_length=2 has no room for text'):
    frame([A, B, C], 2)
  tokens, segments = frame.row([A], 5, PAD)
  assert tokens.tolist() == [CLS, A, SEP, PAD, PAD]
  assert segments.tolist() == [1, 1, 1, 0, 0]
  assert tokens.dtype == segments.dtype == np.int32


@pytest.mark.parametrize(
  'single, first, last',
  [
    ('$A', (), ()),
    ('[CLS] $A', (CLS,), ()),
    ('$A [SEP]', (), (SEP,)),
    ('[CLS] [MASK] $A [SEP] [SEP]', (CLS, MASK), (SEP, SEP)),
  ],
)
def test_the_template_is_that_of_the_file(single, first, last):
  words = make(single=single)
  assert framing.template(words) == framing.Frame(first, last)
  found = framing.texts(words, ['a b c', ''], len(first) + len(last) + 2)
  assert found == [[*first, A, B, *last], [*first, *last]]


def test_without_a_template_it_is_an_encoders(words):
  assert framing.template(words) == framing.text(words)
  assert framing.texts(words, ['a b'], 3) == [[CLS, A, SEP]]


def test_documents(words):
  for kind, first, last in (('bos', END, END), ('cls', CLS, SEP)):
    found = list(framing.documents(words, ['a b', 'c'], kind))
    assert [d.tolist() for d in found] == [
      [first, A, B, last],
      [first, C, last],
    ]


def test_pairs(words):
  row = framing.pair(words, [A, B], [C], 8)
  assert {k: v.tolist() for k, v in row.items()} == {
    'tokens': [CLS, A, B, SEP, C, SEP, PAD, PAD],
    'segment_ids': [1] * 6 + [0, 0],
    'positions': [0, 1, 2, 3, 4, 5, 0, 0],
    'type_ids': [0, 0, 0, 0, 1, 1, 0, 0],
  }
  assert {v.dtype for v in row.values()} == {np.dtype(np.int32)}


def test_a_prompt_keeps_its_own_end():
  """Only what the template added is taken off."""
  words = make(single='[CLS] $A <|endoftext|>')
  frame = framing.template(words)
  assert framing.prompt(words, 'a <|endoftext|>', frame) == [CLS, A, END]
  assert framing.prompt(words, '<|endoftext|>', frame) == [CLS, END]
  plain = framing.template(make(single='$A'))
  assert framing.prompt(words, 'a b', plain) == [A, B]
  assert framing.prompt(words, '<|endoftext|>', plain) == [END]
  whole = framing.prompt(words, 'a', frame, whole=True)
  assert whole == [CLS, A, END]
  with pytest.raises(UserError, match='the prompt is empty'):
    framing.prompt(words, ' ', frame)


def test_what_is_written_ends_as_targets_do(tokenizer):
  tokenizer.eos_id = 4
  assert framing.ends(tokenizer, encoder_decoder=True) == (2,)  # sep
  assert framing.ends(tokenizer, encoder_decoder=False) == (4,)
  tokenizer.sep_id = None  # as T5's
  assert framing.ends(tokenizer, encoder_decoder=True) == (4,)
  tokenizer.eos_id = None
  assert framing.ends(tokenizer, encoder_decoder=False) == ()


TEMPLATES = {
  'bert': ('[CLS] $A [SEP]', '[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1'),
  'roberta': ('[CLS] $A [SEP]', '[CLS]:0 $A:0 [SEP]:0 [SEP]:0 $B:0 [SEP]:0'),
}


@pytest.mark.parametrize('name', [*TEMPLATES, ''])
def test_texts_and_pairs_are_as_transformers_frames_them(name):
  import transformers as tr

  own = tokenizer_lib.train('wordpiece', 100, ['the cat and the dog'] * 9)
  backend = Tokenizer.from_str(own._backend.to_str())
  single, both = TEMPLATES[name or 'bert']  # without one it is BERT's
  backend.post_processor = processors.TemplateProcessing(
    single=single,
    pair=both,
    special_tokens=[('[CLS]', own.cls_id), ('[SEP]', own.sep_id)],
  )
  if name:
    own = tokenizer_lib.Tokenizer(Tokenizer.from_str(backend.to_str()))
  theirs = tr.PreTrainedTokenizerFast(tokenizer_object=backend)
  rng = np.random.default_rng(0)
  for first, second, length in rng.integers(1, 15, (40, 3)) + (0, 0, 5):
    texts = ['the cat ' * first, 'a dog and ' * second]
    for strings in (texts, texts[:1]):
      found = framing.parts(own, strings, length)
      wanted = theirs(
        *strings,
        truncation=True,
        max_length=length,
        return_token_type_ids=True,
      )
      assert found['tokens'] == wanted['input_ids']
      assert found['type_ids'] == wanted['token_type_ids']


def test_a_row_without_room_for_two_texts(tokenizer):
  with pytest.raises(UserError, match='no room for two texts'):
    framing.parts(tokenizer, ['5', '6'], 4)
