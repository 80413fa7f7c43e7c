"""Special and added tokens are those of AutoTokenizer, whatever says so."""

import json

import pytest
import tokenizers
import transformers as tr

from ctxlm.data import framing
from ctxlm.data.tokenizers import tokenizer as tokenizer_lib

BERT = (
  '[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]', 'obama', 'e', 'o', '##b',
  '[X]', 'f',
)  # fmt: skip
FAST = (
  '<unk>', '<s>', '</s>', '<|begin|>', '<|stop|>', '<|im_end|>', '<|padding|>',
  'a', 'b',
)  # fmt: skip
SHAPE = {'vocab_size': 400, 'hidden_size': 4, 'num_attention_heads': 2}
GENERIC = {'tokenizer_class': 'PreTrainedTokenizerFast'}
E1 = {
  'content': '[E1]', 'special': True, 'lstrip': False, 'rstrip': False,
  'normalized': False, 'single_word': False,
}  # fmt: skip


def bert(folder):
  (folder / 'vocab.txt').write_text('\n'.join(BERT) + '\n')
  return 'bert', '[E1] obama Obama [e1] x[E1]y [X] big dog <none>'


def capitals(folder):
  (folder / 'vocab.txt').write_text('\n'.join([*BERT, 'Obama']) + '\n')
  return 'bert', 'Obama obama'


def bert_json(lowercase):
  def write(folder):
    capitals(folder)
    (folder / 'config.json').write_text(json.dumps({'model_type': 'bert'}))
    tokenizer = tr.BertTokenizer(
      str(folder / 'vocab.txt'), do_lower_case=lowercase
    )
    tokenizer.save_pretrained(folder)
    (folder / 'vocab.txt').unlink()
    (folder / 'tokenizer_config.json').unlink()
    return 'bert', 'Obama obama'

  return write


def gpt2(folder):
  backend = tokenizers.Tokenizer(tokenizers.models.BPE())
  pre = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
  backend.pre_tokenizer = pre
  trainer = tokenizers.trainers.BpeTrainer(
    vocab_size=300,
    special_tokens=['<|endoftext|>', '<|im_end|>', '<|padding|>'],
    initial_alphabet=sorted(pre.alphabet()),
    show_progress=False,
  )
  backend.train_from_iterator(['the fox and the dog'] * 9, trainer)
  backend.model.save(str(folder))
  return 'gpt2', 'the fox<|endoftext|> <|im_end|><|padding|> the [E1]'


def fast(template=None, model_type='llama'):
  def write(folder):
    vocab = {word: i for i, word in enumerate(FAST)}
    model = tokenizers.models.WordLevel(vocab, unk_token='<unk>')
    backend = tokenizers.Tokenizer(model)
    backend.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    backend.add_special_tokens([w for w in FAST if w[0] == '<'])
    if template:
      names = [n for n in template.split() if n != '$A']
      backend.post_processor = tokenizers.processors.TemplateProcessing(
        single=template, special_tokens=[(n, vocab[n]) for n in names]
      )
    backend.save(str(folder / 'tokenizer.json'))
    return model_type, 'a b </s> <|im_end|> a'

  return write


