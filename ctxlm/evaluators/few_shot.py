r"""What a model makes of a task that it is shown a few examples of.

In-context learning (Brown et al. 2020, arXiv:2005.14165, section 2): a template
makes a text of each record; demonstrations, with their answers, stand before a
query, and the model chooses among options, or writes:

    c.evaluators.sst2 = {
      'name': 'few_shot',
      'data': {'name': 'files', ...},
      'template': 'Review: {text}\nSentiment: {answer}',
      'verbalisers': {'0': 'negative', '1': 'positive'},
      'shots': 8,
    }

Tasks to begin with are in configs/tasks/, which `ctxlm evaluate --few_shot`
names. What demonstrations have in common is read once, see
ctxlm.decoding.continuations, which says what that saves.
"""

import dataclasses
import functools
import re
import reprlib
from typing import Annotated, Any, Literal

import numpy as np

from ctxlm import objectives, plugins
from ctxlm.data import framing
from ctxlm.decoding import stream
from ctxlm.errors import UserError, note
from ctxlm.evaluators import (
  choices,
  demonstrations,
  generation,
  prompting,
  ranking,
  template,
)
from ctxlm.evaluators.bench import FEW
from ctxlm.objectives import multiple_choice
from ctxlm.ranges import Pattern, Seed, Whole


