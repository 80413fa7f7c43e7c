"""How a Hugging Face folder wants its texts to be written.

`generation_config.json` says it, and in older folders `config.json` does;
what neither says is as transformers.generate has it (GenerationConfig, and
`_get_logits_processor` for the order). What a decoding config says comes
before all of that.
"""

from ctxlm import decoding, files, plugins, ranges
from ctxlm.decoding import build
from ctxlm.families.family import Id, Ids

# What transformers.generate does where nobody says.
DEFAULTS = {
  'do_sample': False,
  'num_beams': 1,
  'num_return_sequences': 1,
  'length_penalty': 1.0,
  'early_stopping': False,
  'temperature': 1.0,
  'top_k': 50,
  'top_p': 1.0,
  'typical_p': 1.0,
  'repetition_penalty': 1.0,
}
NEW_TOKENS = 20

# Read here, or by ctxlm.inference.writing.
READ = {
  *DEFAULTS,
  *('max_length', 'max_new_tokens', 'min_length', 'min_new_tokens'),
  *('stop_strings', 'min_p', 'no_repeat_ngram_size', 'bad_words_ids'),
  *('forced_bos_token_id', 'forced_eos_token_id', 'suppress_tokens'),
  *('begin_suppress_tokens', 'guidance_scale', 'num_beam_groups'),
  *('diversity_penalty', 'penalty_alpha'),
  *('eos_token_id', 'decoder_start_token_id'),
}
# They change no text: of outputs, speed, drafts and files.
HARMLESS = {
  *('use_cache', 'cache_implementation', 'cache_config', 'max_cache_len'),
  *('return_legacy_cache', 'low_memory', 'prefill_chunk_size'),
  *('output_attentions', 'output_hidden_states', 'output_scores'),
  *('output_logits', 'return_dict_in_generate', 'remove_invalid_values'),
  *('pad_token_id', 'bos_token_id', 'compile_config', 'disable_compile'),
  *('continuous_batching_config', 'use_mtp', 'is_assistant'),
  *('num_assistant_tokens', 'num_assistant_tokens_schedule'),
  *('assistant_confidence_threshold', 'prompt_lookup_num_tokens'),
  *('max_matching_ngram_size', 'assistant_early_exit', 'speculation_type'),
  *('assistant_lookbehind', 'target_lookbehind', 'assistant_ensemble_weight'),
  *('transformers_version', '_from_model_config'),
}
# Named where they are not one of these values, at which they do nothing.
OTHERS = {
  'encoder_repetition_penalty': (1.0,),
  'encoder_no_repeat_ngram_size': (0,),
  'exponential_decay_length_penalty': (),
  'sequence_bias': (),
  'watermarking_config': (),
  'token_healing': (False,),
  'max_time': (),
  'constraints': (),
  'force_words_ids': (),
  'dola_layers': (),
  'renormalize_logits': (False,),
  'top_h': (),
  'epsilon_cutoff': (0.0,),
  'eta_cutoff': (0.0,),
}
# What those are that are read here; what becomes an option is checked there.
KINDS = {
  'do_sample': bool,
  'early_stopping': bool | str,
  'stop_strings': str | tuple[str, ...],
  'bad_words_ids': tuple[tuple, ...],
  **dict.fromkeys(
    ('num_beams', 'num_beam_groups', 'num_return_sequences'), ranges.Count
  ),
  **dict.fromkeys(('max_length', 'max_new_tokens'), ranges.Count),
  **dict.fromkeys(('min_length', 'min_new_tokens'), ranges.Whole),
  **dict.fromkeys(('no_repeat_ngram_size', 'top_k'), ranges.Whole),
  **dict.fromkeys(
    (
      *('length_penalty', 'temperature', 'top_p', 'typical_p', 'min_p'),
      *('repetition_penalty', 'guidance_scale', 'penalty_alpha'),
      'diversity_penalty',
    ),
    float,
  ),
  **dict.fromkeys(('forced_bos_token_id', 'decoder_start_token_id'), Id),
  **dict.fromkeys(
    (
      *('eos_token_id', 'forced_eos_token_id'),
      *('suppress_tokens', 'begin_suppress_tokens'),
    ),
    Ids,
  ),
}
SAMPLING = ('top_h', 'epsilon_cutoff', 'eta_cutoff')  # these of OTHERS


def read(folder):
  """Returns what a folder says of generation: {key: value}, no None.

  Args:
    folder: pathlib.Path with config.json or generation_config.json; or None.
  """
  if folder is None:
    return {}
  known = READ | HARMLESS | {*OTHERS}
  both = []
  for name in ('config.json', 'generation_config.json'):
    path = folder / name
    said = files.read_json(path) if path.is_file() else {}
    ranges.check_json(KINDS, said, f'{path}: ')
    both.append({k: v for k, v in said.items() if v is not None})
  old, new = both
  if new:  # of the old one's only which tokens they are
    ids = ('eos_token_id', 'decoder_start_token_id')
    return {k: old[k] for k in ids if k in old} | new
  return {k: v for k, v in old.items() if k in known}


