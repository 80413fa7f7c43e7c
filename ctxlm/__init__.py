"""ctxlm: language models that learn from context, in JAX and Flax."""

__version__ = '0.1.0'
