"""GGUF files as transformers reads them; what can not be is one line."""

import json
import sys

import gguf
import numpy as np
import pytest
import torch
import transformers as tr

import ctxlm
from ctxlm import data as data_lib
from ctxlm.configs import finetune
from ctxlm.data.tokenizers import gguf as gguf_lib
from ctxlm.data.tokenizers import tokenizer as tokenizer_lib
from ctxlm.errors import UserError
from ctxlm.families.formats import gguf as format_lib
from ctxlm.inference import conversion
from ctxlm.training import initial

QUANTS = gguf.GGMLQuantizationType
HIDDEN, MLP, HEADS, KV_HEADS, LAYERS = 64, 96, 4, 2, 2
HEAD = HIDDEN // HEADS
TEXTS = ['the quick brown fox jumps over the lazy dog, 12 times'] * 9
TEMPLATE = (
  "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}"
  '<|im_end|>\n{% endfor %}'
)
# Of each kind that real files mix; what they are stored in.
STORED = {
  'token_embd': QUANTS.Q8_0,
  'attn_q': QUANTS.Q4_0,
  'attn_k': QUANTS.Q5_1,
  'attn_v': QUANTS.F16,
  'attn_output': QUANTS.BF16,
  'ffn_gate': QUANTS.Q4_1,
  'ffn_up': QUANTS.Q8_0,
  'output': QUANTS.Q5_0,
}


@pytest.fixture(scope='module')
def vocabulary():
  """(tokens, types, merges) of a byte-level BPE with two special tokens."""
  trained = tokenizer_lib.train('bpe', 280, TEXTS)
  model = json.loads(trained._backend.to_str())['model']
  tokens = sorted(model['vocab'], key=model['vocab'].get)
  types = [3 if t == '<|endoftext|>' else 1 for t in tokens]
  tokens += ['<|im_start|>', '<|im_end|>', '<think>', '[PAD1]']
  types += [3, 3, 4, 5]
  return tokens, types, [' '.join(m) for m in model['merges']]


def write(
  path, vocabulary, tied=False, keys=(), leave=(), more=None, kind=None
):
  """Writes a random LLaMA, some keys changed or left out; tensors added."""
  tokens, types, merges = vocabulary
  rng = np.random.default_rng(0)
  w = gguf.GGUFWriter(path, 'llama')
  values = {
    'llama.context_length': 64,
    'llama.embedding_length': HIDDEN,
    'llama.block_count': LAYERS,
    'llama.feed_forward_length': MLP,
    'llama.attention.head_count': HEADS,
    'llama.attention.head_count_kv': KV_HEADS,
    'llama.attention.layer_norm_rms_epsilon': 1e-5,
    'llama.rope.freq_base': 500.0,
    'llama.rope.dimension_count': HEAD,
    'llama.vocab_size': len(tokens),
    'tokenizer.ggml.model': 'gpt2',
    'tokenizer.ggml.pre': 'gpt-2',
    'tokenizer.ggml.tokens': tokens,
    'tokenizer.ggml.token_type': types,
    'tokenizer.ggml.merges': merges,
    'tokenizer.ggml.bos_token_id': tokens.index('<|im_start|>'),
    'tokenizer.ggml.eos_token_id': tokens.index('<|im_end|>'),
    'tokenizer.ggml.padding_token_id': tokens.index('<|im_end|>'),
    'tokenizer.ggml.unknown_token_id': tokens.index('<|endoftext|>'),
    'tokenizer.chat_template': TEMPLATE,
  } | dict(keys)
  for key, value in values.items():
    if key in leave:
      continue
    if isinstance(value, bool):
      w.add_bool(key, value)
    elif isinstance(value, int):
      w.add_uint32(key, value)
    elif isinstance(value, float):
      w.add_float32(key, value)
    elif isinstance(value, str):
      w.add_string(key, value)
    else:
      w.add_array(key, value)
  shapes = {'token_embd': (len(tokens), HIDDEN), 'output_norm': (HIDDEN,)}
  if not tied:
    shapes['output'] = len(tokens), HIDDEN
  for i in range(LAYERS):
    shapes |= {
      f'blk.{i}.attn_norm': (HIDDEN,),
      f'blk.{i}.ffn_norm': (HIDDEN,),
      f'blk.{i}.attn_q': (HIDDEN, HIDDEN),
      f'blk.{i}.attn_k': (KV_HEADS * HEAD, HIDDEN),
      f'blk.{i}.attn_v': (KV_HEADS * HEAD, HIDDEN),
      f'blk.{i}.attn_output': (HIDDEN, HIDDEN),
      f'blk.{i}.ffn_gate': (MLP, HIDDEN),
      f'blk.{i}.ffn_up': (MLP, HIDDEN),
      f'blk.{i}.ffn_down': (HIDDEN, MLP),
    }
  for name, shape in (shapes | (more or {})).items():
    if name in leave:
      continue
    x = rng.normal(size=shape).astype('f4') * 0.3
    stored = kind or STORED.get(name.rpartition('.')[2], QUANTS.F32)
    if len(shape) == 1 or stored == QUANTS.F32:
      w.add_tensor(f'{name}.weight', x)
    elif stored == QUANTS.F16:
      w.add_tensor(f'{name}.weight', x.astype('f2'))
    elif stored == QUANTS.I8:
      w.add_tensor(f'{name}.weight', x.astype('i1'))
    else:
      raw = gguf.quantize(x, stored)
      w.add_tensor(f'{name}.weight', raw, raw_dtype=stored)
  w.write_header_to_file()
  w.write_kv_data_to_file()
  w.write_tensors_to_file()
  w.close()
  return path


