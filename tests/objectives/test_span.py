"""Answers in contexts: windows and targets as transformers' scripts have them,
spans by brute force, texts cut from the original, mistakes."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
import torch
import transformers as tr
from tokenizers import processors

from ctxlm import plugins
from ctxlm.data.tokenizers import tokenizer as tokenizer_lib
from ctxlm.data.views import parts
from ctxlm.errors import UserError
from ctxlm.objectives import span

TEXT = 'the cat and dog see a moon, in Paris (1889); café 2,5 % of it. Is it?'
WORDS = TEXT.split()
TRAINING = [' '.join(WORDS[i:] + WORDS[:i]) for i in range(len(WORDS))]
# An accent of its own, emoji of several characters, two kinds of line ends, a
# space that is no space, and what the answer is of again and again.
HARD = (
  '  \n',
  'un cafe\u0301 noir',
  '👩\u200d🔬 saw 👍🏽',
  'a\r\nb',
  'x\u00a0y',
  'the the the',
  '\u0301a',
  'it\u200b is [SEP] </s>',
  '日本語の本',
)


def framed(kind):
  """A Tokenizer with a template; byte-level is framed as RoBERTa's."""
  t = tokenizer_lib.train(kind, 400, TRAINING)
  ids = (t.tokens([t.sep_id])[0], t.sep_id), (t.tokens([t.cls_id])[0], t.cls_id)
  if kind == 'bpe':
    after = processors.RobertaProcessing(*ids, add_prefix_space=False)
  else:
    after = processors.BertProcessing(*ids)
  t._backend.post_processor = after
  return tokenizer_lib.Tokenizer(t._backend)


@pytest.fixture(scope='module')
def kinds():
  """{kind: Tokenizer}, trained once."""
  return {kind: framed(kind) for kind in ('wordpiece', 'bpe', 'unigram')}


def build(tokenizer=None, max_length=32, **options):
  block = {'name': 'span', 'overlap': 4} | options
  given = {'tokenizer': tokenizer, 'max_length': max_length}
  return plugins.build('objectives', block, **given)


def record(context, *answers, question='What is it?', **more):
  """Returns one whose answers are (text, start), or texts at their first."""
  pairs = [
    a if isinstance(a, tuple) else (a, context.index(a)) for a in answers
  ]
  return {
    'question': question,
    'context': context,
    'answers': {
      'text': [text for text, _ in pairs],
      'answer_start': [start for _, start in pairs],
    },
    **more,
  }


def drawn(rng, size):
  """Returns a record of random words, whose answer is some of them."""
  words = rng.choice(WORDS, size).tolist()
  first = int(rng.integers(size))
  last = min(first + int(rng.integers(3)), size - 1)
  start = len(' '.join([*words[:first], ''])) if first else 0
  text = ' '.join(words[first : last + 1])
  text = text.rstrip(',.?;)') or text  # an end that no space follows
  question = ' '.join(rng.choice(WORDS, rng.integers(1, 7)))
  return record(' '.join(words), (text, start), question=question)


def by_script(fast, r, length, stride):
  """Returns rows and targets as run_qa.py of transformers makes them."""
  found = fast(
    r['question'],
    r['context'],
    truncation='only_second',
    max_length=length,
    stride=stride,
    return_overflowing_tokens=True,
    return_offsets_mapping=True,
    return_token_type_ids=True,
  )
  rows = []
  for i, offsets in enumerate(found['offset_mapping']):
    sequence, targets = found.sequence_ids(i), [0, 0]
    start = r['answers']['answer_start'][0]
    end = start + len(r['answers']['text'][0])
    first = sequence.index(1)
    last = len(sequence) - 1 - sequence[::-1].index(1)
    if offsets[first][0] <= start and offsets[last][1] >= end:
      # The script goes on to the end token where the last word is the answer.
      while sequence[first] == 1 and offsets[first][0] <= start:
        first += 1
      while offsets[last][1] >= end:
        last -= 1
      targets = [first - 1, last + 1]
    rows.append((found['input_ids'][i], found['token_type_ids'][i], targets))
  return rows