CASES = {
  'bert': (bert, {}),
  'added tokens': (bert, {'added_tokens.json': {'[E1]': 11}}),
  'added tokens, special': (
    bert,
    {
      'added_tokens.json': {'[E1]': 11},
      'special_tokens_map.json': {'extra_special_tokens': ['[E1]']},
    },
  ),
  'added tokens out of order': (
    bert,
    {'added_tokens.json': {'[E1]': 12, 'big dog': 11}},
  ),
  'added tokens of tokenizer_config': (
    bert,
    {'tokenizer_config.json': {'added_tokens_decoder': {'11': E1}}},
  ),
  'another cls': (bert, {'tokenizer_config.json': {'cls_token': '[X]'}}),
  'lower case': (capitals, {'tokenizer_config.json': {'do_lower_case': True}}),
  'kept case': (capitals, {'tokenizer_config.json': {'do_lower_case': False}}),
  'kept case over a file of lower case': (
    bert_json(True),
    {
      'tokenizer_config.json': {
        'tokenizer_class': 'BertTokenizer', 'do_lower_case': False,
      }
    },
  ),
  'lower case over a file of kept case': (
    bert_json(False),
    {
      'tokenizer_config.json': {
        'tokenizer_class': 'BertTokenizer', 'do_lower_case': True,
      }
    },
  ),
  'gpt2': (gpt2, {}),
  'gpt2 with bos': (gpt2, {'tokenizer_config.json': {'add_bos_token': True}}),
  'gpt2 with both': (
    gpt2,
    {'tokenizer_config.json': {'add_bos_token': True, 'add_eos_token': True}},
  ),
  'gpt2 of other names': (
    gpt2,
    {
      'tokenizer_config.json': {
        'eos_token': '<|im_end|>', 'pad_token': '<|padding|>',
      }
    },
  ),
  'gpt2 with an entry for padding': (
    gpt2,
    {
      'added_tokens.json': {'[E1]': 300},
      'special_tokens_map.json': {'pad_token': '[E1]'},
    },
  ),
  'leftovers': (
    fast(),
    {
      'tokenizer_config.json': GENERIC
      | {'bos_token': '<|begin|>', 'eos_token': '<|stop|>'}
    },
  ),
  'leftovers in a template': (
    fast('<s> $A </s>'),
    {
      'tokenizer_config.json': GENERIC
      | {
        'bos_token': '<|begin|>',
        'eos_token': E1 | {'__type': 'AddedToken', 'content': '<|stop|>'},
      }
    },
  ),
  'an end and padding': (
    fast(),
    {
      'tokenizer_config.json': GENERIC
      | {'eos_token': '<|im_end|>', 'pad_token': '<|padding|>'}
    },
  ),
}  # fmt: skip


def make(case, folder):
  write, files = CASES[case]
  model_type, text = write(folder)
  files = {'config.json': SHAPE | {'model_type': model_type}} | files
  for name, content in files.items():
    (folder / name).write_text(json.dumps(content))
  return text


@pytest.mark.parametrize('case', CASES)
def test_ids_and_roles(case, tmp_path):
  text = make(case, tmp_path)
  theirs = tr.AutoTokenizer.from_pretrained(tmp_path)
  ours = tokenizer_lib.load(tmp_path)
  (tmp_path / 'saved').mkdir()
  ours.save(tmp_path / 'saved')
  for tokenizer in (ours, tokenizer_lib.load(tmp_path / 'saved')):
    plain = theirs(text, add_special_tokens=False).input_ids
    assert tokenizer.encode(text) == plain
    framed = framing.template(tokenizer)(tokenizer.encode(text))
    assert framed == theirs(text).input_ids
    for role in ('bos', 'eos', 'cls', 'sep', 'mask', 'pad'):
      wanted = getattr(theirs, f'{role}_token_id')
      if wanted is not None:
        assert getattr(tokenizer, f'{role}_id') == wanted, role
      elif role in ('cls', 'sep', 'mask'):
        assert getattr(tokenizer, f'{role}_id') is None, role
    assert tokenizer.fingerprint == ours.fingerprint


def test_ids_of_the_model_decide_where_no_entry_is_named(tmp_path):
  fast()(tmp_path)
  config = {'model_type': 'llama', 'bos_token_id': 3, 'eos_token_id': 5}
  (tmp_path / 'config.json').write_text(json.dumps(SHAPE | config))
  t = tokenizer_lib.load(tmp_path)
  assert (t.bos_id, t.eos_id, t.pad_id) == (3, 5, 5)
  generation = {'eos_token_id': [4, 5], 'pad_token_id': 6}
  (tmp_path / 'generation_config.json').write_text(json.dumps(generation))
  t = tokenizer_lib.load(tmp_path)
  assert (t.bos_id, t.eos_id, t.pad_id) == (3, 4, 6)
  # An id that is no special token is a class's default for other vocabularies.
  (tmp_path / 'generation_config.json').unlink()
  config['bos_token_id'] = FAST.index('a')
  (tmp_path / 'config.json').write_text(json.dumps(SHAPE | config))
  assert tokenizer_lib.load(tmp_path).bos_id == FAST.index('<s>')


def test_names_decide_where_nothing_else_does(tmp_path):
  fast()(tmp_path)
  t = tokenizer_lib.load(tmp_path)
  assert (t.bos_id, t.eos_id) == (1, 2) and t.template is None
  # A folder that names a mask alone still has an end.
  settings = GENERIC | {'mask_token': '<|begin|>'}
  (tmp_path / 'tokenizer_config.json').write_text(json.dumps(settings))
  t = tokenizer_lib.load(tmp_path)
  assert (t.bos_id, t.eos_id, t.mask_id) == (1, 2, 3)
