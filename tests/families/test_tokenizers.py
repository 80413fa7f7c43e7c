"""Tokenizers give AutoTokenizer's ids, and go back out as they came."""

import io
import json

import numpy as np
import pytest
import sentencepiece
import tokenizers
import transformers as tr
from tokenizers import models, normalizers, pre_tokenizers, trainers

from ctxlm.data import framing
from ctxlm.data.tokenizers import tokenizer as tokenizer_lib
from ctxlm.inference import conversion
from tests.families import lines

LINES = lines.make(1000)
TRAINING = lines.make(300, seed=1, plain=True)


def wordpiece(folder):
  """Writes vocab.txt, as BERT's checkpoints have it."""
  t = tokenizers.Tokenizer(models.WordPiece(unk_token='[UNK]'))
  t.normalizer = normalizers.BertNormalizer()
  t.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
  special = ['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]']
  trainer = trainers.WordPieceTrainer(
    vocab_size=600, special_tokens=special, limit_alphabet=150,
    show_progress=False,
  )  # fmt: skip
  t.train_from_iterator(TRAINING, trainer)
  vocab = t.get_vocab()
  text = '\n'.join(sorted(vocab, key=vocab.get)) + '\n'
  (folder / 'vocab.txt').write_text(text, encoding='utf-8')


def cased(folder):
  """The same vocabulary, with settings that say: keep case and accents."""
  wordpiece(folder)
  settings = {'do_lower_case': False, 'tokenize_chinese_chars': False}
  (folder / 'tokenizer_config.json').write_text(json.dumps(settings))


def llama(folder):
  pieces(
    'tokenizer.model',
    'bpe',
    byte_fallback=True,
    character_coverage=0.98,
    normalization_rule_name='identity',
    remove_extra_whitespaces=False,
  )(folder)
  settings = {'tokenizer_class': 'LlamaTokenizer', 'add_bos_token': True}
  (folder / 'tokenizer_config.json').write_text(json.dumps(settings))


def renamed(folder):
  """LLaMA's, begun and ended by other entries; its own are left over."""
  pieces(
    'tokenizer.model',
    'bpe',
    byte_fallback=True,
    character_coverage=0.98,
    normalization_rule_name='identity',
    remove_extra_whitespaces=False,
    control_symbols=['<|begin|>', '<|stop|>'],
  )(folder)
  settings = {
    'tokenizer_class': 'LlamaTokenizer',
    'add_bos_token': True,
    'add_eos_token': True,
    'bos_token': '<s>',
    'eos_token': '</s>',
  }
  (folder / 'tokenizer_config.json').write_text(json.dumps(settings))
  names = {'bos_token': {'content': '<|begin|>'}, 'eos_token': '<|stop|>'}
  (folder / 'special_tokens_map.json').write_text(json.dumps(names))


def byte_bpe(*special):
  def write(folder):
    t = tokenizers.Tokenizer(models.BPE())
    t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
      vocab_size=700,
      special_tokens=list(special),
      initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
      show_progress=False,
    )
    t.train_from_iterator(TRAINING, trainer)
    t.model.save(str(folder))

  return write


def pieces(name, kind, **more):
  def write(folder):
    file = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
      sentence_iterator=iter(TRAINING),
      model_writer=file,
      model_type=kind,
      vocab_size=700,
      hard_vocab_limit=False,
      minloglevel=2,
      **more,
    )
    (folder / name).write_bytes(file.getvalue())

  return write


SHAPE = {'num_hidden_layers': 1, 'num_attention_heads': 2, 'hidden_size': 4}
BART = {
  'd_model': 4, 'encoder_layers': 1, 'decoder_layers': 1,
  'encoder_attention_heads': 2, 'decoder_attention_heads': 2,
  'encoder_ffn_dim': 4, 'decoder_ffn_dim': 4,
}  # fmt: skip
ROBERTA = byte_bpe('<s>', '<pad>', '</s>', '<unk>', '<|endoftext|>', '<mask>')
KINDS = {
  'bert': (wordpiece, 'Bert', SHAPE | {'intermediate_size': 4}),
  'bert cased': (cased, 'Bert', SHAPE | {'intermediate_size': 4}),
  'roberta': (ROBERTA, 'Roberta', SHAPE | {'intermediate_size': 4}),
  'gpt2': (
    byte_bpe('<|endoftext|>'),
    'GPT2',
    {'n_embd': 4, 'n_layer': 1, 'n_head': 2},
  ),
  'bart': (ROBERTA, 'Bart', BART),
  't5': (
    pieces(
      'spiece.model', 'unigram', pad_id=0, eos_id=1, unk_id=2, bos_id=-1,
    ),
    'T5',
    {'d_model': 4, 'd_kv': 2, 'd_ff': 4, 'num_layers': 1, 'num_heads': 2},
  ),
  'llama': (
    llama,
    'Llama',
    SHAPE | {'intermediate_size': 4},
  ),
  'llama renamed': (
    renamed,
    'Llama',
    SHAPE
    | {'intermediate_size': 4, 'bos_token_id': 3, 'eos_token_id': 4},
  ),
}  # fmt: skip


