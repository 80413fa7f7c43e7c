"""The compiled loop: buckets, devices, streams and mistakes."""

import dataclasses
import functools
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from ctxlm.decoding import generator as lib
from ctxlm.errors import UserError
from ctxlm.models import transformer
from ctxlm.parallel import mesh as mesh_lib
from ctxlm.parallel import pmap as pmap_lib
from tests.decoding import checkpoints

EOS = 1


@pytest.fixture(scope='module')
def writer():
  """A random model whose logits differ by units."""
  model = transformer.Model(
    vocab_size=48,
    hidden_size=32,
    num_layers=1,
    num_heads=4,
    position='rotary',
    max_length=64,
    init_stddev=0.3,
  )
  init = functools.partial(model.init, method=lambda m, x: m.logits(m(x)))
  params = jax.jit(init)(jax.random.key(0), jnp.zeros((1, 4), jnp.int32))
  params = params['params']
  return lib.Writer(model, params, None, (EOS,), 0)


def prompts(lengths, seed=0):
  rng = np.random.default_rng(seed)
  return [rng.integers(2, 48, n).tolist() for n in lengths]


def make(writer, strategy='sample', **options):
  block = strategy if isinstance(strategy, dict) else {'name': strategy}
  config = checkpoints.config(block, **{'max_new_tokens': 12} | options)
  return lib.Generator(writer, config)


def tokens(found):
  return [[one['tokens'] for one in texts] for texts in found]


def test_no_compilation_within_a_bucket(writer):
  compiled = []
  jax.monitoring.register_event_duration_secs_listener(
    lambda name, _, **kw: (
      compiled.append(name)
      if name.endswith('backend_compile_duration')
      else None
    )
  )
  run = make(writer)
  run(prompts((3, 9)))
  first = len(compiled)
  assert first >= 1
  for lengths in ((1, 2), (16, 5), (7, 7)):
    run(prompts(lengths))
  run.config.seed = 5  # nor for another seed
  run(prompts((4, 4)))
  assert len(compiled) == first
  run(prompts((17, 5)))  # the next bucket
  assert len(compiled) > first


PLACES = {
  'pmap': lambda: pmap_lib.Pmap(jax.devices()),
  'mesh': lambda: mesh_lib.Mesh(jax.devices(), data=2, fsdp=2, tensor=2),
}
STRATEGIES = (
  ('sample', {'num_samples': 2, 'seed': 3}),
  ({'name': 'beam', 'num_beams': 3}, {}),
)
ROWS = prompts((3, 9, 1, 12, 6, 2))


@pytest.fixture(scope='module')
def on_one_device(writer):
  """What each of the strategies writes there."""
  return [tokens(make(writer, s, **more)(ROWS)) for s, more in STRATEGIES]


@pytest.mark.slow
@pytest.mark.parametrize('place', PLACES)
def test_same_texts_on_any_devices(writer, on_one_device, place):
  placement = PLACES[place]()
  params = jax.device_put(writer.params, placement.shardings(writer.params))
  there = dataclasses.replace(writer, params=params, placement=placement)
  for (strategy, more), want in zip(STRATEGIES, on_one_device, strict=True):
    assert tokens(make(there, strategy, **more)(ROWS, size=8)) == want
    assert len({tuple(text) for texts in want for text in texts}) > 3


def test_a_text_is_the_same_in_any_batch(writer):
  run = make(writer, num_samples=2)
  rows = prompts((3, 9, 1, 12))
  whole = tokens(run(rows))
  alone = [tokens(run([row], first=i))[0] for i, row in enumerate(rows)]
  assert alone == whole
  assert whole[0][0] != whole[0][1]
  assert tokens(run(rows[2:], first=2, size=4)) == whole[2:]


@pytest.mark.slow
@pytest.mark.parametrize(
  'strategy',
  [
    'sample',
    {'name': 'beam', 'num_beams': 3},
    {'name': 'speculative', 'length': 3},
  ],
  ids=str,
)
def test_a_stream_gives_what_the_batch_does(writer, strategy):
  run = make(writer, strategy)
  for i, row in enumerate(prompts((3, 9))):
    parts = list(run.stream(row, first=i))
    [[one]] = run([row], first=i)
    assert [t for part in parts for t in part] == one['tokens']
    long = len(one['tokens']) > 5
    assert len(parts) > 1 or not long or not run.strategy.streams


def test_probabilities_are_the_models(writer):
  run = make(writer, 'greedy', show_probs=True)
  for strategy in ('greedy', {'name': 'beam', 'num_beams': 3}):
    run = make(
      writer,
      strategy,
      show_probs=True,
      processors=({'name': 'temperature', 'temperature': 0.5},),
    )
    row = prompts((5,))[0]
    [[one]] = run([row])
    text = np.array([row + one['tokens']])
    logits = writer.model.apply(
      {'params': writer.params}, text, method=lambda m, x: m.logits(m(x))
    )[0]
    logp = jax.nn.log_softmax(logits)[len(row) - 1 : -1]
    want = logp[np.arange(len(one['tokens'])), np.array(one['tokens'])]
    np.testing.assert_allclose(one['logps'], want, atol=1e-4)


def test_a_text_ends_with_the_context(writer):
  run = make(writer, 'greedy', max_new_tokens=60)
  [[one], [other]] = run(prompts((60, 3)))
  assert len(one['tokens']) == 5 or one['tokens'][-1] == EOS
  assert len(other['tokens']) > 5 or other['tokens'][-1] == EOS