@pytest.fixture(scope='module')
def file(vocabulary, tmp_path_factory):
  return write(tmp_path_factory.mktemp('gguf') / 'm.gguf', vocabulary)


def theirs(path):
  return tr.AutoModelForCausalLM.from_pretrained(
    path.parent, gguf_file=path.name, dtype=torch.float32
  )


IDS = [5, 100, 7, 200, 261, 9, 33, 150, 280]


@pytest.mark.parametrize('tied', [False, True])
def test_logits_are_those_of_transformers(file, vocabulary, tmp_path, tied):
  path = write(tmp_path / 'x.gguf', vocabulary, tied=True) if tied else file
  with torch.no_grad():
    wanted = theirs(path)(torch.tensor([IDS])).logits[0].numpy()
  lm = ctxlm.load(path)
  assert lm.model.tie_embeddings == tied
  assert np.abs(wanted).max() > 1
  np.testing.assert_allclose(lm.logits(IDS), wanted, atol=1e-4)


def test_rows_are_dequantised_as_the_whole_is(file):
  _, tensors = format_lib.open_file(file)
  for name, x in tensors.items():
    whole = x[:]
    assert whole.shape == x.shape and whole.dtype == np.float32, name
    np.testing.assert_array_equal(x[3:9], whole[3:9], name)
    if len(x.shape) == 2:
      np.testing.assert_array_equal(x[5:8, 2:7], whole[5:8, 2:7])


HARD = [
  'the quick fox  jumps,\n\n over\t12  345 dogs ',
  'naïve 汉字 😀👩‍👩‍👧 e\u0301',
  '<|im_start|>user\nthe dog<|im_end|>\n<think> a',
  " it's I'll",
]


def test_it_becomes_a_folder_that_transformers_reads(file, tmp_path):
  conversion.convert(file, to=tmp_path / 'model', to_hf=tmp_path / 'hf')
  wanted = tr.AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
  got = tr.AutoTokenizer.from_pretrained(tmp_path / 'hf')
  chat = [{'role': 'user', 'content': 'hi'}, {'role': 'x', 'content': 'the'}]
  rendered = got.apply_chat_template(chat, tokenize=False)
  assert rendered == wanted.apply_chat_template(chat, tokenize=False)
  assert rendered.startswith('<|im_start|>user\nhi<|im_end|>\n')
  lm = ctxlm.load(tmp_path / 'model')
  for text in HARD:
    ids = wanted(text)['input_ids']
    assert got(text)['input_ids'] == ids
    assert lm.tokenizer.encode(text) == ids
    assert lm.tokenizer.decode(ids, skip_special=False) == text
  for role in ('bos', 'eos', 'pad', 'unk'):
    number = wanted.convert_tokens_to_ids(
      wanted.special_tokens_map[f'{role}_token']
    )
    assert vars(lm.tokenizer)[f'{role}_id'] == number
  model = theirs(file)
  prompt = torch.tensor([wanted('the quick')['input_ids']])
  text = model.generate(prompt, max_new_tokens=12, do_sample=False)[0].tolist()
  said = ctxlm.load(tmp_path / 'hf').generate('the quick', max_new_tokens=12)
  assert said == wanted.decode(
    text[prompt.shape[1] :], skip_special_tokens=True
  )


def test_a_training_begins_with_it(file):
  c = finetune.get_config(str(file))
  assert c.init_from == str(file) and c.tokenizer.path == str(file)
  opened = initial.open_folder(c.init_from)
  # The run's tokenizer is the one that the parameters were trained with.
  own = data_lib.load_tokenizer(file)
  assert own.fingerprint == opened.tokenizer.fingerprint
  assert own.fingerprint == data_lib.load_tokenizer(opened.small).fingerprint
  assert own.chat_template == opened.tokenizer.chat_template == TEMPLATE


def test_a_folder_that_holds_one_says_so(file):
  with pytest.raises(UserError, match='a GGUF file is named itself: .*m.gguf'):
    ctxlm.load(file.parent)


