"""Texts written for a split: those that the Python door gives, judged."""

import json
import types

import numpy as np
import pytest
import sacrebleu

import ctxlm
from ctxlm import plugins
from ctxlm.commands import evaluate
from ctxlm.data.views import texts as texts_lib
from ctxlm.errors import UserError
from ctxlm.evaluators import generation
from ctxlm.inference import writing
from ctxlm.training import loop
from tests import tiny

DECODING = {'strategy': 'sample', 'max_new_tokens': 10, 'temperature': 0.8}
WORDS = ['the cat', 'a bird', 'my friend', 'the moon', 'two stones']


@pytest.fixture(scope='module')
def pairs(tmp_path_factory):
  """A file of pairs: what is said of who, in another order."""
  path = tmp_path_factory.mktemp('pairs') / 'pairs.jsonl'
  rows = []
  for i in range(90):
    who, what = WORDS[i % 5], WORDS[i // 5 % 5]
    target = f'{what} sees {who}'
    row = {'text_a': f'{who} is at {what} {i}', 'text_b': target}
    rows.append(row | {'references': [target, f'{who} likes {what}']})
  path.write_text('\n'.join(map(json.dumps, rows)))
  return {'name': 'files', 'pattern': str(path)}


def recipe(pairs):
  """A small encoder-decoder that is judged twice."""
  c = tiny.get_config()
  c.num_steps, c.checkpoint.every_steps = 20, 0
  c.model = {
    'name': 'encoder_decoder',
    'hidden_size': 32,
    'num_layers': 1,
    'num_heads': 2,
    'vocab_size': 0,
    'max_length': 24,
  }
  c.tasks = {
    'pairs': {'data': pairs, 'objective': {'name': 'seq2seq'}, 'weight': 1.0}
  }
  c.optimizer.learning_rate = 2e-2
  c.evaluators.written = {
    'name': 'generation',
    'metrics': ('bleu', 'chrf', 'distinct', 'exact_match'),
    'decoding': DECODING,
    'split': 'train',
    'limit': 13,  # two batches, the last one not full
    'every_steps': 10,
  }
  return c


@pytest.mark.slow
def test_a_run_is_judged_by_what_it_writes(pairs, tmp_path, capsys):
  c = recipe(pairs)
  loop.train(c, tmp_path)
  rows = [row for row in tiny.metrics(tmp_path) if 'eval/written/bleu' in row]
  assert [row['step'] for row in rows] == [10, 20]
  assert rows[0]['eval/written/chrf'] != rows[1]['eval/written/chrf']

  data = plugins.build('data.sources', c.tasks.pairs.data).records('train')
  records = [data[i] for i in range(13)]
  lm = ctxlm.load(tmp_path)
  texts = lm.generate([r['text_a'] for r in records], **DECODING)
  assert len(set(texts)) > 5
  columns = list(zip(*(r['references'] for r in records)))
  for name, metric in (('bleu', sacrebleu.BLEU()), ('chrf', sacrebleu.CHRF())):
    want = metric.corpus_score(
      [*map(str.strip, texts)], columns, n_bootstrap=1000
    )
    found = [rows[1][f'eval/written/{name}{k}'] for k in ('', '_low', '_high')]
    np.testing.assert_allclose(found[0], want.score, rtol=1e-9)
    assert found[1] < found[0] < found[2]
    signatures = json.loads((tmp_path / 'signatures.json').read_text())
    assert signatures[f'eval/written/{name}'] == str(metric.get_signature())
  assert rows[1]['eval/written/examples'] == 13

  capsys.readouterr()
  alone = dict.fromkeys(('coordinator', 'num_processes', 'process_id'))
  given = dict(model=tmp_path, step='', config=None, overrides=(), data=())
  given |= {'context': (), 'few_shot': None, 'output': None}
  evaluate.main(types.SimpleNamespace(**given, **alone))
  *told, last = capsys.readouterr().out.splitlines()
  assert json.loads(last) == {'step': 20} | {
    k: pytest.approx(v) for k, v in rows[1].items() if k.startswith('eval/')
  }
  bleu = rows[1]['eval/written/bleu']
  assert any(
    line.startswith('eval/written/bleu ') and f'  {bleu:.6g} (' in line
    for line in told
  )
  assert any(signatures['eval/written/bleu'] in line for line in told)


def bench_of(run):
  bench = run.program.bench
  bench.params, bench.signatures = run.params, {}
  return bench


def evaluator(pairs, **options):
  block = {'name': 'generation', 'metrics': ('exact_match',), 'data': pairs}
  return plugins.build('evaluators', block | {'split': 'train'} | options)


def test_completions_of_prompts(runs, loaded, pairs, monkeypatch):
  """Of a causal model; a prompt that leaves no room loses its beginning."""
  long = 'the old king likes the green hill at 12. ' * 4
  records = [
    {'text_a': text, 'text_b': ''}
    for text in ('the cat sees', 'a bird', long, 'my friend likes two')
  ]
  view = texts_lib.View(records, '')
  monkeypatch.setattr(texts_lib.View, 'open', lambda *args: view)
  decoding = {'strategy': 'sample', 'max_new_tokens': 9, 'seed': 2}
  judge = evaluator(pairs, decoding=decoding)
  bench = bench_of(runs['causal'])
  task = bench.task()
  config = generation.config_of(judge.decoding)
  writer = bench.writer(task, config)
  prompts, _ = judge._examples(bench, task, writer)
  t = bench.tokenizer
  ids = [t.encode(r['text_a']) for r in records]
  assert len(ids[2]) > 24
  want = [[t.bos_id, *row] for row in ids]
  want[2] = [t.bos_id, *ids[2][-15:]]  # 24 in all, the last one not read
  assert prompts == want
  found = generation.write(writer, prompts, 8)
  alone, _ = writing.generator_of(loaded['causal'], config)
  assert found == [
    alone([p], first=i)[0][0]['tokens'] for i, p in enumerate(prompts)
  ]
  assert found[0] != found[1]
  figures = judge.run(bench)
  assert figures['examples'] == 4 and not bench.signatures
  assert writer._params == [None]


@pytest.mark.parametrize(
  'options, wanted',
  [
    ({'metrics': ()}, 'needs metrics, of bleu, chrf, distinct, exact_match'),
    (
      {'metrics': ('blue',)},
      "no evaluators.metrics named 'blue'. Did you mean",
    ),
    ({'metrics': ('bleu:tokenize=13b',)}, "tokenize='13b' must be '13a'"),
    ({'metrics': ('bleu', 'bleu:zh')}, 'the metric bleu is twice'),
    ({'metrics': ('bootstrap',)}, 'has no class Metric'),
    ({'decoding': {'max_new_token': 3}}, "Did you mean 'max_new_tokens'"),
    ({'decoding': {'max_new_tokens': 0}}, 'max_new_tokens=0 must be 1 or more'),
    ({'decoding': {'num_samples': 2}}, 'one text an example is judged'),
  ],
)
def test_mistakes_of_a_config(pairs, options, wanted):
  with pytest.raises(UserError, match=wanted):
    evaluator(pairs, **options)


def test_mistakes_of_tasks_and_data(runs, pairs, text):
  with pytest.raises(UserError, match="'mlm' does not learn to write texts"):
    evaluator(pairs).run(bench_of(runs['mlm']))
  bench = bench_of(runs['causal'])
  with pytest.raises(UserError, match='reads prompt, completion, and the data'):
    evaluator(None).run(bench)
  data = pairs | {
    'fields': {'text_a': 'text_a', 'text_b': 'text_b', 'references': 'text_b'}
  }
  few = {'decoding': {'max_new_tokens': 1}, 'limit': 3}
  assert evaluator(data, **few).run(bench)['examples'] == 3
