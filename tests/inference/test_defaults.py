"""With no option given, ids are those of transformers.generate."""

import json

import numpy as np
import pytest
import tokenizers
import torch
import transformers as tr

from ctxlm import decoding
from ctxlm.errors import UserError
from ctxlm.inference import defaults, writing
from tests.decoding import checkpoints

pytestmark = pytest.mark.filterwarnings('ignore:Using the model-agnostic')
VOCAB, EOS, LENGTH = checkpoints.VOCAB, checkpoints.EOS, checkpoints.LENGTH
CASES = {
  'nothing': {},
  'lengths': {'max_length': 17, 'min_length': 12},
  'new tokens': {'max_new_tokens': 13, 'min_new_tokens': 9},
  'penalties': {
    'repetition_penalty': 1.4,
    'no_repeat_ngram_size': 2,
    'bad_words_ids': [[EOS], [7], [9, 11], [30]],
  },
  'suppressed': {
    'suppress_tokens': [5, 6, 20],
    'begin_suppress_tokens': [8, EOS, 33],
  },
  'forced end': {'max_length': 18, 'forced_eos_token_id': [EOS, 4]},
  'two ends': {'eos_token_id': [EOS, 12, 40]},
  'beams': {
    'num_beams': 3,
    'length_penalty': 2.0,
    'early_stopping': True,
    'num_return_sequences': 2,
    'max_length': 19,
    'min_length': 14,
    'no_repeat_ngram_size': 3,
  },
  'filters of nothing': {'temperature': 0.3, 'top_p': 0.5, 'top_k': 2},
}
ENCODER_DECODER = {
  'nothing': {},
  'bart large cnn': {
    'num_beams': 4,
    'length_penalty': 2.0,
    'max_length': 21,
    'min_length': 8,
    'no_repeat_ngram_size': 3,
    'early_stopping': True,
    'forced_bos_token_id': 2,
    'forced_eos_token_id': EOS,
    'begin_suppress_tokens': [3, 9, 17, 25],
  },
}


@pytest.fixture(scope='module')
def folders(tmp_path_factory):
  """{kind: (folder of a small random checkpoint, its torch model)}."""
  found = {}
  vocabulary = {'<pad>': 0, '</s>': EOS}
  vocabulary |= {f't{i}': i for i in range(2, VOCAB)}
  for kind in ('gpt2', 'bart'):
    model, _ = checkpoints.pair(kind)
    folder = tmp_path_factory.mktemp(kind)
    model.save_pretrained(folder)
    (folder / 'generation_config.json').unlink()
    words = tokenizers.models.WordLevel(vocabulary, unk_token='t3')
    tokenizer = tokenizers.Tokenizer(words)
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    tr.PreTrainedTokenizerFast(
      tokenizer_object=tokenizer, pad_token='<pad>', eos_token='</s>'
    ).save_pretrained(folder)
    found[kind] = folder
  return found


def say(folder, said, file):
  """Writes generation settings; returns what was in config.json."""
  ids = {'bart': {'decoder_start_token_id': EOS}}
  config = json.loads((folder / 'config.json').read_text())
  kept = json.dumps(config)
  if file == 'config.json':
    (folder / file).write_text(json.dumps(config | said))
  else:
    base = {'eos_token_id': EOS, 'pad_token_id': 0}
    base |= ids.get(config['model_type'], {})
    (folder / file).write_text(json.dumps(base | said))
  return kept


def compare(folder, said, file='generation_config.json'):
  """Returns both's texts of three prompts under a folder's own settings."""
  kept = say(folder, said, file)
  try:
    reference = tr.AutoModelForSeq2SeqLM
    if 'gpt2' in kept:
      reference = tr.AutoModelForCausalLM
    theirs = reference.from_pretrained(folder).eval()
    generator, _ = writing.open_generator(folder, decoding.unsaid())
  finally:
    (folder / 'config.json').write_text(kept)
    (folder / 'generation_config.json').unlink(missing_ok=True)
  ends = theirs.generation_config.eos_token_id
  ends = ends if isinstance(ends, list) else [ends]
  found, want = [], []
  for row in checkpoints.prompts(3):
    found.append([one['tokens'] for one in generator([row])[0]])
    tokens = torch.tensor([row])
    out = theirs.generate(tokens, attention_mask=torch.ones_like(tokens))
    first = 1 if generator.encoder_decoder else len(row)
    want.append([cut(text[first:].tolist(), ends) for text in out])
  return found, want


def cut(row, ends):
  at = [i for i, token in enumerate(row) if token in ends]
  return row[: at[0] + 1] if at else row


@pytest.mark.parametrize('case', CASES)
def test_decoder(folders, case, capsys):
  found, want = compare(folders['gpt2'], CASES[case])
  assert found == want
  assert 'not supported' not in capsys.readouterr().err


@pytest.mark.parametrize('case', ENCODER_DECODER)
def test_encoder_decoder(folders, case):
  found, want = compare(folders['bart'], ENCODER_DECODER[case])
  assert found == want