@pytest.mark.parametrize('kind', ['wordpiece', 'bpe'])
def test_windows_and_targets_are_those_of_transformers(kinds, kind):
  fast = tr.PreTrainedTokenizerFast(tokenizer_object=kinds[kind]._backend)
  rng, several, whole = np.random.default_rng(0), 0, 0
  for _ in range(60):
    r = drawn(rng, int(rng.integers(1, 150)))
    length, overlap = int(rng.integers(44, 60)), int(rng.integers(9))
    o = build(kinds[kind], length, overlap=overlap)
    wanted = by_script(fast, r, length, overlap)
    asked = o.ask(r)
    assert [(x['tokens'], x['type_ids']) for x in asked] == [
      (ids, types) for ids, types, _ in wanted
    ]
    for i, (ids, _, targets) in enumerate(wanted):
      row = o.prepare(r | {'part': i}, None)
      assert row['targets'].tolist() == targets
      assert row['tokens'][: len(ids)].tolist() == ids
      assert row['segment_ids'].sum() == len(ids)
      whole += targets != [0, 0]
    several += len(wanted) > 2
  kinds[kind]._backend.no_truncation()  # which the reference has set
  kinds[kind]._backend.no_padding()
  assert several > 15 and whole > 50


@pytest.mark.parametrize('kind', ['wordpiece', 'bpe', 'unigram'])
def test_what_is_learned_is_what_is_answered(kinds, kind):
  """For all words of hard texts: there and back gives the very characters."""
  o, lost = build(kinds[kind], 64, overlap=20, longest=40), 0
  context = '  ' + ' '.join(HARD) + ' '
  at = 0
  for word in context.split():
    at = context.index(word, at)
    r = record(context, (word, at))
    outputs = [np.zeros((64, 2)) for _ in o.ask(r)]
    for i, logits in enumerate(outputs):
      first, last = o.prepare(r | {'part': i}, None)['targets']
      logits[first, 0] += 5
      logits[last, 1] += 5
      if first:
        logits[[first, last], [0, 1]] += 5
    if not any(x.max() > 5 for x in outputs):  # no token is of it
      lost += 1
      continue
    answer = o.answer(r, outputs)
    found = context[answer['start'] : answer['end']]
    assert found == answer['answer']
    # What has no token at its edge is left out, but for accents.
    assert found in (word, word.strip('\u200b'), word.lstrip('\u0301'))
    assert abs(answer['start'] - at) <= 1
    at += len(word)
  assert lost == 0


def every_span(o, r, outputs):
  """Returns {(start, end): score} of all spans, one by one."""
  question, context = r['question'], r['context']
  asked = len(o.tokenizer.encode(question))
  _, places = o.tokenizer.places(context)
  found = {}
  for (a, b), logits in zip(o.windows(r), outputs, strict=True):
    first = asked + len(o._frame.first[0]) + len(o._frame.between[0])
    for i in range(a, b):
      for j in range(i, min(b, i + o.longest)):
        ends = context[slice(*places[i])], context[slice(*places[j])]
        if all(part.strip() for part in ends):
          start = places[i][0] + len(ends[0]) - len(ends[0].lstrip())
          end = places[j][1] - (len(ends[1]) - len(ends[1].rstrip()))
          score = logits[first + i - a, 0] + logits[first + j - a, 1]
          found[start, end] = max(score, found.get((start, end), -np.inf))
  return found


@pytest.mark.parametrize('kind', ['wordpiece', 'bpe'])
@pytest.mark.parametrize('longest', [1, 3, 30])
def test_the_best_span_is_the_best_of_all(kinds, kind, longest):
  rng = np.random.default_rng(longest)
  for size in (1, 5, 40, 40):
    r = drawn(rng, size)
    r['context'] = r['context'].replace(' ', '\n \n ', 3)
    o = build(kinds[kind], 44, longest=longest)
    outputs = [rng.normal(size=(48, 2)) for _ in o.ask(r)]
    wanted = every_span(o, r, outputs)
    best, none = o.candidates(r, outputs)
    order = sorted(wanted, key=wanted.get, reverse=True)[: span.BEST]
    assert [tuple(s[1:]) for s in best] == order
    np.testing.assert_allclose([s[0] for s in best], [wanted[s] for s in order])
    assert none == pytest.approx(min(x[0].sum() for x in outputs))
    answer = o.answer(r, outputs)
    p = np.exp([wanted[s] for s in order])
    assert answer['score'] == pytest.approx(p[0] / p.sum(), abs=1e-6)
    assert (answer['start'], answer['end']) == order[0]
    assert answer['answer'] == r['context'][slice(*order[0])]
    assert answer['no_answer'] == pytest.approx(
      none - wanted[order[0]], abs=1e-6
    )


