"""The Python door: batches of texts against the reference, one by one."""

import warnings

import jax
import numpy as np
import pytest
import torch

import ctxlm
from ctxlm.errors import UserError
from tests.families import reference


@pytest.fixture(scope='module')
def drawn(tmp_path_factory):
  """{family: (the reference's model, ours)}, as read from its folder."""
  both = {}
  for name in ('gpt2', 'bert', 'bart'):
    drawn = reference.draw(name, 0)
    folder = tmp_path_factory.mktemp(name)
    drawn.model.set_attn_implementation('eager')  # which shows its weights
    drawn.model.save_pretrained(folder)
    with warnings.catch_warnings():
      warnings.simplefilter('error')  # a user is to see none
      both[name] = drawn, ctxlm.load(folder)
  return both


def rows(drawn, lengths=(3, 9, 1, 6)):
  return [drawn.tokens(i, n).tolist() for i, n in enumerate(lengths)]


def theirs(drawn, row, **inputs):
  with torch.no_grad():
    return drawn.model(
      input_ids=torch.tensor([row]),
      output_hidden_states=True,
      output_attentions=True,
      **{k: torch.tensor([v]) for k, v in inputs.items()},
    )


@pytest.mark.parametrize('name', ['gpt2', 'bert'])
def test_of_padded_batches_as_the_reference_one_by_one(drawn, name):
  them, lm = drawn[name]
  texts = rows(them)
  answers = zip(texts, lm.logits(texts), lm.hidden(texts), lm.attention(texts))
  for row, logits, hidden, attention in answers:
    out = theirs(them, row)
    want = out['logits' if name == 'gpt2' else 'prediction_logits'][0]
    np.testing.assert_allclose(logits, want, atol=2e-5)
    want = np.stack([x[0] for x in out.hidden_states])
    np.testing.assert_allclose(hidden, want, atol=2e-5)
    want = np.stack([x[0] for x in out.attentions])
    np.testing.assert_allclose(attention, want, atol=2e-6)
  # One text is an answer, a list of one is a list.
  np.testing.assert_allclose(lm.logits(texts[1]), lm.logits(texts[1:2])[0])


def test_scores_are_the_references(drawn):
  them, lm = drawn['gpt2']
  texts = rows(them, (5, 2, 8))
  for row, logps in zip(texts, lm.score(texts)):
    want = theirs(them, row).logits[0].log_softmax(-1)
    want = want[range(len(row) - 1), row[1:]]
    np.testing.assert_allclose(logps, want, atol=2e-5)


def test_of_an_encoder_decoder(drawn):
  them, lm = drawn['bart']
  sources, targets = rows(them, (4, 7)), rows(them, (6, 2))
  start = them.model.config.decoder_start_token_id
  answers = zip(
    sources,
    targets,
    lm.logits(sources, targets),
    lm.score(sources, targets),
    lm.hidden(sources),
  )
  for source, target, logits, logps, hidden in answers:
    out = theirs(them, source, decoder_input_ids=[start, *target[:-1]])
    np.testing.assert_allclose(logits, out.logits[0], atol=2e-5)
    want = out.logits[0].log_softmax(-1)[range(len(target)), target]
    np.testing.assert_allclose(logps, want, atol=2e-5)
    want = np.stack([x[0] for x in out.encoder_hidden_states])
    np.testing.assert_allclose(hidden, want, atol=2e-5)
  with pytest.raises(UserError, match='and writes a target'):
    lm.score(sources)
  with pytest.raises(UserError, match='2 texts have 1 targets'):
    lm.logits(sources, targets[:1])


def test_is_compiled_once_a_bucket(drawn):
  _, lm = drawn['gpt2']
  asked = lm._loaded.passes._compiled
  lm.logits([[5] * n for n in (3, 4, 5)])
  (function,) = [f for name, f in asked.items() if 'logits' in name.__name__]
  before = function._cache_size()
  lm.logits([[6] * n for n in (1, 9, 16)])
  assert function._cache_size() == before
  lm.logits([[6] * 17] * 3)
  assert function._cache_size() == before + 1


def test_strings_are_framed_and_the_tokenizer_makes_arrays(runs):
  lm = ctxlm.load(runs['mlm'].workdir)
  t = lm.tokenizer
  assert lm.ids('the cat') == [t.cls_id, *t.encode('the cat'), t.sep_id]
  made = t(['the cat sees', 'a'])
  assert made['tokens'].dtype == np.int32
  assert made['tokens'][0].tolist() == lm.ids('the cat sees')
  long, short = len(lm.ids('the cat sees')), len(lm.ids('a'))
  assert made['segment_ids'].sum(1).tolist() == [long, short]
  assert made['tokens'][1, :short].tolist() == lm.ids('a')
  assert (made['tokens'][1, short:] == t.pad_id).all()
  np.testing.assert_array_equal(
    made['segment_ids'].sum(1), [len(lm.ids('the cat sees')), short]
  )
  assert t('the cat sees', length=3)['tokens'].shape == (1, 3)
  assert t([])['tokens'].shape == (0, 0)
  # They go into the model as they are.
  out = jax.jit(lm.model.apply)({'params': lm.params}, **made)
  np.testing.assert_allclose(out[1, :short], lm.hidden('a')[-1], atol=1e-5)
  one, two = lm.fill(['the [MASK]', 'a [MASK] cat'], top=3)
  assert len(one[0]) == len(two[0]) == 3
  assert lm.fill('the [MASK]', top=3) == one


def test_a_dialogue_is_answered_as_it_was_trained(runs):
  lm = ctxlm.load(runs['causal'].workdir)
  t = lm.tokenizer
  settings = dict(strategy='greedy', max_new_tokens=4)
  turns = ['the cat', 'sees', 'a moon']
  prompt = [i for turn in turns for i in [*t.encode(turn), t.eos_id]]
  assert lm.chat(turns, **settings) == lm.generate(prompt, **settings)
  both = lm.generate(
    ['the', 'a cat'], num_samples=2, seed=3, top_k=4, max_new_tokens=3
  )
  assert len(both) == 2 and len(both[0]) == 2
  assert both == lm.generate(
    ['the', 'a cat'], num_samples=2, seed=3, top_k=4, max_new_tokens=3
  )


@pytest.mark.parametrize(
  'ask, wanted',
  [
    (lambda lm: lm.logits([]), None),
    (lambda lm: lm.logits([[]]), 'of no token'),
    (lambda lm: lm.logits([[999]]), 'ids are 0 to'),
    (lambda lm: lm.logits('cat ' * 99), 'the model sees 24'),
    (lambda lm: lm.score(''), 'one token or more'),
    (lambda lm: lm.fill('the [MASK]'), 'no MLM head'),
    (lambda lm: lm.generate('the', temprature=1), "mean 'temperature'"),
    (lambda lm: lm.embed('the'), 'no pooling of its own'),
  ],
)
def test_mistakes_are_one_line(runs, ask, wanted):
  lm = ctxlm.load(runs['causal'].workdir)
  if wanted is None:
    assert ask(lm) == []
    return
  with pytest.raises(UserError, match=wanted):
    ask(lm)
