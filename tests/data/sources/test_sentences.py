import pytest

from ctxlm.data.sources import sentences


@pytest.mark.parametrize(
  'text, expected',
  [
    ('One. Two! Three?', ['One.', 'Two!', 'Three?']),
    ('See e.g. Smith et al. 2016. It works.',
     ['See e.g. Smith et al. 2016.', 'It works.']),
    ('Dr. A. Turing wrote it. "Did he?" Yes.',
     ['Dr. A. Turing wrote it.', '"Did he?"', 'Yes.']),
    ('version 3.11 is out. see below', ['version 3.11 is out. see below']),
    ('no end\nnew line', ['no end', 'new line']),
    ('', []),
    ('   \n ', []),
  ],
)  # fmt: skip
def test_by_hand(text, expected):
  assert sentences.split(text) == expected


def test_no_word_is_lost():
  text = 'A b. C d (E f.) G? "H!" i. 1. Two.\n\nThree... Four'
  assert ' '.join(sentences.split(text)).split() == text.split()
