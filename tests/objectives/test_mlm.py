import collections

import numpy as np
import pytest
from scipy import stats

from ctxlm.data.tokenizers.pieces import starts_word
from ctxlm.data.tokenizers.tokenizer import train as train_tokenizer
from ctxlm.data.views import pairs
from ctxlm.objectives.mlm import Objective


def window(rng, length=128, vocab=50):
  return {
    'tokens': rng.integers(5, vocab, length).astype(np.int32),
    'segment_ids': np.ones(length, np.int32),
    'positions': np.arange(length, dtype=np.int32),
  }


def draw(objective, rows=400):
  rng = np.random.default_rng(0)
  for _ in range(rows):
    example = window(rng)
    yield example['tokens'], objective.prepare(example, rng)


def test_masks_are_15_percent_and_80_10_10(tokenizer):
  objective = Objective(tokenizer=tokenizer, max_length=128)
  total = masked = random = same = 0
  for before, out in draw(objective):
    used = out['masked_weights'] > 0
    places = out['masked_positions'][used]
    assert len(set(places)) == len(places)
    np.testing.assert_array_equal(out['masked_targets'][used], before[places])
    untouched = np.setdiff1d(np.arange(128), places)
    np.testing.assert_array_equal(out['tokens'][untouched], before[untouched])
    total += used.sum()
    now = out['tokens'][places]
    masked += (now == 3).sum()
    same += (now == before[places]).sum()
    random += ((now != 3) & (now != before[places])).sum()

  def within(count, n, share):
    assert stats.binomtest(int(count), int(n), share).pvalue > 1e-3

  within(total, 400 * 128, 0.15)
  within(masked, total, 0.8)
  within(same, total, 0.1 + 0.1 / 45)  # a random token may be the same one
  within(random, total, 0.1 - 0.1 / 45)


def test_special_tokens_and_padding_are_never_masked(tokenizer):
  objective = Objective(rate=0.9, tokenizer=tokenizer, max_length=8)
  tokens = np.array([1, 9, 9, 2, 8, 2, 0, 0], np.int32)
  for seed in range(50):
    out = objective.masked(
      tokens, np.array([1] * 6 + [0] * 2), np.random.default_rng(seed)
    )
    places = out['masked_positions'][out['masked_weights'] > 0]
    assert set(places) <= {1, 2, 4}


@pytest.mark.parametrize('unit', ['word', 'span'])
def test_words_are_masked_whole(tokenizer, unit):
  objective = Objective(unit=unit, tokenizer=tokenizer, max_length=128)
  lengths, total = [], 0
  for before, out in draw(objective, 300):
    places = set(out['masked_positions'][out['masked_weights'] > 0])
    total += len(places)
    for p in places:
      # A piece that goes on a word has the word's other pieces with it.
      if before[p] >= 30 and p > 0:
        assert p - 1 in places
      if p + 1 < 128 and before[p + 1] >= 30:
        assert p + 1 in places
    runs = np.split(
      sorted(places), np.flatnonzero(np.diff(sorted(places)) > 1) + 1
    )
    lengths += [len(r) for r in runs]
  assert 0.12 < total / (300 * 128) <= 0.151
  assert np.mean(lengths) > (4 if unit == 'span' else 1.5)


# Chinese, Japanese and Thai have no spaces between words.
UNSPACED = {
  'zh': '我们在这里学习语言模型,它们从上下文中学习。',
  'ja': '私たちはここで言語モデルを学びます。カタカナも、ひらがなも。',
  'th': 'เราเรียนรู้แบบจำลองภาษาที่นี่จากบริบท',
}


@pytest.fixture(scope='module')
def unspaced():
  """Tokenizers of text without spaces."""
  texts = [t * 20 for t in UNSPACED.values()]
  return {
    kind: train_tokenizer(kind, size, texts)
    for kind, size in (('bpe', 400), ('unigram', 120), ('wordpiece', 250))
  }


@pytest.mark.parametrize('language', UNSPACED)
@pytest.mark.parametrize('unit', ['word', 'span'])
@pytest.mark.parametrize('kind', ['bpe', 'unigram', 'wordpiece'])
def test_text_without_spaces_is_masked(unspaced, kind, unit, language, capsys):
  tokenizer = unspaced[kind]
  objective = Objective(unit=unit, tokenizer=tokenizer, max_length=64)
  rng = np.random.default_rng(0)
  ids = np.tile(tokenizer.encode(UNSPACED[language]), 40).astype(np.int32)
  total = 0
  for _ in range(100):
    start = rng.integers(len(ids) - 64)
    row = ids[start : start + 64]
    out = objective.masked(row, np.ones(64, np.int32), rng)
    assert out['masked_weights'].sum() > 0
    total += out['masked_weights'].sum()
  assert 0.12 < total / 6400 <= 0.155
  assert not capsys.readouterr().err


