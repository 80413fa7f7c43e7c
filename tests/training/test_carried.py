"""A state that is carried from batch to batch, from `train` to `generate`."""

import shutil
import types

import jax
import numpy as np
import pytest
import torch

import ctxlm
from ctxlm import trees
from ctxlm.errors import UserError
from ctxlm.inference import judging, loading, score
from ctxlm.parallel import placement as placement_lib
from ctxlm.training import checkpoint, loop, run_folder
from ctxlm.training import program as program_lib
from tests import tiny, toy

PLACES = {
  'pmap 1': (1, {}),
  'pmap 4': (4, {}),
  'mesh': (4, {'strategy': 'mesh', 'data': 2, 'fsdp': 2}),
}


def get_config(**model):
  """Returns a recipe whose epochs are of a few steps, the last one shorter."""
  c = tiny.get_config('judged')
  c.num_steps, c.batch_size, c.max_length = 7, 8, 160
  shape = {'hidden_size': 12, 'num_layers': 1, 'init_range': 0.5}
  c.model = {'name': 'lstm'} | shape | model
  c.tasks.judged.objective.kind = 'stream'
  c.optimizer.name, c.optimizer.schedule = 'sgd', 'constant'
  c.optimizer.learning_rate, c.optimizer.warmup_steps = 1.0, 0
  c.optimizer.weight_decay = 0.0
  return c


def place(c, name):
  count, axes = PLACES[name]
  c.parallel.update(axes)
  return placement_lib.make(c, jax.devices()[:count])


class Torch(torch.nn.Module):
  """The same model, of our parameters."""

  def __init__(self, params):
    super().__init__()
    params = jax.tree.map(lambda x: torch.tensor(np.asarray(x)), params)
    v, m = params['token_embed']['embedding'].shape
    self.embed, self.out = torch.nn.Embedding(v, m), torch.nn.Linear(m, v)
    self.lstm = torch.nn.LSTM(m, m, batch_first=True)
    with torch.no_grad():
      self.embed.weight.copy_(params['token_embed']['embedding'])
      self.out.weight.copy_(params['lm_head']['kernel'].T)
      self.out.bias.copy_(params['lm_head']['bias'])
      own = params['layers_0']
      for name, value in (
        ('weight_ih', own['input']['kernel'].T),
        ('bias_ih', own['input']['bias']),
        ('weight_hh', own['recurrent'].T),
        ('bias_hh', torch.tensor(0.0)),
      ):
        self.lstm.get_parameter(f'{name}_l0').copy_(value)

  def trained(self):
    """Yields what ours has too: it has one bias where torch adds two."""
    names = (n for n, _ in self.named_parameters() if 'bias_hh' not in n)
    return [self.get_parameter(n) for n in names]

  def nats(self, tokens, targets, kept=None):
    """Returns (-log p of each target [b, l], the state behind them)."""
    hidden, kept = self.lstm(self.embed(tokens), kept)
    logps = self.out(hidden).log_softmax(-1)
    return -logps.gather(-1, targets[..., None])[..., 0], kept


def text_of(program, split):
  """Returns (tokens [t], whether each begins a document) of a split."""
  view = program.bench.view(program.tasks[0], split)
  tokens, segments = (np.asarray(x, np.int64) for x in view._text)
  return torch.tensor(tokens), np.append(True, segments[1:] != segments[:-1])


def test_trains_as_torch_on_streams_whose_state_is_detached(text, tmp_path):
  c = get_config()
  placement = place(c, 'pmap 1')
  tokenizer = run_folder.get_tokenizer(c, tmp_path)
  program = program_lib.build(c, placement, tokenizer)
  state, batches = program.init(), program.batches(0)
  model, (tokens, begins) = Torch(state.params), text_of(program, 'train')
  rows, length = 8, 160
  size = (len(tokens) - 1) // rows
  steps = -(-size // length)
  assert 2 < steps < 7 and size % length  # an epoch ends, in a shorter batch
  learned = torch.tensor(~begins)
  optimizer = torch.optim.SGD(model.trained(), lr=1.0)
  for step in range(7):
    state, _, found = program.advance(state, next(batches), step, step + 1)
    at = step % steps * length
    if at == 0:
      kept = None
    index = torch.arange(rows)[:, None] * size
    index = index + torch.arange(at, min(at + length, size))
    nats, kept = model.nats(tokens[index], tokens[index + 1], kept)
    kept = [x.detach() for x in kept]
    weights = learned[index + 1].float()
    loss = (nats * weights).sum() / weights.sum()
    ours = float(found['loss'])
    assert ours == pytest.approx(loss.item(), rel=1e-5), step
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.trained(), 1.0)
    optimizer.step()


DROPOUT = dict(
  dropout=0.2, variational=True, word_dropout=0.1, weight_dropout=0.3
)


@pytest.fixture(scope='module')
def folder(text, tmp_path_factory):
  """A run of 7 steps, and one that was stopped after 3 and went on."""
  folder = tmp_path_factory.mktemp('carried')
  for name, stops in (('whole', (7,)), ('cut', (3, 7))):
    for steps in stops:
      c = get_config(**DROPOUT)
      c.num_steps, c.checkpoint.every_steps = steps, 3
      c.checkpoint.keep = 9
      loop.train(c, folder / name, place(c, 'pmap 1'))
  return folder


