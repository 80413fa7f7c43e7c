"""lm-evaluation-harness: what its own model `hf` says of the same folder."""

import functools
import json
import sys

import pytest
import torch
import transformers as tr
from lm_eval import tasks as lm_tasks
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM

from ctxlm.data.tokenizers import tokenizer as tokenizer_lib
from ctxlm.errors import UserError
from ctxlm.inference import harness

TEXTS = ['the quick brown fox jumps over the lazy dog, 12 times. a b'] * 9
LENGTH = 48


def make(folder, kind):
  """Writes a random model of a kind, whose texts begin with bos or don't."""
  trained = tokenizer_lib.train('bpe', 290, TEXTS)
  trained.save(folder)
  path = folder / 'tokenizer.json'
  content = json.loads(path.read_text())
  end = '<|endoftext|>'
  names = {'bos_token': end, 'eos_token': end, 'pad_token': end}
  if kind == 'llama':
    names |= {'bos_token': '[CLS]', 'eos_token': '[SEP]'}
    first = {'SpecialToken': {'id': '[CLS]', 'type_id': 0}}
    text = {'Sequence': {'id': 'A', 'type_id': 0}}
    one = {'id': '[CLS]', 'ids': [trained.cls_id], 'tokens': ['[CLS]']}
    content['post_processor'] = {
      'type': 'TemplateProcessing',
      'single': [first, text],
      'pair': [first, text, {'Sequence': {'id': 'B', 'type_id': 1}}],
      'special_tokens': {'[CLS]': one},
    }
  path.write_text(json.dumps(content))
  settings = {'tokenizer_class': 'PreTrainedTokenizerFast'} | names
  (folder / 'tokenizer_config.json').write_text(json.dumps(settings))
  ids = {
    k.replace('_token', '_token_id'): trained.token_id(v)
    for k, v in names.items()
  }
  torch.manual_seed(0)
  shape = {'vocab_size': trained.vocab_size, 'initializer_range': 0.3} | ids
  if kind == 'llama':
    config = tr.LlamaConfig(
      hidden_size=24, intermediate_size=40, num_hidden_layers=2,
      num_attention_heads=4, num_key_value_heads=2,
      max_position_embeddings=LENGTH, **shape,
    )  # fmt: skip
    model = tr.LlamaForCausalLM(config)
  else:
    config = tr.GPT2Config(
      n_embd=24, n_layer=2, n_head=4, n_positions=LENGTH, **shape
    )
    model = tr.GPT2LMHeadModel(config)
  model.save_pretrained(folder)
  return folder


@pytest.fixture(scope='module', params=['gpt2', 'llama'])
def both(request, tmp_path_factory):
  """(theirs, ours) of one folder."""
  folder = make(tmp_path_factory.mktemp(request.param), request.param)
  theirs = HFLM(pretrained=str(folder), device='cpu', dtype='float32')
  return theirs, harness.Model(folder, batch_size=4)


def ask(model, kind, *arguments):
  requests = [
    Instance(request_type=kind, doc={}, arguments=given, idx=i)
    for i, given in enumerate(arguments)
  ]
  return {
    'loglikelihood': model.loglikelihood,
    'loglikelihood_rolling': model.loglikelihood_rolling,
    'generate_until': model.generate_until,
  }[kind](requests)


DEMONSTRATIONS = 'the fox: over. the dog: lazy. brown: a. '
PAIRS = [
  ('the quick', ' brown fox'),
  ('the quick ', 'brown'),
  ('the quick  \n', 'brown'),
  ('', 'jumps over a'),
  ('', ' '),
  ('the lazy dog ' * 30, 'jumps over'),
  ('a', ' the' * 30),
  *(
    (f'{DEMONSTRATIONS}{question}:', answer)
    for question in ('over', 'times', 'fox b', 'lazy dog', 'jumps')
    for answer in (' a', ' b', ' the lazy')
  ),
]


def test_continuations_are_as_probable(both):
  theirs, ours = both
  begun = ours._text_of(ours.prefix_token_id)
  pairs = [*PAIRS, (f'{begun}the', ' fox')]
  wanted = ask(theirs, 'loglikelihood', *pairs)
  got = ask(ours, 'loglikelihood', *pairs)
  for pair, a, b in zip(pairs, wanted, got, strict=True):
    assert b[0] == pytest.approx(a[0], abs=1e-4), pair
    assert b[1] == a[1], pair


def test_texts_longer_than_the_model_are_read_in_windows(both):
  theirs, ours = both
  texts = ('the quick brown fox',), (TEXTS[0] * 6,), ('a',), ('',)
  wanted = ask(theirs, 'loglikelihood_rolling', *texts)
  got = ask(ours, 'loglikelihood_rolling', *texts)
  assert got == pytest.approx(wanted, abs=1e-4)
  assert got[1] < 10 * got[0] < 0


STOPS = {  # of each kind of folder; who draws has one token to draw from
  'gpt2': {'until': ['o', ' t'], 'max_gen_toks': 20, 'temperature': 0.0},
  'llama': {
    'until': '[MASK]',
    'max_new_tokens': 7,
    'do_sample': True,
    'temperature': 0.7,
    'top_k': 1,
  },
}