@dataclasses.dataclass(frozen=True)
class Evaluator:
  """Judges the answers to queries.

  Attributes:
    data: ctxlm.data.sources.Source of the examples; left out, the task's own.
    template: an example as a text, see ctxlm.evaluators.template.
    clean: (regular expression, what takes its place) pairs, see there.
    target: field that says what is right: a label, an option's number or text,
      or a text, or list of texts each of which is right, to be written. It may
      have a filter of template.FILTERS.
    verbalisers: {label: its text}, which are the options of every query.
    options: field with each query's own options, a list of texts.
    shots: how many examples are shown; what has no room beside a query is left
      out whole, from the far end, and how many are is said.
    pool: split that they are of. Of the queries' own split, no query is shown.
    split: of the queries.
    limit: queries, the first ones of the split; 0 is all.
    seed: of all draws.
    encoder: folder of an encoder, whose vectors of the fields choose the most
      alike examples for each query, the most alike last; '' draws some that are
      the same for all.
    balanced: whether as many are shown of each label.
    order: 0 is as they are drawn or alike; another number permutes them.
    labels: of the demonstrations: 'gold', or 'random' ones (Min et al. 2022).
    shown: {label: text} of the demonstrations, if it is not the verbalisers'.
    instruction: text before all, with what parts it from the rest.
    separator: text between examples.
    score: by what options are ranked: their log-probability, 'sum', or a
      'token' or 'byte' of it; beside that after `premise`, 'unconditional'
      (Brown et al. 2020, section 2.4); the 'whole' example's a token, which is
      its perplexity; or 'generate', which writes and looks which option it is.
    premise: such as 'Answer:'; '' is the beginning of a text.
    calibrated: whether options' probabilities are divided by those of inputs
      that say nothing (Zhao et al. 2021, arXiv:2102.09690, section 5).
    parse: of what is written, regular expression whose first group, or all of
      it, is the answer, where it is first found; '' takes all.
    decoding, metrics: of what is written, see evaluators.generation; it ends
      with the line if nothing else is said.
    task: whose objective is causal; '' is the first.
    batch_size: rows at a time; 0 is config.batch_size.
  """

  data: Any = plugins.field('data.sources')
  template: str = ''
  clean: tuple = ()
  target: str = 'label'
  verbalisers: dict = dataclasses.field(default_factory=dict)
  options: str = ''
  shots: Whole = 0
  pool: str = 'train'
  split: str = 'validation'
  limit: Whole = 0
  seed: Seed = 0
  encoder: str = ''
  balanced: bool = False
  order: Whole = 0
  labels: Literal['gold', 'random'] = 'gold'
  shown: dict = dataclasses.field(default_factory=dict)
  instruction: str = ''
  separator: str = '\n\n'
  score: Literal[(*choices.SCORES, 'generate')] = 'sum'
  premise: str = ''
  calibrated: bool = False
  parse: Annotated[str, Pattern()] = ''
  decoding: dict = dataclasses.field(default_factory=dict)
  metrics: tuple[str, ...] = ()
  task: str = ''
  batch_size: Whole = 0

  def __post_init__(self):
    template.check_pairs(self.clean)
    template.check_name(self.target)
    ends = self.filled.ends
    if not ends and self.score != 'whole':
      raise ValueError(
        f"score={self.score!r} is of an answer that ends the template; 'whole' "
        'is of one that may stand anywhere'
      )
    if self.verbalisers and self.options:
      raise ValueError('give verbalisers or options, and not both')
    choices.check_verbalisers(self.verbalisers)
    if self.shown and self.shown.keys() != self.verbalisers.keys():
      raise ValueError('shown must have the labels of the verbalisers')
    for name in ('balanced', 'calibrated'):
      if vars(self)[name] and not self.verbalisers:
        raise ValueError(f'{name} needs verbalisers, the same of every query')
    if self.labels == 'random' and not (self.verbalisers or self.options):
      raise ValueError("labels='random' needs verbalisers or options")
    written = self.score == 'generate'
    if self.calibrated and written:
      raise ValueError('calibrated is for options that are ranked')
    if not written and not self.chooses and self.score != 'sum':
      raise ValueError(f'score={self.score!r} needs verbalisers or options')
    if written and not self.chooses and not self.metrics:
      raise ValueError("score='generate' needs metrics, or verbalisers")
    if written:
      generation.metrics_of(self.metrics)
      self._decoding()
    elif self.metrics or self.parse or self.decoding:
      raise ValueError("metrics, parse and decoding are for score='generate'")

  @functools.cached_property
  def filled(self):
    """The template.Template."""
    return template.Template(self.template, tuple(map(tuple, self.clean)))

  @property
  def chooses(self):
    """Whether there are options."""
    return bool(self.verbalisers or self.options)

  def _decoding(self):
    return generation.config_of(
      {'stop': ('\n',), 'max_new_tokens': 32} | self.decoding
    )

  def run(self, bench):
    """Returns the figures, each with its interval over queries.

    Of options accuracy, macro F1, calibration error, and what accuracy another
    score gives for nothing; of a text accuracy, which is that each of its
    tokens is the likeliest, and perplexity, of texts; or those of `metrics`.
    And how many queries there are, and demonstrations a query on average.
    """
    task = bench.task(self.task)
    if not isinstance(task.objective, objectives.PredictsNext):
      raise UserError(f'evaluator few_shot: task {task.name!r} is not causal')
    source = self.data or plugins.build(
      'data.sources', bench.config.tasks[task.name].data
    )
    queries = self._examples(source, self.split)
    pool = []
    if self.shots:
      same = self.pool == self.split
      pool = queries if same else self._examples(source, self.pool)
    numbers, shown = self._shown(bench, queries, pool)
    if bench.enough(len(numbers)):
      numbers, shown = numbers[:FEW], shown[:FEW]
    if not numbers:
      raise UserError('evaluator few_shot: every example is a demonstration')
    asked = [queries[i] for i in numbers]
    texts = self._texts(pool)
    plans = [[texts[j] for j in own] for own in shown]
    prompter = prompting.Prompter(
      bench.tokenizer,
      bench.frame or framing.document(bench.tokenizer),
      self.separator,
      self.instruction,
    )
    if self.score == 'generate':
      made = self._write(bench, task, prompter, asked, plans)
    else:
      made = ranking.Ranking(self, bench, prompter)(asked, plans)
    figures, rows, dropped = made
    self._say(dropped, len(asked))
    bench.keep(
      [
        {'number': i, 'demonstrations': own[lost:]} | example.told | row
        for i, own, lost, example, row in zip(
          numbers, shown, dropped, asked, rows
        )
      ]
    )
    kept = sum(map(len, shown)) - sum(dropped)
    return figures | {'examples': len(asked), 'shots': kept / len(asked)}

  def _examples(self, source, split):
    records = source.records(split)
    count = len(records)
    if split == self.split:
      count = min(count, self.limit or count)
    found = []
    for i in range(count):
      try:
        found.append(self._example(records[i]))
      except UserError as e:
        raise UserError(
          f'evaluator few_shot: record {i} of the split {split!r}: {e}'
        ) from e
    if not found:
      raise UserError(f'evaluator few_shot: the split {split!r} is empty')
    return found

  def _example(self, record):
    t = self.filled
    fields = ' '.join(t.read(record, name) for name in t.fields)
    read = functools.partial(choices.Example, *t.fill(record), fields)
    value = template.field(record, self.target)
    if self.verbalisers:
      options = tuple(self.verbalisers.values())
      return read(options, self._place(value))
    if self.options:
      own = template.field(record, self.options)
      right = multiple_choice.Objective().target(
        {'choices': own, 'label': value}
      )
      return read(tuple(t.answer(x, self.options) for x in own), right)
    several = value if isinstance(value, (list, tuple)) else [value]
    texts = tuple(t.answer(one, self.target) for one in several)
    if self.score != 'generate' and not any(texts):
      raise UserError(f'its field {self.target!r} has no text to predict')
    return read(references=texts)

  def _place(self, label):
    # Of a label the number of its verbaliser.
    if isinstance(label, float) and label.is_integer():
      label = int(label)  # tables have no others
    names = list(self.verbalisers)
    if str(label) not in names:
      raise UserError(
        f'the label {reprlib.repr(label)} has no verbaliser; those that have '
        f'one are {", ".join(names)}'
      )
    return names.index(str(label))

  def _shown(self, bench, queries, pool):
    """Returns (numbers of the queries, [numbers of what each is shown])."""
    everyone, same = list(range(len(queries))), self.pool == self.split
    if not self.shots:
      return everyone, [[] for _ in everyone]
    rng = np.random.default_rng([self.seed])
    names, labels = list(self.verbalisers), None
    if self.balanced:
      labels = [names[example.right] for example in pool]
    if not self.encoder:
      drawn = demonstrations.draw(len(pool), self.shots, rng, labels)
      drawn = demonstrations.ordered(drawn, self.order, self.seed)
      left = [i for i in everyone if not (same and i in drawn)]
      return left, [drawn] * len(left)
    alike = self._alike(bench, queries, pool)
    if same:
      np.fill_diagonal(alike, -np.inf)
    shown = []
    for row in alike:
      chosen = demonstrations.nearest(row, self.shots, rng, labels)
      shown.append(demonstrations.ordered(chosen, self.order, self.seed))
    return everyone, shown

  def _alike(self, bench, queries, pool):
    """Returns cosines of fields' vectors: float32 [queries, pool]."""
    texts = [example.fields for example in (*queries, *pool)]
    vectors = bench.vectors_by(self.encoder, texts)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True).clip(1e-12)
    return vectors[: len(queries)] @ vectors[len(queries) :].T

  def _texts(self, pool):
    """Returns each example of the pool as it is shown, with an answer."""
    said = tuple((self.shown or self.verbalisers).values())
    rng = np.random.default_rng([self.seed, 1])
    found = []
    for example in pool:
      options, answer = said or example.options, example.answer
      if options:
        right = example.right
        if self.labels == 'random':
          right = rng.integers(len(options))
        answer = options[right]
      found.append(example.filled(answer))
    return found

  def _write(self, bench, task, prompter, asked, plans):
    """Returns (figures, [what is said of each query], [shots left out])."""
    generator = bench.writer(task, self._decoding())
    try:
      prompts = [
        prompter.open(shots, example.before, generator.room)
        for example, shots in zip(asked, plans)
      ]
      prompting.say_cut(prompts, generator.room)
      written = generation.write(
        generator,
        [list(prompt.context) for prompt in prompts],
        self.batch_size or bench.config.batch_size,
      )
    finally:
      generator.take(None)
    texts = [stream.clean(generator, tokens).strip() for tokens in written]
    found = [self._parsed(text) for text in texts]
    rows = [
      {'prompt': prompt.text, 'written': text, 'parsed': own}
      for prompt, text, own in zip(prompts, texts, found)
    ]
    figures = {}
    if self.chooses:
      numbers = [
        _number(own, example.options) for own, example in zip(found, asked)
      ]
      right = [example.right for example in asked]
      size = len(self.verbalisers)
      figures = choices.of_found(numbers, right, size)
      figures['none'] = np.mean([n < 0 for n in numbers])
      rows = [
        a | {'found': n, 'correct': n == k}
        for a, n, k in zip(rows, numbers, right)
      ]
    references = [
      [example.answer] if self.chooses else list(example.references)
      for example in asked
    ]
    figures |= generation.measured(bench, self.metrics, found, references)
    return figures, rows, [prompt.dropped for prompt in prompts]

  def _parsed(self, text):
    if not self.parse:
      return text
    match = re.search(self.parse, text)
    if match is None:
      return ''
    own = match[1] if match.re.groups else match[0]
    return (own or '').strip()

  def _say(self, dropped, count):
    if sum(dropped):
      note(
        f'evaluator few_shot: {sum(dropped)} demonstrations of '
        f'{sum(map(bool, dropped))} of {count} queries have no room, and are '
        'left out from the far end'
      )


def _number(text, options):
  # Of the option that a text is, case aside; -1 is of none.
  known = [option.strip().casefold() for option in options]
  own = text.strip().casefold()
  return known.index(own) if own in known else -1