@pytest.fixture(scope='module', params=KINDS)
def folder(request, tmp_path_factory):
  """A tiny checkpoint with the tokenizer's original files."""
  write, family, shape = KINDS[request.param]
  path = tmp_path_factory.mktemp('checkpoint')
  write(path)
  config = getattr(tr, f'{family}Config')(vocab_size=800, **shape)
  kind = {
    'Bert': 'BertForMaskedLM',
    'Roberta': 'RobertaForMaskedLM',
    'GPT2': 'GPT2LMHeadModel',
    'Llama': 'LlamaForCausalLM',
  }.get(family, f'{family}ForConditionalGeneration')
  getattr(tr, kind)(config).save_pretrained(path)
  return path


def ids(path):
  """Returns AutoTokenizer's ids of LINES, without and with special tokens."""
  theirs = tr.AutoTokenizer.from_pretrained(path)
  plain = theirs(LINES, add_special_tokens=False).input_ids
  return plain, theirs(LINES).input_ids


def check(tokenizer, wanted):
  plain, framed = wanted
  assert len(plain) == 1000 and len({tuple(x) for x in plain}) > 600
  found = tokenizer.encode_batch(LINES), framing.texts(tokenizer, LINES, 10**6)
  model = json.loads(tokenizer._backend.to_str())['model']
  scores = {}
  if model['type'] == 'Unigram':
    scores = dict(enumerate(score for _, score in model['vocab']))
  ties = 0
  for line, *ids in zip(LINES, *found, *wanted, strict=True):
    for ours, theirs in zip(ids[:2], ids[2:], strict=True):
      if scores and ours != theirs:
        # Two ways to cut a word are as likely: a sum's last digit decides.
        a, b = (sum(scores.get(i, 0) for i in x) for x in (ours, theirs))
        assert abs(a - b) < 1e-4, line
        ties += 1
      else:
        assert ours == theirs, line
  assert ties < 20


def test_ids_of_original_files(folder):
  check(tokenizer_lib.load(folder), ids(folder))


def test_ids_of_saved_files(folder, tmp_path):
  tr.AutoTokenizer.from_pretrained(folder).save_pretrained(tmp_path)
  (tmp_path / 'config.json').write_text((folder / 'config.json').read_text())
  assert (tmp_path / 'tokenizer.json').exists()
  check(tokenizer_lib.load(tmp_path), ids(tmp_path))


def test_round_trip(folder, tmp_path):
  wanted = ids(folder)
  conversion.convert(folder, to=tmp_path / 'run')
  ours = tokenizer_lib.load(tmp_path / 'run/tokenizer')
  check(ours, wanted)
  conversion.convert(tmp_path / 'run', to_hf=tmp_path / 'back')
  assert ids(tmp_path / 'back') == wanted
  # The run folder's own tokenizer alone gives them too.
  alone = tr.PreTrainedTokenizerFast(
    tokenizer_file=str(tmp_path / 'run/tokenizer/tokenizer.json')
  )
  assert alone(LINES).input_ids == framing.texts(ours, LINES, 10**6)


def test_exported_ids_are_those_of_the_reference(folder, tmp_path):
  """As AutoTokenizer has them; export writes the tokenizer's own."""
  theirs = tr.AutoTokenizer.from_pretrained(folder)
  ours = tokenizer_lib.load(folder)
  for role in ('bos', 'eos', 'cls', 'sep', 'mask', 'pad'):
    wanted = getattr(theirs, f'{role}_token_id')
    assert wanted is None or getattr(ours, f'{role}_id') == wanted, role
  if theirs.cls_token is None:
    assert ours.cls_id is None
  ours.save(tmp_path)
  again = tokenizer_lib.load(tmp_path)
  assert again.fingerprint == ours.fingerprint
  assert again.bos_id == ours.bos_id and again.eos_id == ours.eos_id


def test_cut_texts_keep_their_frame(folder):
  theirs = tr.AutoTokenizer.from_pretrained(folder)
  ours = tokenizer_lib.load(folder)
  found = framing.texts(ours, LINES, 9)
  assert found == theirs(LINES, truncation=True, max_length=9).input_ids
  assert max(map(len, found)) == 9 and np.mean([len(i) for i in found]) > 5


@pytest.mark.parametrize('kind', ['wordpiece', 'bpe', 'unigram'])
def test_trained_here(kind, tmp_path):
  """A tokenizer of our own goes out; encoders' texts get cls and sep."""
  from ctxlm.families import export
  from ctxlm.models import transformer

  ours = tokenizer_lib.train(kind, 800, TRAINING)
  for causal in (True, False):
    model = transformer.Model(vocab_size=800, causal=causal, max_length=30)
    path = tmp_path / str(causal)
    path.mkdir()
    export.write_tokenizer(path, ours, model)
    theirs = tr.AutoTokenizer.from_pretrained(path)
    assert theirs.pad_token_id == ours.pad_id
    plain = theirs(LINES, add_special_tokens=False).input_ids
    assert plain == ours.encode_batch(LINES)
    framed = theirs(LINES, truncation=True).input_ids
    wanted = [i[:30] for i in plain]
    assert framed == (wanted if causal else framing.texts(ours, LINES, 30))
