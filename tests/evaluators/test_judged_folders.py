"""Folders of Hugging Face, judged by what they write; what predict writes."""

import json
import shutil

import pytest
import torch
import transformers as tr

import ctxlm
from ctxlm import cli
from ctxlm.data.tokenizers import tokenizer as tokenizer_lib
from ctxlm.decoding import build
from ctxlm.errors import UserError
from ctxlm.evaluators import metrics
from ctxlm.families import export
from ctxlm.inference import judging, lines, predict

TEXTS = ('the cat sees', 'a dog', 'my friend likes the moon', 'two', 'a hill')
RECIPE = """
from ctxlm.configs import common

def get_config(objective):
  name, _, strategy = objective.partition(';')
  c = common.base()
  c.batch_size, c.max_length = 8, 24
  kind = {{'kind': 'completion'}} if name == 'causal' else {{}}
  c.tasks.pairs = common.task(
    {{'name': 'files', 'split_patterns': dict.fromkeys(
      ('train', 'validation'), {data!r})}},
    {{'name': name, **kind}},
  )
  c.evaluators.written = {{
    'name': 'generation', 'metrics': ('chrf', 'distinct'), 'batch_size': 8,
    'decoding': {{'strategy': strategy, 'max_new_tokens': 7}},
  }}
  return c
"""
OTHERS = {
  'beam:num_beams=3': {'num_beams': 3},
  'contrastive_search:top_k=4,alpha=0.6': None,  # no longer in transformers
  'sample': None,
}


@pytest.fixture(scope='module')
def pairs(tmp_path_factory):
  folder = tmp_path_factory.mktemp('pairs')
  rows = [{'text_a': text, 'text_b': f'{text} at 3'} for text in TEXTS]
  path = folder / 'pairs.jsonl'
  path.write_text('\n'.join(map(json.dumps, rows)))
  recipe = folder / 'recipe.py'
  recipe.write_text(RECIPE.format(data=str(path)))
  return path, recipe


@pytest.fixture(scope='module')
def folders(tmp_path_factory):
  """{kind: (folder, torch model, tokenizer)} of small random checkpoints."""
  t = tokenizer_lib.train('bpe', 320, [*TEXTS] * 9)
  torch.manual_seed(0)
  sizes = dict(vocab_size=t.vocab_size, pad_token_id=t.pad_id)
  t5 = tr.T5Config(
    d_model=32,
    d_kv=8,
    d_ff=48,
    num_layers=1,
    num_heads=4,
    eos_token_id=t.sep_id,
    decoder_start_token_id=t.pad_id,
    **sizes,
  )
  gpt2 = tr.GPT2Config(
    n_embd=32,
    n_layer=1,
    n_head=4,
    n_positions=24,
    bos_token_id=t.bos_id,
    eos_token_id=t.eos_id,
    **sizes,
  )
  found = {}
  for kind, model in (
    ('seq2seq', tr.T5ForConditionalGeneration(t5)),
    ('causal', tr.GPT2LMHeadModel(gpt2)),
  ):
    with torch.no_grad():
      for name, p in model.named_parameters():
        if p.ndim > 1:  # so that logits differ by units
          p.normal_(0, 0.6 if 'relative' in name else 0.25)
        elif name == 'decoder.final_layer_norm.weight':
          p.fill_(6.0)
    folder = tmp_path_factory.mktemp(kind)
    model.eval().save_pretrained(folder)
    export.write_tokenizer(folder, t, ctxlm.load(folder).model)
    found[kind] = folder, model, t
  return found


def records(pairs):
  return [json.loads(line) for line in pairs[0].read_text().splitlines()]


def texts_of(model, t, frame, options):
  """Returns what the reference writes after each of TEXTS."""
  found = []
  for text in TEXTS:
    ids = torch.tensor([frame(t.encode(text))])
    out = model.generate(ids, max_new_tokens=7, do_sample=False, **options)
    out = out[0, 1 if model.config.is_encoder_decoder else ids.shape[1] :]
    found.append(t.decode(out.tolist()).strip())
  return found


