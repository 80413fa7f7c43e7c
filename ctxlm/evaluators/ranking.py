"""Options of queries behind demonstrations, ranked by a model."""

import dataclasses

from ctxlm.evaluators import choices, prompting

CONTENT_FREE = ('N/A', '[MASK]', '')  # Zhao et al. 2021, section 5


class Ranking:
  """Asks a model for the options of queries, all at once."""

  def __init__(self, evaluator, bench, prompter):
    """Prepares.

    Args:
      evaluator: ctxlm.evaluators.few_shot.Evaluator.
      bench: ctxlm.evaluators.bench.Bench.
      prompter: prompting.Prompter.
    """
    self._evaluator, self._prompter = evaluator, prompter
    self._room = bench.config.max_length
    self._judge = bench.continuations(
      evaluator.batch_size or bench.config.batch_size
    )
    self._pairs = []

  def __call__(self, asked, plans):
    """Returns (figures, [what is said of each query], [shots left out]).

    Args:
      asked: list of choices.Example, the queries.
      plans: for each the texts that it is shown, the far one first.
    """
    e = self._evaluator
    mine = [self._ask(shots, one) for one, shots in zip(asked, plans)]
    dropped = [prompts[0].dropped for prompts, _ in mine]
    kept = [tuple(shots[n:]) for shots, n in zip(plans, dropped)]
    without = self._without(asked[0], kept) if e.calibrated else {}
    premises = {}
    if e.score == 'unconditional':
      bare = self._prompter.bare()
      for key in dict.fromkeys(map(self._alone, asked)):
        premises[key] = self._add([bare.ask((), *key, self._room)])
    prompting.say_cut((p for own, _ in mine for p in own), self._room)
    answers = self._judge(self._pairs)

    def told(example, place):
      before = premises and answers[premises[self._alone(example)]]
      return choices.Asked.of(answers[place], example.asked, before)

    found = [told(one, place) for one, (_, place) in zip(asked, mine)]
    if e.chooses:
      rank = choices.SCORES[e.score]
      scores = [rank(one) for one in found]
      for i, shots in enumerate(kept if without else ()):
        free = [rank(told(asked[i], place)) for place in without[shots]]
        scores[i] = choices.calibrated(scores[i], free)
      right = [example.right for example in asked]
      figures, rows = choices.of_options(
        scores, found, right, e.score, bool(e.verbalisers)
      )
    else:
      figures, rows = choices.of_texts(found)
    texts = [{'prompt': prompts[0].text} for prompts, _ in mine]
    return figures, [a | b for a, b in zip(texts, rows)], dropped

  def _ask(self, shots, example):
    # The prompts of an example, and where its options' answers will be.
    e = self._evaluator
    if e.score == 'whole':
      texts = [example.filled(option) for option in example.options]
      prompts = self._prompter.whole(shots, texts, self._room)
    else:
      ask = self._prompter.ask
      prompts = [ask(shots, example.before, example.asked, self._room)]
    return prompts, self._add(prompts)

  def _without(self, example, kept):
    # {shots: where the answers to inputs that say nothing will be}
    template = self._evaluator.filled
    names = [name.partition('|')[0] for name in template.fields]
    blank = []
    for text in CONTENT_FREE:
      before, behind = template.fill(dict.fromkeys(names, text))
      blank.append(dataclasses.replace(example, before=before, behind=behind))
    return {
      shots: [self._ask(shots, one)[1] for one in blank]
      for shots in dict.fromkeys(kept)
    }

  def _alone(self, example):
    # The premise with what stands between a query and an option; the options.
    bare = example.before.rstrip()
    premise = self._evaluator.premise + example.before[len(bare) :]
    return premise, example.options

  def _add(self, prompts):
    first = len(self._pairs)
    for prompt in prompts:
      self._pairs += [(list(prompt.context), list(x)) for x in prompt.options]
    return slice(first, len(self._pairs))