def test_a_text_may_end_as_a_turn_does(vocabulary, tmp_path):
  end = len(vocabulary[0]) - 4
  path = write(
    tmp_path / 'm.gguf', vocabulary, keys={'tokenizer.ggml.eot_token_id': end}
  )
  small, _ = format_lib.open_file(path)
  said = json.loads((small / 'generation_config.json').read_text())
  assert said['eos_token_id'] == [end, end + 1]


WRONG = {  # what is changed in the file, and the line
  'architecture': (
    {'keys': {'general.architecture': 'gemma'}},
    "architecture 'gemma' is not supported; llama is",
  ),
  'a quantisation': ({'kind': QUANTS.I8}, 'quantisation I8 is not supported'),
  'rope': (
    {'keys': {'llama.rope.scaling.type': 'yarn'}},
    "llama.rope.scaling.type='yarn' is not supported",
  ),
  'rope frequencies': (
    {'more': {'rope_freqs': (HEAD // 2,)}},
    'rope_freqs.weight has no place in a llama model here',
  ),
  'experts': (
    {'keys': {'llama.expert_count': 8}},
    'llama.expert_count=8 is not supported',
  ),
  'an unknown key': (
    {'keys': {'llama.logit_scale': 2.0}},
    'llama.logit_scale=2.0 is not supported',
  ),
  'dimensions': (
    {'keys': {'llama.rope.dimension_count': 8}},
    'llama.rope.dimension_count=8 is not supported where a head has 16',
  ),
  'heads by layer': (
    {'keys': {'llama.attention.head_count': [4, 4]}},
    r'head_count=\[4, 4\] must be a whole number',
  ),
  'no layers': (
    {'leave': ('llama.block_count',)},
    'llama.block_count is missing',
  ),
  'layers': (
    {'keys': {'llama.block_count': 3}},
    'layers.2.*weight is missing in the checkpoint',
  ),
  'many layers': (
    {'keys': {'llama.block_count': 2**32 - 1}},
    'block_count=4294967295 must be',
  ),
  'a shape': (
    {'keys': {'llama.feed_forward_length': 32}},
    r'proj.weight has shape \[.*\]; config.json asks for',
  ),
  'a part': ({'keys': {'split.count': 2}}, 'is a part of a model: join'),
  'kind of tokenizer': (
    {'keys': {'tokenizer.ggml.model': 't5'}},
    "the kind 't5' is not supported; there are gpt2, llama",
  ),
  'cuts': (
    {'keys': {'tokenizer.ggml.pre': 'glm4'}},
    "pre='glm4', how it cuts texts, is not supported; there are gpt-2, smollm",
  ),
  'merges': (
    {'keys': {'tokenizer.ggml.merges': ['a b c']}},
    'merges has one that is no pair',
  ),
  'other merges': (
    {'keys': {'tokenizer.ggml.merges': ['xyzzy y']}},
    'its tokenizer fails: ',
  ),
  'scores': (
    {'keys': {'tokenizer.ggml.model': 'llama'}},
    'tokenizer.ggml.scores is missing',
  ),
  'types': (
    {'keys': {'tokenizer.ggml.token_type': [1, 2]}},
    'token_type has 2 entries for',
  ),
  'an id': (
    {'keys': {'tokenizer.ggml.eos_token_id': 99999}},
    'eos_token_id=99999 is none of',
  ),
  'a text': (
    {'keys': {'tokenizer.ggml.tokens': [1, 2]}},
    'tokens=.* must be a list: each a text',
  ),
  'tokens': (
    {'keys': {'llama.vocab_size': 7}},
    'tokens are more than llama.vocab_size=7',
  ),
  'template': (
    {'keys': {'tokenizer.chat_template': 7}},
    'tokenizer.chat_template=7 must be a text',
  ),
}


@pytest.mark.parametrize('name', WRONG)
def test_what_is_not_supported_is_one_line(vocabulary, tmp_path, name):
  changes, wanted = WRONG[name]
  path = write(tmp_path / 'm.gguf', vocabulary, **changes)
  with pytest.raises(UserError, match=wanted) as e:
    ctxlm.load(path)
  assert str(path) in str(e.value) and '\n' not in str(e.value)


def test_a_file_that_ends_early_is_one_line(file, tmp_path):
  data, path = file.read_bytes(), tmp_path / 'm.gguf'
  reader = gguf_lib.open_file(file)
  header = int(reader.data_offset)
  cuts = [0, 3, 8, 23, 24, 30, header // 2, header - 40, header, len(data) - 9]
  for size in cuts:
    path.write_bytes(data[:size])
    with pytest.raises(UserError, match=r'm.gguf is damaged') as e:
      ctxlm.load(path)
    assert '\n' not in str(e.value)


def test_the_package_is_named_where_it_is_missing(file, monkeypatch):
  monkeypatch.setitem(sys.modules, 'gguf', None)
  gguf_lib._open.cache_clear()
  with pytest.raises(UserError, match=r"pip install 'ctxlm\[gguf\]'"):
    ctxlm.load(file)