def test_words_of_text_without_spaces(unspaced):
  for start in (
    ' ab',
    '我们',
    'モデル',
    '。',
    '「',
    '“',
    ',',
    '\n',
    '我'.encode()[:2],
  ):
    text = start if isinstance(start, bytes) else start.encode()
    assert starts_word(text), start
  for rest in 'ab', 'é', 'ก', '我'.encode()[1:], 'é'.encode()[:1]:
    text = rest if isinstance(rest, bytes) else rest.encode()
    assert not starts_word(text), rest
  # In each tokenizer's writing: a space, ##, Ġ or ▁.
  for tokenizer in unspaced.values():
    ids = tokenizer.encode('我们。')
    first = [i for i in ids if tokenizer.tokens([i]) != ['▁']][0]
    assert tokenizer.word_starts[first] and tokenizer.word_starts[ids[-1]]


def test_a_word_over_the_quota_falls_back_to_its_tokens(tokenizer):
  objective = Objective(unit='word', tokenizer=tokenizer, max_length=32)
  tokens = np.full(32, 40, np.int32)  # each goes on the word
  ones = np.ones(32, np.int32)
  counts = collections.Counter()
  for seed in range(300):
    out = objective.masked(tokens, ones, np.random.default_rng(seed))
    used = out['masked_weights'] > 0
    assert used.sum() in (4, 5)
    counts.update(out['masked_positions'][used].tolist())
  assert set(counts) == set(range(32))


def test_too_few_masks_are_said(tokenizer, capsys):
  tokenizer.unk_id = 5
  tokenizer.special_ids = {0, 1, 2, 3, 4, 5}
  objective = Objective(tokenizer=tokenizer, max_length=32)
  rng = np.random.default_rng(0)
  for _ in range(200):
    tokens = np.where(rng.random(32) < 0.8, 5, 9).astype(np.int32)
    objective.masked(tokens, np.ones(32, np.int32), rng)
  err = capsys.readouterr().err
  assert err.count('\n') == 1 and 'unknown to the tokenizer' in err, err


def test_next_sentence_pairs_by_hand(tokenizer):
  objective = Objective(
    pair='next_sentence', tokenizer=tokenizer, max_length=16
  )
  sentences = [np.array([10, 11]), np.array([12]), np.array([13, 14])]
  other = np.array([40, 41, 42])
  labels = []
  rng = np.random.default_rng(0)
  for _ in range(400):
    out = objective._pair({'sentences': sentences, 'other': other}, rng)
    used = int(out['segment_ids'].sum())
    row = out['tokens'][:used].tolist()
    assert row[0] == 1 and row[-1] == 2
    first = row[1 : row.index(2)]
    second = row[row.index(2) + 1 : -1]
    assert first in ([10, 11], [10, 11, 12])
    if out['label']:
      assert second == [40, 41, 42][: 5 - len(first)]
    else:
      assert first + second == [10, 11, 12, 13, 14]
    types = out['type_ids'][:used]
    assert types.tolist() == [0] * (len(first) + 2) + [1] * (len(second) + 1)
    labels.append(int(out['label']))
  assert stats.binomtest(sum(labels), 400, 0.5).pvalue > 1e-3


SHORT = {
  'one sentence': lambda rng: [rng.integers(1, 10)],
  'one token': lambda rng: [1],
  'the first longer': lambda rng: [rng.integers(6, 10), rng.integers(1, 5)],
  'the last longer': lambda rng: [*rng.integers(1, 3, 2), rng.integers(5, 20)],
}


