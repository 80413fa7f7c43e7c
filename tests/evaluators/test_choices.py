"""Options: their scores and figures, by hand and by scikit-learn."""

import numpy as np
import pytest
from sklearn import metrics

from ctxlm.errors import UserError
from ctxlm.evaluators import choices

RNG = np.random.default_rng(0)
OPTIONS = ('no', ' élan vital', 'été')


def answers(*sizes):
  """Returns what a model may say of options of so many ids."""
  return [
    (-RNG.exponential(size=n).astype(np.float32), np.arange(n) > 0)
    for n in sizes
  ]


def softmax(x):
  p = np.exp(x)
  return p / p.sum()


@pytest.fixture(scope='module')
def told():
  """(Of each query what is said, what is said behind the premise)."""
  return [answers(1, 4, 2) for _ in range(30)], answers(1, 4, 2)


@pytest.mark.parametrize('name', choices.SCORES)
def test_scores(told, name):
  own, before = told[0][0], told[1]
  asked = choices.Asked.of(own, OPTIONS, before)
  sums, first = ([sum(map(float, x)) for x, _ in y] for y in (own, before))
  want = {
    'sum': sums,
    'token': np.divide(sums, [1, 4, 2]),
    'byte': np.divide(sums, [2, 11, 5]),  # of UTF-8, no space before it
    'unconditional': np.subtract(sums, first),
    'whole': np.divide(sums, [1, 4, 2]),
  }[name]
  found = choices.SCORES[name](asked)
  assert found.dtype == np.float64
  np.testing.assert_allclose(found, want, rtol=1e-12)


def test_without_a_premise_nothing_is_taken_off(told):
  asked = choices.Asked.of(told[0][0], OPTIONS)
  found = choices.SCORES['unconditional'](asked)
  assert found.tolist() == asked.logps.tolist()
  likeliest = choices.Asked.of([([-1.0], [True]), ([-1, -2], [1, 0])], 'ab')
  assert likeliest.likeliest.tolist() == [True, False]


def test_calibration_divides_by_mean_probabilities():
  scores, *without = RNG.normal(size=(4, 3)) * 3
  want = softmax(scores) / np.mean([softmax(x + 5) for x in without], axis=0)
  found = choices.calibrated(scores, [x + 5 for x in without])
  np.testing.assert_allclose(softmax(found), want / want.sum())
  # Once uniform, an input that says nothing prefers nothing.
  same = choices.calibrated(scores, [scores])
  np.testing.assert_allclose(softmax(same), 1 / 3)


def test_figures_of_options(told):
  asked = [choices.Asked.of(x, OPTIONS, told[1]) for x in told[0]]
  right = RNG.integers(0, 3, len(asked))
  scores = [choices.SCORES['token'](one) for one in asked]
  figures, rows = choices.of_options(scores, asked, right, 'token', True)
  found = np.argmax(scores, axis=1)
  assert figures['accuracy'] == np.mean(found == right)
  f1 = metrics.f1_score(right, found, average='macro')
  np.testing.assert_allclose(figures['f1_macro'], f1)
  assert figures['accuracy_low'] < figures['accuracy']
  p = np.array([softmax(x) for x in scores])
  places = np.ceil(p.max(1) * 15)
  gaps = [
    abs(((found == right) - p.max(1))[places == i].sum()) for i in range(16)
  ]
  np.testing.assert_allclose(figures['calibration_error'], sum(gaps) / len(p))
  others = {
    name: np.mean(
      [choices.SCORES[name](one).argmax() == k for one, k in zip(asked, right)]
    )
    for name in ('sum', 'byte')
  }
  accuracies = {figures['accuracy'], *others.values()}
  assert len(accuracies) == 3  # each has its own
  for name, value in others.items():
    assert figures[f'accuracy_{name}'] == value
  for row, own, each, one, i, k in zip(
    rows, scores, p, asked, found, right, strict=True
  ):
    assert row['scores'] == own.tolist() and row['logps'] == one.logps.tolist()
    np.testing.assert_allclose(row['probabilities'], each)
    assert row['tokens'] == [1, 4, 2]
    assert (row['found'], row['correct']) == (i, i == k)
  # Options of each query its own have no F1, and another score no other.
  figures, _ = choices.of_options(scores, asked, right, 'unconditional', False)
  assert {*figures} == {
    f'{name}{end}'
    for name in ('accuracy', 'calibration_error')
    for end in ('', '_low', '_high')
  }


def test_what_is_found_may_be_no_option():
  right, found = [0, 1, 2, 2], [0, -1, 2, 0]
  figures = choices.of_found(found, right, 3)
  assert figures['accuracy'] == 1 / 2
  want = metrics.f1_score(right, found, labels=[0, 1, 2], average='macro')
  np.testing.assert_allclose(figures['f1_macro'], want)
  own = choices.of_found(found, right, 0)
  assert own['accuracy'] == 1 / 2 and 'f1_macro' not in own


def test_figures_of_texts():
  told = [
    [(np.float32([-1.5, -0.5]), [True, True])],
    [(np.float32([-3.0]), [False])],
    [(np.float32([-0.25, -0.75]), [True, False])],
  ]
  asked = [choices.Asked.of(x, ('ab',)) for x in told]
  figures, rows = choices.of_texts(asked)
  assert figures['accuracy'] == 1 / 3
  np.testing.assert_allclose(figures['perplexity'], np.exp((2 + 3 + 1) / 3))
  assert figures['perplexity_low'] < figures['perplexity']
  assert rows == [
    {'logps': [-2.0], 'tokens': [2], 'likeliest': True},
    {'logps': [-3.0], 'tokens': [1], 'likeliest': False},
    {'logps': [-1.0], 'tokens': [2], 'likeliest': False},
  ]
  unlikely = choices.Asked.of([([-9e9], [False])], ('a',))
  assert np.isfinite(choices.of_texts([unlikely])[0]['perplexity'])


def test_examples():
  one = choices.Example('a ', '!', 'f', ('x', 'y'), 1)
  assert (one.answer, one.asked, one.filled('z')) == ('y', ('x', 'y'), 'a z!')
  assert one.told == {'options': ['x', 'y'], 'right': 1}
  text = choices.Example('a ', '', 'f', references=('p', 'q'))
  assert (text.answer, text.asked) == ('p', ('p',))
  assert text.told == {'references': ['p', 'q']}
  assert choices.Example('a', '', 'f').answer == ''


@pytest.mark.parametrize(
  'verbalisers, wanted',
  [
    ({'0': 'a', '1': ' '}, "of the label '1' is empty"),
    ({'0': 'a', '1': 3}, "of the label '1' is empty"),
    ({'0': 'a', '1': ' a'}, "'0' and '1' have the same verbaliser, ' a'"),
    ({'0': 'a'}, 'one label is no choice'),
  ],
)
def test_mistakes_of_verbalisers(verbalisers, wanted):
  choices.check_verbalisers({'0': 'a', '1': 'b'})
  choices.check_verbalisers({})
  with pytest.raises(UserError) as e:
    choices.check_verbalisers(verbalisers)
  assert wanted in str(e.value)