@pytest.mark.parametrize('threshold', [-3.0, 0.0, 3.0])
def test_no_answer_is_given_above_the_threshold(kinds, threshold):
  r = record('the cat', 'cat')
  o = build(kinds['wordpiece'], unanswerable=True, threshold=threshold)
  (row,) = o.ask(r)
  first = row['tokens'].index(kinds['wordpiece'].encode('the cat')[0])
  for more in (-1e-3, 1e-3):
    logits = np.full((32, 2), -50.0)
    logits[first], logits[0] = 1, 1 + (threshold + more) / 2
    answer = o.answer(r, [logits])
    p = 1 / (1 + np.exp(threshold + more))
    none = {'answer': '', 'start': None, 'end': None}
    the = {'answer': 'the', 'start': 0, 'end': 3}
    wanted, p = (none, 1 - p) if more > 0 else (the, p)
    assert {k: answer[k] for k in wanted} == wanted
    assert answer['score'] == pytest.approx(p, abs=1e-6)
    assert answer['no_answer'] == pytest.approx(threshold + more)
    never = dataclasses.replace(o, unanswerable=False)
    assert never.answer(r, [logits])['answer'] == 'the'


def test_a_window_learns_the_first_answer_that_it_has_whole(kinds):
  words = ['moon'] * 30
  words[3], words[25] = 'cat', 'dog'
  r = record(' '.join(words), 'cat', 'dog')
  o = build(kinds['wordpiece'], 24, overlap=2)
  found = []
  for i in range(len(o.windows(r))):
    row = o.prepare(r | {'part': i}, None)
    a, b = row['targets']
    text = kinds['wordpiece'].decode(row['tokens'][a : b + 1])
    found.append(text if a else '')
  assert found == ['cat', 'dog'] or found == ['cat', '', 'dog']
  assert found.count('dog') == 1
  nothing = r | {'answers': {'text': [], 'answer_start': []}}
  row = o.prepare(nothing | {'part': 0}, None)
  assert row['targets'].tolist() == [0, 0]


def test_loss_is_that_of_torch():
  rng = np.random.default_rng(0)
  logits = rng.normal(size=(3, 6, 2)).astype(np.float32)
  targets = np.array([[1, 3], [0, 0], [2, 2]])
  used = np.array([[1] * 6, [1] * 6, [1, 1, 1, 0, 0, 0]])
  batch = {'targets': targets, 'segment_ids': used, 'valid': np.ones(3)}
  batch = {k: jnp.asarray(v) for k, v in batch.items()}
  apply = lambda params, fn, rng: jnp.asarray(logits)  # noqa: E731
  found = build().loss(apply, None, batch, None)
  masked = np.where(used[..., None] > 0, logits, -np.inf)
  losses = torch.nn.functional.cross_entropy(
    torch.tensor(masked), torch.tensor(targets), reduction='none'
  )
  n, d = found['loss']
  assert float(n / d) == pytest.approx(float(losses.mean()), rel=1e-5)
  right = (masked.argmax(1) == targets).all(1)
  assert float(found['accuracy'][0]) == right.sum()
  batch['valid'] = jnp.asarray([1.0, 0, 1])
  n, d = build().loss(apply, None, batch, None)['loss']
  assert float(n / d) == pytest.approx(float(losses[[0, 2]].mean()), rel=1e-5)


def test_what_is_settled(kinds, capsys):
  with_answer = record('the cat', 'cat', id='a')
  without = record('the cat', id='b')
  assert build().settled([with_answer]) == {'unanswerable': False}
  assert build().settled([with_answer, without]) == {'unanswerable': True}
  assert '1 of 2 questions have no answer' in capsys.readouterr().err
  assert build(unanswerable=True).settled([with_answer]) == {}
  with pytest.raises(UserError, match='1 questions have no answer'):
    build(unanswerable=False).settled([with_answer, without])
  with pytest.raises(UserError, match='no question of the data has an answer'):
    build().settled([without])
  with pytest.raises(UserError, match="record 1 has the id 'a' of record 0"):
    build().settled([with_answer, with_answer])


def test_the_view_has_every_window(kinds, tmp_path, monkeypatch):
  monkeypatch.setenv('CTXLM_CACHE', str(tmp_path))
  rng = np.random.default_rng(0)
  records = [drawn(rng, size) for size in (3, 60, 30)]
  o, t = build(kinds['wordpiece'], 40), kinds['wordpiece']
  view = parts.View.open(records, 'x', t, 40, o)
  counts = [len(o.windows(r)) for r in records]
  assert counts[1] > counts[2] >= counts[0] == 1
  found = [view.read(i, None) for i in range(len(view))]
  assert found == [
    r | {'part': n} for r, count in zip(records, counts) for n in range(count)
  ]
  other = parts.View.open(
    records, 'x', t, 40, dataclasses.replace(o, overlap=15)
  )
  assert other.fingerprint != view.fingerprint and len(other) > len(view)


CAT = record('the cat', 'cat')


