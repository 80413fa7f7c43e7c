r"""How a scene goes on, HellaSwag (Zellers et al. 2019): one of four endings.

The argument is the authors' file of the validation set, with activity_label,
ctx_a, ctx_b, ctx, endings and label a line; behind a comma, the protocol:

ctxlm evaluate --model gpt2 \
  --few_shot configs/tasks/hellaswag.py:hellaswag_val.jsonl
ctxlm evaluate --model gpt2 \
  --few_shot configs/tasks/hellaswag.py:hellaswag_val.jsonl,completion

lm-evaluation-harness's, which is the first, puts the activity before, takes
marks in brackets out, and divides by characters (here by bytes, as its
acc_bytes; endings are nearly all ASCII): GPT-2 124M has 0.3114 there, and
0.2892 undivided, which is accuracy_sum here. In completion style the text is as
it stands, and an ending's log-probability is divided by its tokens: 0.2955, and
0.2859 undivided.
"""

# What lm-evaluation-harness does to a query and to endings.
CLEAN = ((r' \[title\]', '. '), (r'\[.*?\]', ''), ('  ', ' '))


def get_task(argument='hellaswag_val.jsonl'):
  """Returns the evaluator's block."""
  file, _, protocol = argument.partition(',')
  if protocol not in ('', 'completion'):
    raise ValueError(f"{protocol!r} is no protocol: '' or 'completion'")
  block = {
    'name': 'few_shot',
    'data': {'name': 'files', 'split_patterns': {'validation': file}},
    'options': 'endings',
  }
  if protocol:
    return block | {'template': '{ctx} {answer}', 'score': 'token'}
  return block | {
    'template': '{activity_label}: {ctx_a} {ctx_b|capitalize} {answer}',
    'clean': CLEAN,
    'score': 'byte',
  }
