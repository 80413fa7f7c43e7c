import numpy as np
import pytest

from ctxlm.errors import UserError
from ctxlm.experiments import lm_ladder as ladder
from tests.experiments import common

WORDS = 'the cat saw a dog and the dog saw the cat , then a cat'.split()


@pytest.fixture
def text(tmp_path):
  """A file of 400 words."""
  words = np.random.default_rng(0).choice(WORDS, 400)
  path = tmp_path / 'text.txt'
  path.write_text('\n'.join(map(' '.join, words.reshape(-1, 20))))
  return path


@pytest.mark.slow
def test_smoke(text, tmp_path):
  summary = common.smoke(
    'lm_ladder',
    tmp_path / 'dir',
    f'--config.tasks.text.data.path={text}',
  )
  assert len(summary['points']) == 3
  for point in summary['points'].values():
    last = {k.split('/')[-1]: v for k, v in point['last'].items()}
    assert last['train_words'] == 272 and last['test_words'] == 60
    assert 1 < last['half'] < 20 and 0 <= last['nearest_share'] <= 1
