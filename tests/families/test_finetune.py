"""From a checkpoint, 50 steps are those of transformers on torch."""

import functools
import json
import pydoc_data.topics

import jax
import numpy as np
import pytest
import torch
import transformers as tr
from ml_collections import ConfigDict

from ctxlm import data as data_lib
from ctxlm.configs import finetune
from ctxlm.data import loader
from ctxlm.data.tokenizers import tokenizer as tokenizer_lib
from ctxlm.experiments.benchmarks import reference as updates
from ctxlm.parallel import placement as placement_lib
from ctxlm.parallel import pmap as pmap_lib
from ctxlm.training import loop as train
from ctxlm.training import program as program_lib
from tests import tiny
from tests.families import reference

STEPS, LENGTH, BATCH = 50, 32, 8


@pytest.fixture(scope='module')
def prose(tmp_path_factory):
  """A file of Python's documentation."""
  folder = tmp_path_factory.mktemp('prose')
  texts = [
    pydoc_data.topics.topics[k] for k in sorted(pydoc_data.topics.topics)
  ]
  # Paragraphs: a blank line ends a document.
  (folder / 'prose.txt').write_text('\n'.join(texts)[:60_000])
  return folder / 'prose.txt'


def make(kind, tokenizer):
  size = tokenizer.vocab_size
  if kind == 'gpt2':
    config = tr.GPT2Config(
      vocab_size=size, n_positions=LENGTH, n_embd=24, n_layer=1, n_head=3,
      resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0,
    )  # fmt: skip
    return tr.GPT2LMHeadModel(config)
  config = tr.BertConfig(
    vocab_size=size, max_position_embeddings=LENGTH, hidden_size=24,
    num_hidden_layers=1, num_attention_heads=3, intermediate_size=50,
    hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, num_labels=3,
  )  # fmt: skip
  if kind == 'labels':
    return tr.BertForSequenceClassification(config)
  return tr.BertForMaskedLM(config)


def their_loss(model, batch, kind):
  """Returns the mean loss of a batch of packed rows."""
  segments = batch['segment_ids']
  if kind == 'labels':
    return model(
      batch['tokens'].long(),
      attention_mask=segments,
      token_type_ids=batch['type_ids'].long(),
      labels=batch['target'].long(),
    ).loss
  seen = segments[:, None, :, None] == segments[:, None, None, :]
  if kind == 'gpt2':
    seen = seen & torch.ones(LENGTH, LENGTH, dtype=torch.bool).tril()
  mask = torch.where(seen, 0.0, torch.finfo(torch.float32).min)
  logits = model(
    batch['tokens'].long(),
    attention_mask=mask,
    position_ids=batch['positions'].long(),
  ).logits
  targets, weights = batch.get('targets'), batch.get('weights')
  if kind == 'bert':
    targets, weights = batch['masked_targets'], batch['masked_weights']
    at = batch['masked_positions'].long()[..., None]
    logits = logits.gather(1, at.expand(-1, -1, logits.shape[-1]))
  nats = torch.nn.functional.cross_entropy(
    logits.flatten(0, 1), targets.long().flatten(), reduction='none'
  )
  return (nats * weights.flatten()).sum() / weights.sum()


@pytest.mark.slow
@pytest.mark.parametrize('kind', ['bert', 'gpt2'])
def test_curves(kind, prose, tmp_path, capsys):
  text = [prose.read_text()]
  tokenizer = tokenizer_lib.train(
    'wordpiece' if kind == 'bert' else 'bpe', 400, text
  )
  model = make(kind, tokenizer)
  reference.randomise(model)
  model.save_pretrained(tmp_path / 'theirs')
  tokenizer.save(tmp_path / 'theirs')
  config = finetune.get_config(tmp_path / 'theirs')
  config.tasks.text.data = ConfigDict({'name': 'files', 'pattern': str(prose)})
  config.num_steps, config.batch_size = STEPS, BATCH
  config.log_every_steps = 1
  config.optimizer.learning_rate = 3e-3
  config.optimizer.warmup_steps = 10
  config.evaluators = ConfigDict()
  train.train(config, tmp_path / 'run', pmap_lib.Pmap(jax.devices()[:1]))
  assert 'parameters from' in capsys.readouterr().err
  ours, theirs = both_curves(kind, config, model, tokenizer, tmp_path / 'run')
  assert len(ours) == len(theirs) == STEPS
  assert np.mean(theirs[-5:]) < theirs[0] - 0.5
  np.testing.assert_allclose(ours, theirs, atol=1e-3)


