r"""The last word of a passage, LAMBADA (Paperno et al. 2016).

The argument is OpenAI's file of the test set, {"text": ...} a line:

ctxlm evaluate --model gpt2 \
  --few_shot configs/tasks/lambada.py:lambada_test.jsonl

Format and protocol: lm-evaluation-harness's lambada_openai, the word behind the
last space, right if each of its tokens is the likeliest; perplexity is of
words. GPT-2 124M has accuracy 0.3256 and perplexity 40.06 there. (Radford et
al. 2019 have 0.4599 and 35.13 by another protocol.)
"""


def get_task(file='lambada_test.jsonl'):
  """Returns the evaluator's block."""
  return {
    'name': 'few_shot',
    'data': {'name': 'files', 'split_patterns': {'validation': file}},
    'template': '{text|without_last_word} {answer}',
    'target': 'text|last_word',
  }
