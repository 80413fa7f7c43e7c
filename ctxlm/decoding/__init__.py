"""Text from a model, by a strategy that knows one function of it.

    step(tokens [n, t], cache) -> logits [n, t, v], cache

A module here with a frozen dataclass `Strategy` is a plug-in, named in the
decoding config's `strategy`. The contract:

    begin(rules, text, logits, cache) -> state   after the pass over prompts
    advance(rules, step, state) -> state         one step of the loop
    unfinished(state) -> bool [b]                whether there is more to do
    result(rules, state) -> {'tokens', 'lengths', 'logps', ...}

with ctxlm.decoding.text.Text and rules.Rules, and what it asks of the cache:
`siblings` (rows of it for each row of text), `chunk` (tokens of a step),
`keeps_hidden`; `results` (rows of the result for each row), `random`, and
`streams`, whether what is written stays.
"""

import ml_collections


def base():
  """Returns the decoding config with every key."""
  c = ml_collections.ConfigDict()
  # {name, ...}: options of ctxlm.decoding.strategies.NAME.Strategy.
  c.strategy = ml_collections.ConfigDict({'name': 'sample'})
  # [{name, ...}]: options of ctxlm.decoding.processors.NAME.Processor, in the
  # order in which they are applied.
  c.processors = ()
  c.max_new_tokens = 128
  c.num_samples = 1  # of each prompt
  c.seed = 0
  c.stop = ()  # strings that end a text
  c.guidance = 1.0  # scale of classifier-free guidance; 1 is none
  c.negative_prompt = ''  # what it guides away from; '' is no prompt
  c.show_probs = False  # whether each token's probability is kept
  return c