def test_resume_is_bitwise_and_the_state_is_saved(folder):
  whole, cut = (tiny.state(folder / name, 7) for name in ('whole', 'cut'))
  for name, x in whole.items():
    assert x.tobytes() == cut[name].tobytes(), name
  saved = tiny.state(folder / 'cut', 3)
  kept = {k: x for k, x in saved.items() if 'memory' in k}
  assert {x.shape for x in kept.values()} == {(8, 12)} and len(kept) == 2
  assert all(abs(x).max() > 0.01 for x in kept.values())


def test_a_state_that_carries_nothing_is_as_before():
  c = toy.get_config()
  placement = placement_lib.make(c, jax.devices()[:1])
  program = program_lib.build(c, placement, types.SimpleNamespace(vocab_size=1))
  names = {name.split('/')[0] for name in trees.flatten(program.abstract)}
  assert names == {'step', 'params', 'opt_state'}


@pytest.mark.parametrize('name, accumulation', [('pmap 4', 1), ('mesh', 2)])
def test_same_losses_elsewhere(folder, tmp_path, name, accumulation):
  run = tmp_path / 'run'
  shutil.copytree(folder / 'cut', run)
  for step in checkpoint.steps(run)[1:]:
    shutil.rmtree(run / 'checkpoints' / str(step))
  c = get_config(**DROPOUT)
  c.checkpoint.every_steps, c.accumulation = 0, accumulation
  loop.train(c, run, place(c, name))
  ours, whole = map(tiny.metrics, (run, folder / 'whole'))
  ours, whole = (
    [x['train/loss'] for x in rows if 'train/loss' in x]
    for rows in (ours, whole)
  )
  assert len(set(whole)) == 7
  np.testing.assert_allclose(ours, whole, rtol=1e-5)


def test_evaluate_score_and_torch_agree(folder):
  """Over the whole split, one stream from its first token to its last."""
  run = folder / 'whole'
  loaded = loading.load(run)
  program = loaded.run.program
  (tokens, begins), model = text_of(program, 'train'), Torch(loaded.params)
  with torch.no_grad():
    nats = model.nats(tokens[None, :-1], tokens[None, 1:])[0][0].numpy()
  learned = ~begins[1:]
  want = nats[learned].mean()
  judged = judging.judge(run).metrics
  assert judged['eval/half/tokens'] == learned.sum()
  assert judged['eval/half/loss'] == pytest.approx(want, abs=1e-5)
  logged = tiny.metrics(run)[-1]['eval/half/loss']
  assert logged == pytest.approx(want, abs=1e-5)
  assert judged['eval/half/bits_per_byte'] == pytest.approx(
    nats[learned].sum() / np.log(2) / program.bench.view(
      program.tasks[0], 'train'
    ).num_bytes
  )  # fmt: skip
  long, short = tokens.tolist(), tokens[:20].tolist()
  ours = score.scores(loaded, [short, long])
  np.testing.assert_allclose(-ours[1], nats, atol=1e-4)
  np.testing.assert_allclose(-ours[0], nats[:19], atol=1e-5)
  assert -ours[1][learned].mean() == pytest.approx(want, abs=1e-5)


def test_a_text_of_any_length_is_scored_and_written_on(folder):
  lm = ctxlm.load(folder / 'whole')
  text = 'the cat sees the moon. ' * 60
  assert len(lm.tokenizer.encode(text)) > 2 * 160
  assert np.isfinite(lm.score(text)).all()
  assert lm.generate(text, max_new_tokens=4, strategy='greedy')


@pytest.mark.parametrize(
  'change, words',
  [
    ({'batch_size': 16}, 'started with config.batch_size=8, not 16'),
    ({'max_length': 80}, 'started with config.max_length=160, not 80'),
  ],
)
def test_another_batch_is_not_gone_on_with(folder, change, words):
  c = get_config(**DROPOUT)
  c.update(change)
  with pytest.raises(UserError, match=words):
    loop.train(c, folder / 'cut')


@pytest.mark.parametrize(
  'change, words',
  [
    ({'max_length': 2000}, 'has no row of config.max_length=2000 for each of'),
    ({'model': 'transformer'}, "config.model.name='transformer' keeps none"),
    ({'model': 'ngram'}, "config.model.name='ngram' is counted"),
    ({'model': 'convolution'}, "config.model.name='convolution' keeps none"),
    ({'scan_layers': True}, "config.model.name='recurrent' keeps none"),
    ({'prefix': 0.5}, "prefix=0.5 is for kind='text'"),
    ({'regularizer': {'name': 'r_drop'}}, "kind='stream' are read once"),
    ({'num_layers': 0}, 'config.model.num_layers=0 must be from 1'),
    ({'dropout': 1.0}, 'config.model.dropout=1.0 must be'),
  ],
)
def test_what_makes_no_sense_is_refused(text, tmp_path, change, words):
  c = get_config()
  (key, value) = next(iter(change.items()))
  if key == 'model':
    c.model = {'name': value}
    c.num_steps *= value != 'ngram'
  elif key == 'scan_layers':
    c.model = {'name': 'recurrent', 'scan_layers': True}
  elif key in ('num_layers', 'dropout'):
    c.model[key] = value
  elif key == 'max_length':
    c.max_length = value
  else:
    c.tasks.judged.objective[key] = value
  with pytest.raises(UserError, match=words):
    loop.train(c, tmp_path / 'run', place(c, 'pmap 1'))
  assert not (tmp_path / 'run').exists()