@pytest.mark.parametrize('kind', SHORT)
@pytest.mark.parametrize('pair', ['next_sentence', 'sentence_order'])
def test_no_rule_on_lengths_tells_the_label(
  tokenizer, tmp_path, monkeypatch, pair, kind
):
  monkeypatch.setenv('CTXLM_CACHE', str(tmp_path))
  rng = np.random.default_rng(0)
  tokenizer.fingerprint = kind
  tokenizer.encode_batch = lambda texts, data=False: [
    tokenizer.encode(t.replace('.', '')) for t in texts
  ]

  def text(sizes):
    sentences = (' '.join(map(str, rng.integers(5, 50, n))) for n in sizes)
    return ' '.join(s + '.' for s in sentences)

  # Most rows are of the kind; two of the documents are always pairs.
  sizes = [[3, 3], [4, 4], *(SHORT[kind](rng) for _ in range(300))]
  records = [{'text': text(s)} for s in sizes]
  view = pairs.View.open(records, pair, tokenizer, 32, None)
  whole = sum(sum(s) > 1 for s in sizes)
  assert len(view) == whole
  objective = Objective(pair=pair, tokenizer=tokenizer, max_length=32)
  labels = collections.defaultdict(list)
  total = 0
  for i in range(6000):
    out = objective._pair(view.read(i % len(view), rng), rng)
    a, end = np.flatnonzero(out['tokens'] == 2)
    assert a > 1 and end > a + 1  # neither half is empty
    labels[a - 1, end - a - 1].append(int(out['label']))
    total += int(out['label'])
  assert stats.binomtest(total, 6000, 0.5).pvalue > 1e-3
  # The best rule there is, learned on one half and judged on the other.
  right = count = 0
  for known in labels.values():
    learned, judged = known[::2], known[1::2]
    guess = 2 * sum(learned) > len(learned)
    right += sum(x == guess for x in judged)
    count += len(judged)
  assert stats.binomtest(right, count, 0.5).pvalue > 1e-3, right / count


@pytest.mark.parametrize('count', [1, 3])
def test_lengths_tell_nothing_of_the_label(tokenizer, count):
  objective = Objective(
    pair='next_sentence', tokenizer=tokenizer, max_length=32
  )
  rng = np.random.default_rng(0)
  lengths = [[], []]
  for _ in range(2000):
    example = {
      'sentences': [np.full(n, 9) for n in rng.integers(2, 9, count)],
      'other': np.full(rng.integers(1, 12), 40),
    }
    out = objective._pair(example, rng)
    (ends,) = np.nonzero(out['tokens'] == 2)
    lengths[out['label']].append((ends[0], ends[1] - ends[0]))
  assert stats.binomtest(len(lengths[1]), 2000, 0.5).pvalue > 1e-3
  for part in zip(*(np.array(x).T for x in lengths), strict=True):
    assert stats.ks_2samp(*part).pvalue > 1e-3


def test_sentence_order_swaps(tokenizer):
  objective = Objective(
    pair='sentence_order', tokenizer=tokenizer, max_length=16
  )
  sentences = [np.array([10, 11]), np.array([12, 13])]
  rng = np.random.default_rng(0)
  for _ in range(20):
    out = objective._pair({'sentences': sentences, 'other': None}, rng)
    row = out['tokens'][:7].tolist()
    want = (
      [1, 12, 13, 2, 10, 11, 2] if out['label'] else [1, 10, 11, 2, 12, 13, 2]
    )
    assert row == want


def test_losses_equal_numpy(tokenizer):
  objective = Objective(pair='next_sentence', tokenizer=tokenizer, max_length=8)
  rng = np.random.default_rng(0)
  logits = rng.normal(size=(3, 2, 50)).astype(np.float32)
  pair = rng.normal(size=(3, 2)).astype(np.float32)
  batch = {
    'tokens': np.zeros((3, 8), np.int32),
    'masked_targets': np.array([[5, 6], [7, 0], [9, 9]]),
    'masked_weights': np.array([[1, 1], [1, 0], [1, 1]], np.float32),
    'label': np.array([0, 1, 1]),
    'valid': np.array([1, 1, 0], np.float32),
  }
  said = iter([(None, pair), logits])  # hidden states are not looked at
  found = objective.loss(lambda *_: next(said), None, batch, None)

  def nll(row, target):
    p = np.exp(row - row.max())
    return -np.log(p[target] / p.sum())

  want = nll(logits[0, 0], 5) + nll(logits[0, 1], 6) + nll(logits[1, 0], 7)
  np.testing.assert_allclose(found['loss'][0], want, rtol=1e-5)
  assert found['loss'][1] == 3
  want = nll(pair[0], 0) + nll(pair[1], 1)
  np.testing.assert_allclose(found['next_sentence'][0], want, rtol=1e-5)
  assert found['next_sentence'][1] == 2
