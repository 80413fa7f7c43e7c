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
from ctxlm.models import lstm
from ctxlm.objectives import causal
from ctxlm.objectives import task as task_lib
from ctxlm.parallel import placement as placement_lib
from ctxlm.training import checkpoint, fit, loop, run_folder
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
  c.model = model if 'name' in model else {'name': 'lstm'} | shape | model
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
MEMORY = {
  'name': 'memory',
  'hidden_size': 8,
  'num_layers': 1,
  'num_heads': 2,
  'memory_length': 24,
  'nearest': 2,
  'nearest_memory': 40,
  'attention_dropout': 0.2,
}
MODELS = {'lstm': DROPOUT, 'memory': MEMORY}
# Of a row each, what a layer keeps.
KEPT = {'lstm': [(12,)] * 2, 'memory': [(40,), (40, 2, 4), (40, 2, 4)]}


@pytest.fixture(scope='module')
def folder(text, tmp_path_factory):
  """A run of 7 steps of each model, saved after 3 too."""
  folder = tmp_path_factory.mktemp('carried')
  for name, model in MODELS.items():
    c = get_config(**model)
    c.checkpoint.every_steps, c.checkpoint.keep = 3, 9
    if name != 'lstm':
      del c.evaluators['half']
    loop.train(c, folder / name, place(c, 'pmap 1'))
  return folder


@pytest.mark.parametrize(
  'name, where, accumulation',
  [
    ('lstm', 'pmap 1', 1),
    ('lstm', 'pmap 4', 1),
    ('lstm', 'mesh', 2),
    ('memory', 'pmap 1', 1),
    ('memory', 'mesh', 1),
  ],
)
def test_goes_on_with_what_was_saved(
  folder, tmp_path, name, where, accumulation
):
  """The same losses elsewhere, and bit for bit where it was."""
  run = tmp_path / 'run'
  shutil.copytree(folder / name, run)
  for step in checkpoint.steps(run)[1:]:
    shutil.rmtree(run / 'checkpoints' / str(step))
  c = get_config(**MODELS[name])
  c.accumulation = accumulation
  del c.evaluators['half']
  loop.train(c, run, place(c, where))
  ours, whole = (
    [x['train/loss'] for x in tiny.metrics(f) if 'train/loss' in x]
    for f in (run, folder / name)
  )
  assert len(set(whole)) == 7
  np.testing.assert_allclose(ours, whole, rtol=1e-5)
  if where == 'pmap 1':
    whole, ours = (tiny.state(f, 7) for f in (folder / name, run))
    for path, x in whole.items():
      assert x.tobytes() == ours[path].tobytes(), path
    saved = tiny.state(folder / name, 3)
    kept = [x for path, x in saved.items() if path.startswith("['memory']")]
    assert sorted(x.shape[1:] for x in kept) == KEPT[name]
    assert all(len(x) == 8 and abs(x).max() > 0.01 for x in kept)


def test_a_state_that_carries_nothing_is_as_before():
  c = toy.get_config()
  placement = placement_lib.make(c, jax.devices()[:1])
  program = program_lib.build(c, placement, types.SimpleNamespace(vocab_size=1))
  names = {name.split('/')[0] for name in trees.flatten(program.abstract)}
  assert names == {'step', 'params', 'opt_state'}


def test_evaluate_score_and_torch_agree(folder):
  """Over the whole split, one stream from its first token to its last."""
  run = folder / 'lstm'
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
  lm = ctxlm.load(folder / 'lstm')
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
    loop.train(c, folder / 'lstm')


@pytest.mark.parametrize(
  'change, words',
  [
    ({'max_length': 2000}, 'has no row of config.max_length=2000 for each of'),
    ({'model': {'name': 'transformer'}}, "name='transformer' keeps none"),
    ({'model': {'name': 'convolution'}}, "name='convolution' keeps none"),
  ],
)
def test_what_makes_no_sense_is_refused(text, tmp_path, change, words):
  c = get_config()
  c.model = change.get('model', c.model)
  c.max_length = change.get('max_length', c.max_length)
  with pytest.raises(UserError, match=words):
    loop.train(c, tmp_path / 'run', place(c, 'pmap 1'))
  assert not (tmp_path / 'run').exists()


def test_data_that_is_made_on_the_device_is_no_stream():
  c = get_config()
  objective = causal.Objective(kind='stream')
  task = task_lib.Task('judged', objective, source=object())
  with pytest.raises(UserError, match='its data is made on the device'):
    fit.check_parts(c, lstm.Model(11), [task])
