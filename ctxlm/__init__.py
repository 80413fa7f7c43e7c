"""ctxlm: language models that learn from context, in JAX and Flax."""

__version__ = '0.1.0'


def load(folder, **options):
  """Loads a Hugging Face folder, a model folder or a run folder.

  Args:
    folder: path.
    **options: of the model, in place of the folder's own, such as
      dtype='bfloat16'; and `placement`, a parallel.Mesh, into whose shards the
      parameters are read.

  Returns:
    (model, params, tokenizer): a Flax module, its parameters in float32, and
    a ctxlm.data.tokenizers.tokenizer.Tokenizer, or None where the folder has
    none.

  Raises:
    ctxlm.errors.UserError: the folder can't be read; one line says why.

  >>> model, params, tokenizer = ctxlm.load(DIR)
  >>> tokenizer.decode(tokenizer.encode('the cat'))
  'the cat'
  """
  from ctxlm.inference import loading

  loaded = loading.load(folder, **options)
  return loaded.model, loaded.params, loaded.tokenizer
