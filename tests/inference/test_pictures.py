"""Attention drawn: pictures of every format, and a page that is safe."""

import base64
import json
import re

import matplotlib.image
import numpy as np
import pytest

from ctxlm.inference import pictures

TOKENS = ['[CLS]', ' the', ' cat', 's', ' 日本', ' 🙂', ' $x$', '</script>']


def weights(layers=3, heads=4, n=len(TOKENS)):
  w = np.random.default_rng(0).random((layers, heads, n, n)) ** 6
  return (w / w.sum(-1, keepdims=True)).astype(np.float32)


@pytest.mark.filterwarnings('error')  # such as of glyphs that are missing
@pytest.mark.parametrize('suffix', ['png', 'pdf', 'svg'])
def test_a_picture_is_drawn(tmp_path, suffix):
  path = tmp_path / f'cat.{suffix}'
  pictures.draw(TOKENS, weights()[:, :, 2], slice(2, 4), path)
  if suffix == 'png':
    picture = matplotlib.image.imread(path)
    assert min(picture.shape[:2]) > 100 and picture.std() > 0.05
    orange = np.abs(picture[..., :3] - [0xD5 / 255, 0x5E / 255, 0]).max(-1)
    assert (orange < 0.05).sum() > 100  # the frame
  if suffix == 'svg':
    text = path.read_text()
    assert 'cats' in text and 'layers' in text


def test_a_page_of_a_paper_has_room_for_a_sentence(tmp_path):
  n = 64
  w = weights(12, 12, n)
  pictures.draw(['word'] * n, w[:, :, 5], slice(5, 6), tmp_path / 'a.png')
  height, width = matplotlib.image.imread(tmp_path / 'a.png').shape[:2]
  assert width == 200 * pictures.WIDTH and height < 200 * 10


def test_a_page_holds_the_weights_and_no_markup_of_tokens(tmp_path):
  w = weights()
  pictures.write_page(TOKENS, w, slice(2, 4), tmp_path / 'page.html')
  page = (tmp_path / 'page.html').read_text(encoding='utf-8')
  assert page.count('</script>') == 1 and 'http' not in page
  data = json.loads(re.search(r'const d = (.*);\n', page)[1])
  assert data['tokens'] == TOKENS and data['first'] == 2
  levels = np.frombuffer(base64.b64decode(data['weights']), np.uint8)
  np.testing.assert_allclose(levels.reshape(w.shape) / 255, w, atol=0.002)