@pytest.mark.slow
def test_texts_that_follow_are_the_same(both):
  theirs, ours = both
  settings = STOPS[theirs.model.config.model_type]
  contexts = ['the quick', 'a b ', 'the lazy dog ' * 30, 'jumps']
  asked = [(context, settings) for context in contexts]
  wanted = ask(theirs, 'generate_until', *asked)
  assert ask(ours, 'generate_until', *asked) == wanted
  assert any(wanted)


@pytest.mark.parametrize('both', ['gpt2'], indirect=True)
def test_each_context_has_its_own_settings(both, monkeypatch):
  _, ours = both

  def texts(contexts, settings):
    return [context + settings['until'] for context in contexts]

  monkeypatch.setattr(ours, '_texts', texts)
  asked = [(f'{i} ', {'until': 'ab'[i % 2]}) for i in range(3)]
  assert ask(ours, 'generate_until', *asked) == ['0 a', '1 b', '2 a']


@pytest.mark.parametrize('both', ['gpt2'], indirect=True)
def test_settings(both):
  theirs, ours = both
  given = harness.Model(theirs.pretrained, batch_size='auto:4', max_length=16)
  assert (given.batch_size, given.max_length) == (harness.BATCH, 16)
  assert (ours.batch_size, ours.max_length) == (8, LENGTH)  # of 8 devices
  for settings, wanted in (
    (
      {'max_gen_toks': 8, 'length_penalt': 1},
      'length_penalt is unknown. Known: ',
    ),
    ({'max_gen_toks': LENGTH}, 'max_gen_toks=48 leaves no room'),
  ):
    with pytest.raises(UserError, match=wanted):
      ask(ours, 'generate_until', ('the quick', {'until': []} | settings))


TEMPLATE = (
  "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] | trim }}|"
  '{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}'
)


@pytest.mark.parametrize('both', ['gpt2'], indirect=True)
def test_dialogues_are_joined_by_the_template(both):
  theirs, ours = both
  theirs.tokenizer.chat_template = ours._own.chat_template = TEMPLATE
  turns = [
    {'role': 'user', 'content': 'the fox'},
    {'role': 'assistant', 'content': 'jumps '},
  ]
  for begins, count in ((True, 1), (False, 2)):
    wanted = theirs.apply_chat_template(turns[:count], begins)
    assert ours.apply_chat_template(turns[:count], begins) == wanted
  assert ours.chat_template(True) == TEMPLATE and not ours.chat_template()


TASK = """
task: mine
dataset_path: json
dataset_kwargs: {data_files: {test: FOLDER/rows.jsonl}, cache_dir: FOLDER/cache}
test_split: test
fewshot_split: test
output_type: multiple_choice
doc_to_text: "{{text}}:"
doc_to_choice: [the, lazy dog, a]
doc_to_target: label
num_fewshot: 2
metric_list: [{metric: acc}, {metric: acc_norm}]
"""


@pytest.mark.slow
def test_the_command_gives_the_results_of_hf(tmp_path, monkeypatch):
  """On a task that is defined by local files."""
  folder = make(tmp_path, 'gpt2')
  rows = [{'text': f'fox {i}', 'label': i % 3} for i in range(12)]
  lines = ''.join(json.dumps(row) + '\n' for row in rows)
  (tmp_path / 'rows.jsonl').write_text(lines)
  tasks = tmp_path / 'tasks'
  tasks.mkdir()
  text = TASK.replace('FOLDER', str(tmp_path))
  (tasks / 'mine.yaml').write_text(text)
  monkeypatch.setenv('TOKENIZERS_PARALLELISM', 'false')  # which it sets, and
  monkeypatch.setattr(sys, 'argv', sys.argv)
  # It would read the 14,000 files of its own tasks, twice.
  own = functools.partial(lm_tasks.TaskManager, include_defaults=False)
  monkeypatch.setattr(lm_tasks, 'TaskManager', own)
  found = []
  for name, args in (
    ('ctxlm', f'path={folder}'),
    ('hf', f'pretrained={folder},dtype=float32'),
  ):
    out = tmp_path / name
    argv = [
      *('--model', name, '--model_args', args, '--tasks', 'mine'),
      *('--include_path', str(tasks), '--device', 'cpu', '--batch_size', '8'),
      *('--output_path', str(out), '--log_samples'),
    ]
    harness.main(argv)
    (results,) = out.rglob('results_*.json')
    (samples,) = out.rglob('samples_*.jsonl')
    answers = [json.loads(x) for x in samples.read_text().splitlines()]
    answers = {row['doc_id']: row['resps'] for row in answers}
    found.append((json.loads(results.read_text())['results'], answers))
  (ours, answers), (theirs, wanted) = found
  assert ours == theirs and len(wanted) == len(rows)
  for number, own in wanted.items():
    for (a,), (b,) in zip(own, answers[number], strict=True):
      assert float(b[0]) == pytest.approx(float(a[0]), abs=1e-4)
      assert b[1] == a[1]
