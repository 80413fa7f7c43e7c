"""A decoding config made into a strategy and its rules."""

import ast
import re

from ctxlm import plugins, ranges
from ctxlm.decoding import FILTERS, Config, base, unsaid
from ctxlm.decoding.grammar import automaton
from ctxlm.decoding.processors.vocabulary import several
from ctxlm.decoding.rules import Rules
from ctxlm.errors import UserError, note


def build(config, *, tokenizer, vocab_size, eos_ids, pad_id):
  """Returns (strategy, Rules) of a config; see ctxlm.decoding.base.

  Args:
    config: mapping with all of base's keys.
    tokenizer: ctxlm.data.tokenizers.tokenizer.Tokenizer, or None.
    vocab_size: the model's.
    eos_ids: tokens that end a text.
    pad_id: what stands after the end.

  Raises:
    UserError: an unknown name, or a value that can't be.
  """
  check(config)
  strategy = plugins.build('decoding.strategies', config.strategy)
  if config.num_samples > 1 and not strategy.random:
    raise UserError(
      f'num_samples={config.num_samples}: the strategy '
      f'{config.strategy["name"]!r} draws nothing, so all would be equal'
    )
  if strategy.keeps_hidden and strategy.siblings > vocab_size:
    raise UserError(
      f'top_k={strategy.siblings} is more than the {vocab_size} tokens of the '
      'vocabulary'
    )
  idle = {'temperature', 'top_k', 'top_p', 'min_p'}
  idle &= {block['name'] for block in config.processors}
  if config.strategy['name'] == 'greedy' and idle:
    note(f'{", ".join(sorted(idle))}: greedy draws nothing, so it is the same')
  stop, ends = None, tuple(eos_ids)
  if config.stop:
    if tokenizer is None:
      raise UserError('stop strings need a tokenizer')
    strings = several(config.stop)
    ends = tuple(dict.fromkeys([*ends, *_special(strings, tokenizer)]))
    texts = list(tokenizer.token_bytes)
    texts += [None] * (vocab_size - len(texts))
    # A text that is tidied is cut when it has ended: its tokens don't tell.
    if not tokenizer.tidies:
      stop = automaton.Stop(strings, texts, tokenizer.strips_first)
  # Of drawn beams one must be left beside the ends.
  least = 1 + len(ends) if strategy.siblings > 1 and strategy.random else 1
  given = dict(
    tokenizer=tokenizer,
    vocab_size=vocab_size,
    eos_ids=ends,
    max_new_tokens=config.max_new_tokens,
    least=least,
  )
  processors = tuple(
    plugins.build('decoding.processors', block, **given)
    for block in config.processors
  )
  return strategy, Rules(processors, ends, pad_id, stop, config.show_probs)


def _special(strings, tokenizer):
  # Ids of the stop strings that are special tokens, which are no text.
  ids = []
  for string in strings:
    for entry, i in tokenizer.special_entries.items():
      if entry == string:
        ids.append(i)
      elif entry and entry in string:
        raise UserError(
          f'stop: {string!r} holds the special token {entry!r}, which stands '
          'for no text: give it alone'
        )
  return ids


def check(config):
  """Raises UserError for keys that are not known and values that can't be."""
  known = base()
  for key in config:
    if key not in known:
      raise UserError(
        f'decoding.{key} is unknown.{plugins.suggest(key, known)}'
      )
  for key in known:
    if key not in config:
      raise UserError(f'decoding.{key} is missing: start from decoding.base()')
  ranges.check(Config, {k: v for k, v in config.items() if v is not None})
  if not all(isinstance(s, str) and s for s in several(config.stop)):
    raise UserError('stop: strings of one character or more')
  if config.negative_prompt and config.guidance == 1:
    raise UserError(
      'negative_prompt is what guidance goes away from: give guidance, such as '
      '1.5'
    )
  if config.strategy is not None:
    plugins.check('decoding.strategies', config.strategy)
  for block in config.processors:
    plugins.check('decoding.processors', block)


def config_of(settings):
  """Returns the decoding config of a person's settings; what is unsaid is None.

  Args:
    settings: {key: value}: keys of decoding.base, a strategy and processors as
      blocks or as `parse` reads them, and the FILTERS, which come after the
      processors.

  Raises:
    UserError: an unknown key, or a value that can't be.
  """
  c, settings = unsaid(), dict(settings)
  values = {name: settings.pop(name, None) for name in FILTERS}
  strategy = settings.pop('strategy', None)
  if strategy is not None:
    c.strategy = _block('decoding.strategies', strategy)
  said = [*several(settings.pop('processors', ()))]
  said += [f'{k}:{v}' for k, v in values.items() if v is not None]
  c.processors = tuple(_block('decoding.processors', one) for one in said)
  for key, value in settings.items():
    if key not in c:
      known = (*base(), *FILTERS)
      raise UserError(f'{key} is unknown.{plugins.suggest(key, known)}')
    one = key == 'stop' and isinstance(value, str)
    c[key] = (value,) if one else value
  return c


def parse(kind, text):
  """Returns the block of a plug-in written as NAME:VALUE or NAME:key=value,...

  One value is that of the plug-in's first option: `top_k:50`,
  `beam:num_beams=4,length_penalty=0.8`. Words that are no Python literal are
  strings.

  Raises:
    UserError: it is not so written.

  >>> parse('context', 'interpolate:runs/a,weight=0.3')
  {'name': 'interpolate', 'model': 'runs/a', 'weight': 0.3}
  """
  name, _, rest = text.partition(':')
  block = {'name': name}
  if not rest:
    return block
  try:
    call = ast.parse(f'f({rest})', mode='eval').body
    values = [_value(x) for x in call.args]
    named = {k.arg: _value(k.value) for k in call.keywords}
  except (SyntaxError, ValueError, AttributeError):
    # Texts such as paths, which no Python is: up to the next option's name.
    known = plugins.options(plugins.find(kind, name))
    parts = re.split(rf',(?=(?:{"|".join(known)})=)', rest)
    values = [] if parts[0].partition('=')[0] in known else [parts.pop(0)]
    both = (part.partition('=') for part in parts)
    named = {key: _literal(value) for key, _, value in both}
  first = plugins.options(plugins.find(kind, name))[: len(values)]
  if len(first) < len(values):
    raise UserError(f'{text!r}: {name} has no so many options')
  return block | dict(zip(first, values, strict=True)) | named


def _block(kind, said):
  return parse(kind, said) if isinstance(said, str) else said


def _literal(text):
  try:
    return _value(ast.parse(text, mode='eval').body)
  except (SyntaxError, ValueError):
    return text


def _value(node):
  return node.id if isinstance(node, ast.Name) else ast.literal_eval(node)
