"""A run that learned beside passages finds some for new texts."""

import jax
import numpy as np
import pytest

from ctxlm import decoding
from ctxlm.errors import UserError
from ctxlm.inference import loading, retrieval, score, widening, writing
from ctxlm.training import loop
from tests import tiny


@pytest.fixture(scope='module')
def beside(text, tmp_path_factory):
  """A run whose model has a gate, opened."""
  c, folder = tiny.get_config(), tmp_path_factory.mktemp('beside') / 'run'
  c.num_steps, c.checkpoint.every_steps = 1, 0
  c.optimizer.warmup_steps = 0
  c.optimizer.learning_rate = 0.1
  c.model.update(name='reader', reading='gate', passage_encoder_layers=0)
  objective = {'name': 'retrieved', 'passage_length': 8, 'query': 6}
  c.tasks.causal.objective = objective
  loop.train(c, folder)
  assert 0 < tiny.metrics(folder)[0]['train/causal/gate'] <= 1
  return loading.load(folder)


def of_corpus(loaded, at=5, count=14):
  """Returns (ids, where a passage of the corpus begins) of its text."""
  corpus = loaded.finder._corpus
  start = corpus.starts[at]
  return corpus.tokens[start : start + count].tolist(), start


def logps(loaded, row, passages, ids):
  def method(model):
    hidden, _ = model.read_beside(
      np.array([row]),
      passages,
      ids,
      segment_ids=np.ones((1, len(row)), np.int32),
      positions=np.arange(len(row))[None],
    )
    return jax.nn.log_softmax(model.logits(hidden))

  run = jax.jit(lambda p: loaded.model.apply({'params': p}, method=method))
  return run(loaded.params)[0]


def test_a_text_is_scored_beside_what_its_beginning_finds(beside):
  row, start = of_corpus(beside)
  passages, ids = beside.finder.find([row[:6]])
  assert passages.shape == ids.shape == (1, 2, 8)
  assert ids[0, 0].all()
  # What it says is found, as the text is in the corpus.
  assert set(passages[0, 0].tolist()) & set(row[:6])
  (found,) = score.scores(beside, [row])
  want = logps(beside, row, passages, ids)
  picked = want[np.arange(13), row[1:]]
  np.testing.assert_allclose(found[5:], picked[5:], atol=1e-4)
  plain = logps(beside, row, passages, 0 * ids)
  picked = plain[np.arange(13), row[1:]]
  np.testing.assert_allclose(found[:5], picked[:5], atol=1e-4)
  assert np.abs(found[5:] - picked[5:]).max() > 1e-3


def test_a_prompt_goes_on_beside_what_its_end_finds(beside):
  prompt, _ = of_corpus(beside, 9, 9)
  c = decoding.base()
  c.strategy.name, c.max_new_tokens, c.show_probs = 'greedy', 1, True
  generator, _ = writing.generator_of(beside, c)
  ((one,),) = generator([prompt])
  want = logps(beside, prompt, *beside.finder.find([prompt]))[-1]
  assert one['tokens'] == [int(want.argmax())]
  np.testing.assert_allclose(one['logps'], [want.max()], atol=1e-4)


def test_passages_go_in_front_where_there_is_room(loaded, beside, capsys):
  own = beside.finder
  plain = loaded['causal'].model  # reads none in a way of its own
  finder = retrieval.Finder(plain, None, own._objective, own._corpus)
  prompt, _ = of_corpus(beside, 9, 9)
  passages, ids = own.find([prompt])
  texts = [p[i > 0].tolist() for p, i in zip(passages[0], ids[0])]
  ((whole,), more) = finder.prompts([prompt], None)
  assert whole == [*texts[1], *texts[0], *prompt] and more == {}
  assert not capsys.readouterr().err
  ((cut,), _) = finder.prompts([prompt], len(texts[0]) + 9)
  assert cut == [*texts[0], *prompt]
  assert '1 passages are left out' in capsys.readouterr().err
  assert loaded['causal'].finder is None


def test_what_reads_passages_has_no_other_contexts(beside):
  with pytest.raises(UserError, match='that reads passages beside a text has'):
    widening.widen(beside, ['neural_cache'])
