"""How parameters are sharded over a mesh."""

# The one table of parameter sharding: the first pattern found in a
# parameter's path gives its last axes' mesh axes. An axis that doesn't divide
# stays whole. Stacked layers (scan) have one more axis in front, never cut.
RULES = (
  (r'token_embed/embedding$', ('tensor', 'fsdp')),
  (r'(query|key|value)/kernel$', ('fsdp', 'tensor', None)),
  (r'(query|key|value)/bias$', ('tensor', None)),
  (r'out/kernel$', ('tensor', None, 'fsdp')),
  (r'(up|gate)/kernel$', ('fsdp', 'tensor')),
  (r'(up|gate)/bias$', ('tensor',)),
  (r'down/kernel$', ('tensor', 'fsdp')),
  (r'lm_head/kernel$', ('fsdp', 'tensor')),
  (r'kernel$', ('fsdp', None)),
  (r'embedding$', (None, 'fsdp')),
)

# What a model carries from batch to batch lies where the batch's rows do.
ROWS = 'memory/'