def test_the_last_token_needs_no_place():
  """As many as the reference can write, whose table has 64 positions too."""
  model, writer = checkpoints.pair('gpt2')
  writer = dataclasses.replace(writer, eos_ids=())
  most = checkpoints.LENGTH
  for length in (most, most - 5):
    row = np.random.default_rng(0).integers(3, 48, length).tolist()
    new = most - length + 1
    with torch.no_grad():
      want = model.generate(
        torch.tensor([row]),
        attention_mask=torch.ones(1, length, dtype=torch.int64),
        max_new_tokens=new,
        eos_token_id=-1,
        do_sample=False,
      )[0, length:].tolist()
    assert len(want) == new
    for strategy in ('greedy', {'name': 'speculative', 'greedy': True}):
      run = make(writer, strategy, max_new_tokens=40)
      assert tokens(run([row])) == [[want]]


def test_a_draft_model_is_used(writer):
  want = tokens(make(writer, 'greedy')(prompts((5, 8))))
  block = {'name': 'speculative', 'greedy': True, 'draft': 'x'}
  with_draft = dataclasses.replace(writer, draft=(writer.model, writer.params))
  found = make(with_draft, block)(prompts((5, 8)))
  assert tokens(found) == want
  # It is the model itself, so everything is accepted.
  assert all(one['accepted'] == one['tested'] for [one] in found)
  assert all(one['tested'] > 0 for [one] in found if len(one['tokens']) > 2)


@pytest.mark.parametrize(
  'row, wanted',
  [
    ([], 'is empty'),
    (list(range(2, 47)) + [3] * 20, 'has 65 tokens; the model sees 64'),
    ([3, 48], 'has the token 48; ids end at 48'),
    ([-1], 'has the token -1'),
  ],
)
def test_prompts_that_cannot_be(writer, row, wanted):
  with pytest.raises(UserError) as e:
    make(writer)([[3], row])
  assert wanted in str(e.value) and '\n' not in str(e.value)


LETTERS = types.SimpleNamespace(
  token_bytes=[None, None, *([b'a'] * 46)],
  strips_first=False,
  tidies=False,
  special_entries={},
  encode=lambda text: [2 + ord(c) % 46 for c in text],
)


def guided(writer, negative, **options):
  own = dataclasses.replace(writer, tokenizer=LETTERS, first=(5,))
  given = {'guidance': 2.0, 'negative_prompt': negative} | options
  return make(own, 'greedy', **given)


def test_away_from_the_prompt_itself_is_where_it_goes(writer):
  plain = make(writer, 'greedy')
  for text in ('the cat', 'a'):
    row = [5, *LETTERS.encode(text)]
    want = tokens(plain([row]))
    assert tokens(guided(writer, text)([row])) == want
    assert tokens(guided(writer, text + '?')([row])) != want


def test_a_negative_prompt_has_its_place_in_the_context(writer):
  sees = writer.model.context_length
  for size, left in ((sees - 1, 1), (sees - 4, 4)):
    (found,) = guided(writer, 'n' * size)([[3, 4]])[0]
    assert len(found['tokens']) <= left or EOS in found['tokens'][:left]
  with pytest.raises(UserError, match=f'has {sees + 1} tokens; the model sees'):
    guided(writer, 'n' * sees)
  with pytest.raises(UserError, match='goes away from: give guidance'):
    guided(writer, 'n', guidance=1.0)


def test_what_may_be_written_needs_room(writer):
  block = {'name': 'constrained', 'pattern': 'a{6}'}
  own = dataclasses.replace(writer, tokenizer=LETTERS)
  run = make(own, 'greedy', processors=(block,))
  sees = writer.model.context_length
  assert len(run([[3] * (sees - 5)])[0][0]['tokens']) == 6
  for ask in (run.check, lambda row: run([[3], row])):
    with pytest.raises(UserError, match='leaves 5 tokens.* has 6 at least'):
      ask([3] * (sees - 4))
  run = make(own, 'greedy', processors=(block,), max_length=9)
  assert len(run([[3] * 3])[0][0]['tokens']) == 6
  with pytest.raises(UserError, match='leaves 5 tokens'):
    run([[3] * 4])


@pytest.mark.parametrize(
  'strategy, options, wanted',
  [
    ('greedy', {'num_samples': 2}, 'draws nothing'),
    ('bean', {}, "Did you mean 'beam'"),
    ({'name': 'beam', 'beams': 3}, {}, "mean 'num_beams'"),
    ('sample', {'max_new_tokens': 0}, 'must be 1 or more'),
    ('sample', {'stop': ('',)}, 'one character or more'),
    ({'name': 'speculative'}, {'guidance': 2.0}, 'guidance is for'),
  ],
)
def test_configs_that_cannot_be(writer, strategy, options, wanted):
  with pytest.raises(UserError) as e:
    make(writer, strategy, **options)
  assert wanted in str(e.value) and '\n' not in str(e.value)


def test_a_processor_of_ones_own_is_ten_lines(writer, tmp_path, monkeypatch):
  (tmp_path / 'mylab').mkdir()
  (tmp_path / 'mylab' / 'only.py').write_text(
    'import dataclasses\n'
    'import jax.numpy as jnp\n'
    '@dataclasses.dataclass(frozen=True)\n'
    'class Processor:\n'
    '  token: int\n'
    '  def __call__(self, logits, text):\n'
    '    other = jnp.arange(logits.shape[1]) != self.token\n'
    '    return jnp.where(other, -jnp.inf, logits)\n'
  )
  monkeypatch.syspath_prepend(tmp_path)
  run = make(writer, processors=({'name': 'mylab.only', 'token': 7},))
  assert tokens(run(prompts((3,)))) == [[[7] * 12]]