@pytest.mark.parametrize('kind', ['seq2seq', 'causal'])
@pytest.mark.parametrize(
  'strategy',
  ['greedy', *(pytest.param(s, marks=pytest.mark.slow) for s in OTHERS)],
)
def test_a_folder_is_judged_by_what_it_writes(folders, pairs, kind, strategy):
  folder, model, t = folders[kind]
  found = judging.judge(folder, recipe=f'{pairs[1]}:{kind};{strategy}')
  options = OTHERS.get(strategy, {})
  if options is not None:
    frame = {
      'seq2seq': lambda ids: [t.cls_id, *ids, t.sep_id],
      'causal': lambda ids: [t.bos_id, *ids],
    }[kind]
    texts = texts_of(model, t, frame, options)
  else:
    config = build.config_of({'strategy': strategy, 'max_new_tokens': 7})
    predictor = predict.open_predictor(folder, config=config)
    texts = [one['text'] for one in predictor(records(pairs))]
  assert len(set(texts)) > 1
  chrf = metrics.imported('sacrebleu').CHRF()
  want = chrf.corpus_score(texts, [[f'{text} at 3' for text in TEXTS]])
  assert found.metrics['eval/written/chrf'] == pytest.approx(want.score)
  assert found.metrics['eval/written/examples'] == len(TEXTS)
  assert 0 < found.metrics['eval/written/distinct_1'] <= 1


@pytest.mark.slow
def test_predict_writes(folders, pairs, tmp_path, monkeypatch, capsys):
  """Files that go on where they stopped, lines, and mistakes."""
  folder, model, t = folders['seq2seq']
  argv = ['ctxlm', 'predict', f'--model={folder}', '--max_new_tokens=7']
  want = texts_of(model, t, lambda ids: [t.cls_id, *ids, t.sep_id], {})

  def run(*flags):
    with pytest.raises(SystemExit) as e:
      cli.main([*argv, *flags])
    out, err = capsys.readouterr()
    return e.value.code or 0, out, err

  out = tmp_path / 'out.jsonl'
  files = f'--input={pairs[0]}', f'--output={out}', '--batch_size=2'
  assert run(*files)[0] == 0
  rows = [json.loads(line) for line in out.read_text().splitlines()]
  assert [row['answer'] for row in rows] == [{'text': text} for text in want]
  assert [row['text_b'] for row in rows] == [f'{text} at 3' for text in TEXTS]
  whole = out.read_bytes()
  out.write_bytes(whole[: len(whole) // 2])
  assert run(*files)[0] == 0 and out.read_bytes() == whole
  status, _, err = run(*files, '--strategy=sample')
  assert status == 2 and 'was written with other settings' in err

  status, said, _ = run(f'--text={TEXTS[2]}')
  assert status == 0 and json.loads(said) == {'text': want[2]}
  monkeypatch.setattr(lines, 'STDIN', str(tmp_path / 'lines.txt'))
  (tmp_path / 'lines.txt').write_text('\n'.join(TEXTS))
  status, said, _ = run()
  assert status == 0 and [json.loads(line) for line in said.splitlines()] == [
    {'text': a, 'answer': {'text': b}} for a, b in zip(TEXTS, want)
  ]
  status, _, err = run('--text=a', '--strategy=beam:num_beams=3,num_best=2')
  assert status == 2 and 'predict gives one text' in err
  status, _, err = run('--text=a', '--max_length=999')
  assert status == 2 and '--max_length 999 is more than the 512' in err


def test_what_a_decoder_is_given(folders, tmp_path):
  """A folder with a chat template answers; one without goes on."""
  folder, model, t = folders['causal']
  predictor = predict.open_predictor(folder)
  assert predictor._ids({'text': 'a dog'}) == [t.bos_id, *t.encode('a dog')]
  assert predictor._ids({'prompt': 'a dog', 'text': 'x'})[1:] == t.encode(
    'a dog'
  )
  with pytest.raises(UserError, match='the objective reads prompt, and the da'):
    predictor.check({'body': 'a'})
  shutil.copytree(folder, tmp_path / 'chat')
  template = '{% for m in messages %}{{ m.content }}{{ eos_token }}{% endfor %}'
  (tmp_path / 'chat' / 'chat_template.jinja').write_text(template)
  predictor = predict.open_predictor(tmp_path / 'chat')
  turns = [i for x in ('a', 'dog') for i in (*t.encode(x), t.eos_id)]
  for record in ({'turns': ['a', 'dog']}, predict.of_line('a\tdog')):
    assert predictor._ids(record) == turns
  with pytest.raises(UserError, match="has the role 'bot'"):
    predictor.check({'messages': [{'role': 'bot', 'content': 'a'}]})