@pytest.mark.parametrize(
  'change, wanted',
  [
    ({'question': None}, "no question; it has the fields .'answers', 'cont"),
    ({'question': ' '}, 'no text as question'),
    ({'context': ['the cat']}, 'no text as context'),
    ({'answers': 'cat'}, "the answers 'cat', and not {'text': "),
    ({'answers': {'text': ['cat']}}, "and not {'text': "),
    ({'answers': {'text': ['cat'], 'answer_start': []}}, 'of one length'),
    ({'answers': {'text': [' '], 'answer_start': [3]}}, "empty answer: ' '"),
    (
      {'answers': {'text': ['cat'], 'answer_start': [5]}},
      "'cat' at 5 of its context of 7 characters, and it is at 4",
    ),
    ({'answers': {'text': ['cat'], 'answer_start': [-3]}}, 'and it is at 4'),
    ({'answers': {'text': ['cat'], 'answer_start': ['4']}}, "at '4' of its"),
    (
      {'answers': {'text': ['cats'], 'answer_start': [4]}},
      'and it is nowhere in it',
    ),
    ({'answers': {'text': ['cat'], 'answer_start': [99]}}, 'at 99 of its'),
  ],
)
def test_records_that_teach_nothing(change, wanted):
  with pytest.raises(UserError, match=f'record 3 has .*{wanted}'):
    build().answers(CAT | change, 3)


def test_questions_that_leave_no_room(kinds):
  t = kinds['wordpiece']
  o = build(t, 12, overlap=6)
  long = CAT | {'context': 'the cat ' * 9}
  for overlap in (6, 5):  # of the 5 that are left
    other = dataclasses.replace(o, overlap=overlap)
    with pytest.raises(UserError, match='record 3 has a question of .*overlap'):
      other.windows(long | {'question': 'cat dog moon see'}, 3)
  # A context that fits is no matter; and windows that overlap less go on.
  assert o.windows(CAT | {'question': 'cat dog moon see'}) == [(0, 2)]
  less = dataclasses.replace(o, overlap=4)
  assert len(less.windows(long | {'question': 'cat dog moon see'})) > 3
  with pytest.raises(UserError, match='leaves 0 of max_length=12'):
    o.windows(CAT | {'question': 'cat ' * 20})
  with pytest.raises(UserError, match='has no token in its context'):
    o.windows(CAT | {'context': '\u200b'})


def test_an_answer_across_the_end_of_a_window(kinds):
  """At each place of a context, of which no window shares a token."""
  fast = tr.PreTrainedTokenizerFast(
    tokenizer_object=kinds['wordpiece']._backend
  )
  context, lost = ' '.join(['cat', 'dog', 'moon'] * 12), 0
  o = build(kinds['wordpiece'], 17, overlap=0)
  for start in range(0, len(context) - 8):
    if context[start - 1 : start] in ('', ' '):
      r = record(context, (' '.join(context[start:].split()[:2]), start))
      wanted = [targets for _, _, targets in by_script(fast, r, 17, 0)]
      found = [
        o.prepare(r | {'part': i}, None)['targets'].tolist()
        for i in range(len(o.ask(r)))
      ]
      assert found == wanted
      lost += not np.any(found)
  kinds['wordpiece']._backend.no_truncation()
  assert lost == len(o.ask(r)) - 1


def test_accents_and_emoji_stay_whole():
  assert span._whole('cafe\u0301 x', 0, 4) == (0, 5)
  assert span._whole('cafe\u0301 x', 4, 5) == (3, 5)
  assert span._whole('x 👩\u200d🔬!', 2, 3) == (2, 5)
  assert span._whole('x 👩\u200d🔬!', 4, 5) == (2, 5)
  assert span._whole(' \u0301a', 2, 3) == (2, 3)
  assert span._whole('👍🏽', 0, 1) == (0, 2)


def test_cuts():
  rng = np.random.default_rng(0)
  for _ in range(200):
    size, room = (int(x) for x in rng.integers(1, 40, 2))
    overlap = int(rng.integers(room))
    found = span.cut(size, room, overlap)
    assert found[0][0] == 0 and found[-1][1] == size
    assert all(0 < b - a <= room for a, b in found)
    for (_, end), (start, _) in zip(found, found[1:]):
      assert end - start == overlap and end < size


@pytest.mark.parametrize('kind', ['wordpiece', 'bpe', 'unigram'])
def test_lines_are_questions_and_contexts(kinds, kind):
  o = build(kinds[kind])
  named = {'question': 'What?', 'context': 'a cat'}
  assert o.ask(named) == o.ask({'text_a': 'What?', 'text_b': 'a cat'})
  with pytest.raises(UserError, match='a line is question<TAB>context'):
    o.ask({'text': 'What?'})