@pytest.mark.slow
def test_curve_of_a_head(tmp_path):
  """Pairs of texts and their classes: 50 steps are transformers'."""
  rng = np.random.default_rng(0)
  words = ('cat', 'dog', 'moon')
  rows = []
  for _ in range(60):
    label = int(rng.integers(3))
    texts = [
      ' '.join(rng.choice([words[label], 'the', 'sees'], rng.integers(2, 9)))
      for _ in range(2)
    ]
    rows.append({'text_a': texts[0], 'text_b': texts[1], 'label': label})
  path = tmp_path / 'pairs.jsonl'
  path.write_text(''.join(json.dumps(row) + '\n' for row in rows))
  tokenizer = tokenizer_lib.train('wordpiece', 60, ['the cat dog moon sees'])
  model = make('labels', tokenizer)
  reference.randomise(model)
  model.save_pretrained(tmp_path / 'theirs')
  tokenizer.save(tmp_path / 'theirs')
  # Its template is of the folder: what stands around a pair.
  tokenizer = data_lib.load_tokenizer(tmp_path / 'theirs')
  config = finetune.get_config(tmp_path / 'theirs')
  data = {'name': 'files', 'split_patterns': {'train': str(path)}}
  config.tasks.text.data = ConfigDict(data)
  config.tasks.text.objective = ConfigDict(
    {'name': 'classification', 'labels': ('0', '1', '2'), 'pair': True}
  )
  config.num_steps, config.batch_size = STEPS, BATCH
  config.log_every_steps = 1
  config.optimizer.learning_rate = 3e-3
  config.optimizer.warmup_steps = 10
  config.evaluators = ConfigDict()
  train.train(config, tmp_path / 'run', pmap_lib.Pmap(jax.devices()[:1]))
  ours, theirs = both_curves(
    'labels', config, model, tokenizer, tmp_path / 'run'
  )
  assert np.mean(theirs[-5:]) < theirs[0] - 0.5
  np.testing.assert_allclose(ours, theirs, atol=1e-4)


def both_curves(kind, config, model, tokenizer, run):
  """Returns the losses of a run, and those of its batches in torch."""
  ours = [row['train/loss'] for row in tiny.metrics(run)]
  placement = placement_lib.make(config)
  (task,) = program_lib.build(config, placement, tokenizer).tasks
  view = data_lib.open_view(
    config.tasks.text, task.objective, tokenizer, 'train', LENGTH
  )
  batches = loader.train_batches(
    view,
    task.objective.prepare,
    seed=config.seed,
    task='text',
    batch_size=BATCH,
    start_step=0,
    num_steps=STEPS,
    rows=np.arange(BATCH),
  )
  step = updates.make_step(
    model,
    lambda batch: {k: torch.from_numpy(v) for k, v in batch.items()},
    functools.partial(their_loss, kind=kind),
    config,
  )
  return ours, [step(batch) for batch in batches]


@pytest.mark.slow
def test_missing_heads_are_fresh_and_named(prose, tmp_path, capsys):
  tokenizer = tokenizer_lib.train('wordpiece', 400, [prose.read_text()])
  tr.BertModel(make('bert', tokenizer).config).save_pretrained(tmp_path / 'a')
  tokenizer.save(tmp_path / 'a')
  config = finetune.get_config(tmp_path / 'a')
  config.tasks.text.objective = ConfigDict({'name': 'mlm'})
  config.tasks.text.data = ConfigDict({'name': 'files', 'pattern': str(prose)})
  config.num_steps, config.batch_size = 0, BATCH
  config.optimizer.warmup_steps = 0
  config.evaluators = ConfigDict()
  train.train(config, tmp_path / 'run')
  line = next(
    line
    for line in capsys.readouterr().err.splitlines()
    if 'parameters from' in line
  )
  fresh = line.split('initialised afresh: ')[1].split(', ')
  assert set(fresh) == {
    'heads/mlm/bias',
    'heads/mlm/dense/bias',
    'heads/mlm/dense/kernel',
    'heads/mlm/norm/bias',
    'heads/mlm/norm/scale',
  }