@pytest.mark.parametrize('kind', ['gpt2', 'bart'])
def test_of_an_older_folder(folders, kind):
  said = {'num_beams': 2, 'max_length': 16, 'forced_eos_token_id': 2}
  found, want = compare(folders[kind], said, 'config.json')
  assert found == want
  assert any(row[-1] == 2 for [row] in found)


def complete(said, **asked):
  """Returns (config, unsupported) of a folder's settings and flags."""
  _, writer = checkpoints.pair('gpt2')
  c = decoding.unsaid()
  for key, value in asked.items():
    c[key] = value
  return defaults.complete(c, said, writer.model, (EOS,))


def names(config):
  return [block['name'] for block in config.processors]


def test_sampling_has_the_references_filters():
  c, left = complete({'do_sample': True, 'temperature': 0.6, 'top_p': 0.9})
  assert c.strategy.to_dict() == {'name': 'sample'} and not left
  assert [dict(b) for b in c.processors] == [
    {'name': 'temperature', 'temperature': 0.6},
    {'name': 'top_k', 'k': 50},
    {'name': 'top_p', 'p': 0.9},
  ]


def test_what_is_asked_for_comes_first():
  said = {
    'do_sample': True,
    'num_beams': 3,
    'length_penalty': 2.0,
    'temperature': 0.6,
    'top_p': 0.9,
    'no_repeat_ngram_size': 3,
    'repetition_penalty': 1.2,
    'max_length': 30,
  }
  c, _ = complete(
    said,
    strategy={'name': 'sample'},
    processors=(
      {'name': 'top_k', 'k': 7},
      {'name': 'no_repeat_ngram', 'size': 4},
      {'name': 'min_p', 'p': 0.1},
    ),
    max_new_tokens=9,
  )
  assert c.strategy.to_dict() == {'name': 'sample'}
  assert (c.max_new_tokens, c.max_length) == (9, 0)
  assert names(c) == [
    'repetition',
    'temperature',
    'top_k',
    'no_repeat_ngram',
    'top_p',
    'min_p',
  ]
  c, _ = complete(said, strategy={'name': 'greedy'})
  assert names(c) == ['repetition', 'no_repeat_ngram']
  c, _ = complete(said, strategy={'name': 'beam', 'num_beams': 2})
  assert c.strategy.to_dict() == {
    'name': 'beam',
    'num_beams': 2,
    'length_penalty': 2.0,
  }
  # Whoever asks for a filter, or several texts, wants draws.
  assert complete({}, num_samples=2)[0].strategy.name == 'sample'
  asked = ({'name': 'temperature', 'temperature': 2.0},)
  c, _ = complete({}, processors=asked)
  assert c.strategy.name == 'sample' and names(c) == ['temperature']


def test_other_searches():
  c, _ = complete(
    {'num_beams': 4, 'num_beam_groups': 2, 'diversity_penalty': 0.5}
  )
  assert c.strategy.num_groups == 2 and c.strategy.diversity_penalty == 0.5
  c, _ = complete({'penalty_alpha': 0.6, 'top_k': 4})
  assert c.strategy.to_dict() == {
    'name': 'contrastive_search',
    'top_k': 4,
    'alpha': 0.6,
  }


def test_a_run_of_ours_keeps_our_defaults():
  c, left = complete(None)
  assert c.to_dict() == decoding.base().to_dict() and not left


def test_what_is_not_supported_is_named_in_one_line(folders, capsys):
  folder = folders['gpt2']
  said = {
    'encoder_no_repeat_ngram_size': 3,
    'max_time': 2.0,
    'token_healing': False,
    'epsilon_cutoff': 0.1,  # nothing is drawn
    'use_cache': True,
  }
  kept = say(folder, said, 'generation_config.json')
  try:
    writing.open_generator(folder, decoding.unsaid())
  finally:
    (folder / 'config.json').write_text(kept)
    (folder / 'generation_config.json').unlink()
  err = capsys.readouterr().err
  assert err.count('\n') == 1
  assert err.endswith(
    'left out, not supported: encoder_no_repeat_ngram_size, max_time\n'
  )


def test_a_prompt_as_long_as_the_folders_texts(folders):
  folder = folders['gpt2']
  kept = say(folder, {'max_length': 9}, 'generation_config.json')
  try:
    generator, _ = writing.open_generator(folder, decoding.unsaid())
  finally:
    (folder / 'config.json').write_text(kept)
    (folder / 'generation_config.json').unlink()
  with pytest.raises(UserError, match='max_length=9: give max_new_tokens'):
    generator.check(np.arange(2, 11).tolist())


def test_every_key_of_the_reference_has_a_place():
  known = defaults.READ | defaults.HARMLESS | {*defaults.OTHERS}
  theirs = {*tr.GenerationConfig().to_dict()}
  theirs |= {*tr.GenerationConfig._get_default_generation_params()}
  assert theirs <= known, f'give {theirs - known} a place in defaults.py'