def complete(config, said, model, eos_ids):
  """Returns a decoding config in which nothing is None.

  Args:
    config: see ctxlm.decoding.unsaid.
    said: of `read`; None where the model is no Hugging Face folder's.
    model: ctxlm.decoding.Model.
    eos_ids: tokens that end a text.

  Returns:
    (ConfigDict, names of what the folder says and can't be done here).
  """
  c = decoding.base()
  for key, value in config.items():
    if value is not None:
      c[key] = value
  if said is None:
    return c, []
  s = DEFAULTS | said
  unsupported = [
    k for k, harmless in OTHERS.items() if k in s and s[k] not in harmless
  ]
  asked = {block['name'] for block in c.processors}
  draws = s['do_sample'] or bool(asked & {*decoding.FILTERS})
  draws |= (config.num_samples or 1) > 1
  if config.strategy is None:
    c.strategy = _strategy(s, draws)
  elif c.strategy['name'] == 'beam':
    c.strategy = _beams(said) | c.strategy.to_dict()
  strategy = plugins.build('decoding.strategies', c.strategy)
  if not strategy.random:
    unsupported = [k for k in unsupported if k not in SAMPLING]
  if strategy.siblings == 1 and 'renormalize_logits' in unsupported:
    unsupported.remove('renormalize_logits')  # no sum of them is compared
  if config.num_samples is None:
    apart = strategy.random and strategy.results == 1
    c.num_samples = s['num_return_sequences'] if apart else 1
    if s['num_return_sequences'] != c.num_samples * strategy.results:
      unsupported.append('num_return_sequences')
  if config.max_new_tokens is None:
    c.max_new_tokens, c.max_length = _lengths(said, model)
  if config.guidance is None and 'guidance_scale' in s:
    if model.encoder_decoder:
      unsupported.append('guidance_scale')
    else:
      c.guidance = float(s['guidance_scale'])
  if not config.stop and s.get('stop_strings'):
    strings = s['stop_strings']
    c.stop = (strings,) if isinstance(strings, str) else tuple(strings)
  own = [b for b in _processors(s, model, eos_ids) if b['name'] not in asked]
  if s.get('forced_bos_token_id') is not None and not model.encoder_decoder:
    unsupported.append('forced_bos_token_id')
  blocks = list(c.processors)
  for block in _filters(s, said) if strategy.random else ():
    if block['name'] not in asked:
      _insert(blocks, block)
  c.processors = tuple(own + blocks)
  return c, unsupported


def _strategy(s, draws):
  if s['num_beams'] > 1:
    return {'name': 'beam', 'sample': draws} | _beams(s)
  if draws:
    return {'name': 'sample'}
  if s.get('penalty_alpha') and s['top_k'] > 1:
    name = 'contrastive_search'
    return {'name': name, 'top_k': s['top_k'], 'alpha': s['penalty_alpha']}
  return {'name': 'greedy'}


def _beams(s):
  names = {
    'num_beams': 'num_beams',
    'length_penalty': 'length_penalty',
    'early_stopping': 'early_stopping',
    'num_return_sequences': 'num_best',
    'num_beam_groups': 'num_groups',
    'diversity_penalty': 'diversity_penalty',
  }
  options = {ours: s[theirs] for theirs, ours in names.items() if theirs in s}
  if options.get('num_beams') == 1:  # it says that there is no search
    del options['num_beams']
  return options


def _lengths(said, model):
  # (new tokens at most, all tokens at most or 0)
  if 'max_new_tokens' in said:
    return said['max_new_tokens'], 0
  if 'max_length' in said:
    return said['max_length'], said['max_length']
  return NEW_TOKENS, model.context_length or 0


def _processors(s, model, eos_ids):
  blocks = []

  def add(name, **options):
    blocks.append({'name': name, **options})

  if s['repetition_penalty'] != 1:
    add('repetition', penalty=float(s['repetition_penalty']))
  if s.get('no_repeat_ngram_size', 0) > 0:
    add('no_repeat_ngram', size=s['no_repeat_ngram_size'])
  ends = [[i] for i in eos_ids]
  words = [w for w in s.get('bad_words_ids', ()) if list(w) not in ends]
  if words:
    add('bad_words', words=tuple(map(tuple, words)))
  if s.get('min_length', 0) > 0 and 'min_new_tokens' not in s:
    add('min_length', count=s['min_length'])
  if s.get('min_new_tokens', 0) > 0:
    add('min_new_tokens', count=s['min_new_tokens'])
  first, last = s.get('forced_bos_token_id'), s.get('forced_eos_token_id')
  first = () if first is None or not model.encoder_decoder else (first,)
  last = tuple(last) if isinstance(last, list) else last
  if first or last is not None:
    add('forced', first=first, last=last)
  never = tuple(s.get('suppress_tokens', ()))
  begin = tuple(s.get('begin_suppress_tokens', ()))
  if never or begin:
    add('suppress', tokens=never, first=begin, place=len(first))
  return blocks


def _filters(s, said):
  values = {
    'temperature': s['temperature'],
    # The reference's 50 is of a folder that draws by itself.
    'top_k': s['top_k'] if s['do_sample'] else said.get('top_k', 0),
    'top_p': s['top_p'],
    'min_p': s.get('min_p'),
    'typical': s['typical_p'],
  }
  nothing = {'temperature': 1, 'top_k': 0, 'top_p': 1, 'typical': 1}
  for name in decoding.FILTERS:
    value = values[name]
    if value is not None and value != nothing.get(name):
      yield build.parse('decoding.processors', f'{name}:{value}')


def _insert(blocks, block):
  # Before the filters that the reference applies after it.
  rank = [*decoding.FILTERS].index(block['name'])
  later = [*decoding.FILTERS][rank + 1 :]
  at = (i for i, b in enumerate(blocks) if b['name'] in later)
  blocks.insert(next(at, len(blocks)), block)
