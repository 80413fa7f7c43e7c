"""Numbers out of their range, choices that there aren't, sizes too large."""

import re

from tests.mistakes import Case, train
from tests.mistakes.configs import recipe

TASK = 'config.tasks.causal'
# The flag, and what its line says the value must be.
CAUSAL = {
  'config.seed=4294967296': 'from 0 to 4294967295',
  'config.seed=9223372036854775808': 'from 0 to 4294967295',
  'config.seed=-1': 'from 0 to',
  'config.num_steps=-1': '0 or more',
  'config.batch_size=0': '1 or more',
  'config.accumulation=0': '1 or more',
  'config.max_length=0': '1 or more',
  'config.num_workers=-1': 'from 0 to 256',
  'config.log_every_steps=0': '1 or more',
  'config.optimizer.learning_rate=-1': '0 or more',
  'config.optimizer.clip_norm=-1': '0 or more',
  'config.optimizer.b1=2': '0 or more and less than 1',
  'config.optimizer.b2=nan': '0 or more and less than 1',
  'config.optimizer.eps=-1': '0 or more',
  'config.optimizer.momentum=1.5': '0 or more and less than 1',
  'config.optimizer.final_fraction=nan': '0 or more',
  'config.optimizer.warmup_steps=-5': '0 or more',
  'config.optimizer.ema_decay=1.5': '0 or more and less than 1',
  'config.optimizer.ema_decay=nan': '0 or more and less than 1',
  'config.optimizer.weight_decay=nan': '0 or more',
  'config.optimizer.factors=abc': 'pairs',
  'config.checkpoint.every_steps=-1': '0 or more',
  'config.checkpoint.keep=-1': '1 or more',
  'config.checkpoint.keep=0': '1 or more',
  'config.checkpoint.best_mode=best': "'min' or 'max'",
  'config.parallel.fsdp=0': '1 or more, or -1',
  'config.tokenizer.vocab_size=0': 'from 1 to 4194304',
  'config.tokenizer.kind=bytes': "'bpe', 'wordpiece', ",
  'config.model.num_layers=-1': 'from 0 to 1000',
  'config.model.num_layers=1000000': 'from 0 to 1000',
  'config.model.num_heads=0': '1 or more',
  'config.model.hidden_size=0': '1 or more',
  'config.model.dropout=1.0': '0 or more and less than 1',
  f'{TASK}.weight=nan': 'finite',
}
# Lines of a recipe, the recipe, and what theirs says.
LINES = (
  ('c.model.mlp_dim = -2', 'causal', '0 or more, or -1'),
  ('c.model.window = -1', 'causal', '0 or more'),
  ('c.model.init_stddev = -1', 'causal', '0 or more'),
  ('c.model.embedding_dropout = -2', 'causal', '0 or more and less than 1, or'),
  ("c.model.activation = 'gleu'", 'causal', "'gelu', 'gelu_tanh', "),
  ('c.tasks.causal.objective.prefix = 1.0', 'causal', '0 or more and less'),
  ("c.tasks.mlm.objective.mask = float('nan')", 'mlm', 'from 0 to 1'),
  ('c.tasks.mlm.objective.rate = 0', 'mlm', 'more than 0 and less than 1'),
  ("c.tasks.mlm.objective.unit = 'letter'", 'mlm', "'token', 'word' or 'span'"),
  (
    'c.tasks.contrastive.objective.augment_share = 2',
    'contrastive',
    'from 0 to 1',
  ),
  (
    'c.tasks.contrastive.objective.temperature = 0',
    'contrastive',
    'more than 0',
  ),
  ('c.tasks.contrastive.objective.fields = 4', 'contrastive', '1, 2 or 3'),
  (
    "c.evaluators.a = {'name': 'alignment', 'limit': 0}",
    'contrastive',
    '1 or more',
  ),
)
# What fits a range, and nothing else.
UNFIT = (
  ('c.model.causal = False', 'causal', 'objective predicts each token'),
  ("c.model.name = 'encoder_decoder'", 'causal', 'no encoder-decoder'),
  (
    "c.tasks.causal.objective = {'name': 'seq2seq'}",
    'causal',
    'an encoder-decoder',
  ),
  ('c.batch_size = 1', 'contrastive', 'batch_size=1 must be 2 or more'),
  ("c.tokenizer.kind = 'none'", 'causal', 'the tokenizer knows no text'),
  ("c.tokenizer.kind = 'none'", 'contrastive', 'the tokenizer knows no text'),
  ("c.tokenizer.kind = 'none'", 'mlm', 'a tokenizer with a mask token'),
  ('c.max_length = 1', 'causal', 'max_length must be 2 or more'),
  ('c.max_length = 2', 'contrastive', 'no room for text'),
  ('c.model.num_heads = 5', 'causal', 'divisible by num_heads=5'),
  ('c.model.num_kv_heads = 3', 'causal', 'divisible by num_kv_heads=3'),
  ('c.tasks.mlm.objective.random = 0.5', 'mlm', 'sum to 1 at most'),
  (
    "c.model.position, c.model.head_dim = 'rotary', 3",
    'causal',
    'even head_dim=3',
  ),
  (
    "c.model.update(position='sinusoidal', hidden_size=7, num_heads=1)",
    'causal',
    'even hidden_size=7',
  ),
  (
    "c.model.position, c.model.t5_max_distance = 't5', 9",
    'causal',
    't5_buckets=32 and t5_max_distance=9',
  ),
  # More than any machine has.
  ('c.batch_size = 10**9', 'causal', 'a batch .* takes .*GiB'),
  ('c.max_length = c.model.max_length = 10**9', 'causal', 'a batch .* takes'),
  ('c.model.vocab_size = 10**9', 'causal', 'the model, .*GiB'),
  ('c.model.hidden_size = 10**6', 'causal', 'the model, .* takes'),
  ('c.model.hidden_size = 10**9', 'causal', 'the model, .* takes'),
  ('c.model.type_vocab_size = 10**9', 'causal', 'the model, .* takes'),
)
# Of the other verbs.
GENERATE = ('generate', '--model={run}', '--prompt=the cat')
NESTED = '(' * 500 + 'a' + ')' * 500
WRITE = {
  '--top_k=1.7': 'top_k=1.7 must be a whole number',
  '--top_k=0': 'k=0 must be 1 or more',
  '--top_p=nan': 'p=.nan. must be a number, more than 0 and 1 or less',
  '--temperature=0': "more than 0; .*'greedy'",
  '--temperature=inf': 'must be a number, more than 0',
  '--guidance=nan': 'guidance=nan must be finite',
  '--max_new_tokens=0': 'max_new_tokens',
  '--num_samples=-1': 'num_samples',
  '--seed=2147483648': 'from -2147483648 to 2147483647',
  '--tensor=0': 'tensor',
  '--processor=top_k:1.7': 'k=1.7 must be a whole number, 1 or more',
  '--processor=top_k': "needs 'k'",
  '--processor=bad_words': "needs 'words'",
  '--processor=min_length:-1': 'count=-1 must be 0 or more',
  '--processor=frequency:inf': 'must be a number, finite',
  '--processor=no_repeat_ngram:0': 'size=0 must be from 1 to 1000',
  f'--processor=constrained:pattern="{NESTED}"': 'regular expression',
  '--processor=constrained:schema={text}': 'JSON schema',
  '--processor=constrained:schema=/none.json': '/none.json',
  '--strategy=beam:num_beams=0': 'num_beams=0 must be from 1 to 1000',
  '--strategy=beam:num_best=5': 'more than num_beams=4',
  '--strategy=beam:early_stopping=1': "True, False or 'never'",
  '--strategy=contrastive_search:alpha=1.5': 'alpha=1.5 must be from 0 to 1',
  '--strategy=speculative:length=0': 'length=0 must be from 1 to 64',
}
FILE = ('--input={text}', '--output={tmp}/out')
CASES = [
  *(
    Case(flag, train(flag), f'{re.escape(flag.split("=")[0])}=.* must be .*{w}')
    for flag, w in CAUSAL.items()
  ),
  *(
    Case(
      f'{name}: {line}',
      train(recipe='{tmp}/mine.py'),
      wanted,
      recipe(line, name),
    )
    for lines, must in ((LINES, ' must be .*'), (UNFIT, ''))
    for line, name, wanted in ((a, b, must + c) for a, b, c in lines)
  ),
  *(
    Case(flag[:60], (*GENERATE, flag), wanted) for flag, wanted in WRITE.items()
  ),
  Case(
    'generate --batch_size=0',
    ('generate', '--model={run}', *FILE, '--batch_size=0'),
    'batch_size',
  ),
  Case(
    'fill --top=-1',
    ('fill', '--model={mlm}', '--text=the [MASK]', '--top=-1'),
    'top',
  ),
  Case(
    'embed --max_length=1',
    ('embed', '--model={mlm}', '--input={text}', '--output={tmp}/out.npy')
    + ('--pooling=mean', '--max_length=1'),
    'max_length=1 has no room for text beside 2 special tokens',
  ),
  Case(
    'embed --max_length=-1',
    ('embed', '--model={mlm}', '--input={text}', '--output={tmp}/out.npy')
    + ('--max_length=-1',),
    'max_length',
  ),
  Case(
    'sweep --seeds=0',
    ('sweep', 'tests/toy.py', '--workdir={tmp}/new', '--seeds=0'),
    'seeds',
  ),
  Case(
    'sweep --first_seed=-1',
    ('sweep', 'tests/toy.py', '--workdir={tmp}/new', '--first_seed=-1'),
    'first_seed',
  ),
  Case(
    'sweep --ray_cpus=-1',
    ('sweep', 'tests/toy.py', '--workdir={tmp}/new', '--ray_cpus=-1'),
    'ray_cpus',
  ),
  Case(
    'train --process_id=-1',
    train('process_id=-1', 'num_processes=2', 'coordinator=localhost:1'),
    'process_id',
  ),
]
