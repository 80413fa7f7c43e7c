"""ctxlm: language models that learn from context, in JAX and Flax.

A checkpoint is opened by `load`, whoever wrote it: a run folder of `ctxlm
train`, a model folder of `ctxlm convert`, or one of Hugging Face or
sentence-transformers; or a GGUF file.

>>> lm = ctxlm.load(DIR)
>>> lm
LanguageModel('...': decoder, 1 layers of 32, ... tokens, ... parameters)
>>> lm.tokenizer.pieces(lm.ids('the cat'))
['<|endoftext|>', 't', 'he', ' ', 'c', 'a', 't']
>>> lm.logits('the cat').shape == (len(lm.ids('the cat')), lm.model.vocab_size)
True

A list of texts has a list of answers; ids may stand for a text:

>>> a, b = lm.score(['the cat', 'the cat sees the moon'])  # log p of each token
>>> bool(abs(a - b[: len(a)]).max() < 1e-5)
True
>>> lm.score(lm.ids('the cat')).tolist() == a.tolist()
True
>>> [x.shape[0] for x in lm.hidden(['the cat', 'the moon'])]  # layers + 1
[2, 2]
>>> lm.attention('the cat').shape  # layers, heads, queries, keys
(1, 2, 7, 7)
>>> text = lm.generate('the cat', strategy='greedy', max_new_tokens=5)
>>> text == lm.generate(['the cat'], strategy='greedy', max_new_tokens=5)[0]
True

A masked model fills, one of sentences gives vectors (`lm.fill`, `lm.embed`),
one of dialogues answers (`lm.chat`), and one with a head says what it learned:
classes, scores, tags, choices (`lm.predict`). The parts are there for what this
has no method for, as Flax and optax take them:

>>> model, params, tokenizer = lm
>>> hidden = model.apply({'params': params}, **tokenizer(['the cat', 'a moon']))
>>> hidden.shape[0]
2

To train, see `ctxlm.config`, and the commands: `ctxlm help`.
"""

__version__ = '0.1.0'


def load(folder, context=(), **options):
  """Loads a Hugging Face folder, a model folder, a run folder or a GGUF file.

  Args:
    folder: path.
    context: what is mixed with the model's next-token distribution, as the
      commands' --context has it: ('neural_cache:theta=0.3',).
    **options: of the model, in place of the folder's own, such as
      dtype='bfloat16'; and `placement`, a parallel.Mesh, into whose shards the
      parameters are read; and `allow_code`, modules that the folder may name
      and so run: ('mylab',).

  Returns:
    ctxlm.inference.language_model.LanguageModel, which unpacks to (model,
    params, tokenizer): a Flax module, its parameters in float32, and a
    Tokenizer, or None where the folder has none.

  Raises:
    ctxlm.errors.UserError: the folder can't be read; one line says why.

  >>> model, params, tokenizer = ctxlm.load(DIR)
  >>> tokenizer.decode(tokenizer.encode('the cat'))
  'the cat'
  >>> lm = ctxlm.load(DIR, context=['neural_cache:theta=0.1,weight=0.2'])
  >>> lm.score('the cat').shape
  (6,)
  """
  from ctxlm.inference import language_model, loading, widening

  loaded = loading.load(folder, **options)
  return language_model.LanguageModel(widening.widen(loaded, context))
