"""The Python door: a checkpoint that answers for texts, in batches."""

import collections.abc

import jax
import jax.numpy as jnp
import numpy as np

from ctxlm import decoding, models
from ctxlm.context import widened
from ctxlm.data import dialogues, framing
from ctxlm.decoding import build, stream
from ctxlm.errors import UserError
from ctxlm.inference import (
  attention,
  fill,
  loading,
  passes,
  predict,
  score,
  widening,
  writing,
)
from ctxlm.models import feed_forward, heads
from ctxlm.objectives import mlm
from ctxlm.objectives import vectors as vectors_lib
from ctxlm.parallel import pmap as pmap_lib


class LanguageModel:
  """A model with its parameters and its tokenizer, as `ctxlm.load` gives it.

  It unpacks to the three: `model, params, tokenizer = ctxlm.load(DIR)`.

  What is asked of a text may be asked of a list of texts too: then the answer
  is a list, one for each. A text is a string, framed as in `ids`, or a list of
  ids, taken as it is. Texts are padded to a few lengths, each compiled once.

  Attributes:
    folder: pathlib.Path that was opened.
    model: Flax module.
    params: its parameters, float32.
    tokenizer: ctxlm.data.tokenizers.tokenizer.Tokenizer, or None.
  """

  def __init__(self, loaded):
    """Takes what ctxlm.inference.loading.load gives."""
    self._loaded = loaded
    self.folder, self.model = loaded.folder, loaded.model
    self.params, self.tokenizer = loaded.params, loaded.tokenizer
    self._generators, self._embedders, self._predictor = {}, {}, None

  def __iter__(self):
    return iter((self.model, self.params, self.tokenizer))

  def __repr__(self):
    model = self.model
    kind = 'encoder-decoder' if model.encoder_decoder else 'decoder'
    if not model.causal:
      kind = 'encoder'
    if isinstance(model, models.Counts | widened.Widened):
      kind = self._loaded.block['name']
    else:
      kind += f', {model.num_layers} layers of {model.hidden_size}'
    count = sum(x.size for x in jax.tree.leaves(self.params))
    return (
      f'LanguageModel({str(self.folder)!r}: {kind}, '
      f'{model.vocab_size:,} tokens, {count:,} parameters)'
    )

  def ids(self, text):
    """Returns the ids that a text is read as, special tokens included.

    A decoder's begins with what begins a document; an encoder's, and an
    encoder-decoder's source, has its ends.
    """
    return self._each(lambda rows: rows, text)

  def logits(self, text, target=None):
    """Returns float32 [l, v], a row for each of a text's `ids`.

    Of a decoder what follows, of an encoder what stands there; of an
    encoder-decoder what `target`'s next token is, beginning with its first.

    Raises:
      UserError: an encoder without an MLM head, a decoder without that of
        tokens; a target is lacking.
    """
    if self.model.causal:
      loading.need_logits(self._loaded)
    if self.model.encoder_decoder:
      return self._of_targets(_target_logits, text, target)
    function = _next_logits
    if not self.model.causal:
      if not heads.has(self.params, 'mlm'):
        raise UserError(f'{self.folder} has no MLM head, so it has no logits')
      function = _mask_logits
    return self._each(lambda rows: self._asked(function, rows), text)

  def hidden(self, text):
    """Returns float32 [layers + 1, l, m]: the embeddings, and every block's.

    The last one is what the model gives, behind its final norm. Of an
    encoder-decoder they are its encoder's.
    """
    models.need_vectors(self.model)
    widening.need_plain(self._loaded)
    if isinstance(self.model, feed_forward.Model):
      raise UserError('a feed-forward model has no layers of one width')
    return self._each(lambda rows: self._asked(_hidden, rows, axis=1), text)

  def attention(self, text):
    """Returns weights float32 [layers, heads, l, l]; queries before keys.

    Of an encoder-decoder they are its encoder's.

    Raises:
      UserError: the model has no attention.
    """
    return self._each(lambda r: attention.attentions(self._loaded, r), text)

  def score(self, text, target=None):
    """Returns each token's log-probability given those before, float32 [l].

    Natural logarithm; of a string's own tokens, the first one given what
    begins a document (of ids: given the first of them). Of an encoder-decoder
    it is that of `target`, its end included.

    Raises:
      UserError: an encoder has none; a text of no token; a target is lacking.
    """
    if self.model.encoder_decoder:
      return self._of_targets(_target_logps, text, target)
    score.need_causal(self._loaded)

    def scores(rows):
      if min(map(len, rows)) < 2:
        raise UserError('score needs a text of one token or more')
      return score.scores(self._loaded, rows)

    return self._each(scores, text)

  def fill(self, text, top=5):
    """Returns, for each mask of a text, its `top` (token, probability)."""
    if isinstance(text, str):
      return fill.fill(self._loaded, text, top)
    return [fill.fill(self._loaded, one, top) for one in text]

  def embed(self, text, pooling=''):
    """Returns vectors float32 [m], or [n, m] of a list of n strings.

    Args:
      text: string, or list of them.
      pooling: 'cls' or 'mean'; '' is the folder's own.
    """
    if pooling not in self._embedders:
      widening.need_plain(self._loaded)
      self._embedders[pooling] = vectors_lib.Embedder(
        self._loaded, pmap_lib.Pmap(jax.devices()[:1]), pooling
      )
    one = isinstance(text, str)
    vectors = self._embedders[pooling]([text] if one else list(text))
    return vectors[0] if one else vectors

  def predict(self, records):
    """Returns what the model answers, as `ctxlm predict` has it.

    Args:
      records: a record, a dict with the fields that the objective reads; or a
        text, two with a tab between, or a text and its choices; or a list of
        them.

    Returns:
      A dict, such as {'label': ..., 'probabilities': {...}}, or {'text'} of a
      model without a head; or a list of them.

    Raises:
      UserError: the model answers nothing, or a record lacks what is asked
        about; says which.
    """
    if self._predictor is None:
      self._predictor = predict.of_loaded(
        self._loaded, pmap_lib.Pmap(jax.devices()[:1])
      )
    many = isinstance(records, collections.abc.Iterable)
    one = not many or isinstance(records, (str, dict))
    answers = predict.numbered(
      self._predictor, [records] if one else list(records)
    )
    return answers[0] if one else answers

  def generate(self, text, **settings):
    """Returns the text that follows, or a list of them of num_samples.

    Args:
      text: the prompt, or an encoder-decoder's source.
      **settings: keys of ctxlm.decoding.base, such as max_new_tokens=20,
        seed=1, stop=('.',); strategy='beam:num_beams=4' and
        processors=('repetition:1.2',) as the command line has them; and the
        filters temperature, top_k, top_p, min_p, typical. What is left out is
        as the folder says.
    """
    generator, encode = self._generator(settings)

    return self._each(lambda rows: _texts(generator, rows), text, encode)

  def chat(self, turns, **settings):
    """Returns the answer to a dialogue, or a list of them to a list of them.

    Args:
      turns: the other's first turn, or a list: theirs and ours by turns, or
        of {'role', 'content'}; or a list of such lists. A last turn of the
        assistant's goes on.
      **settings: see `generate`.
    """
    # Not the 20 of a folder that says nothing.
    settings.setdefault('max_new_tokens', decoding.base().max_new_tokens)
    generator, encode = self._generator(settings, turns=True)
    turns = [turns] if isinstance(turns, str) else list(turns)
    one = not turns or isinstance(turns[0], (str, dict))
    rows = [
      encode(dialogues.alternating(x, 'user') if _is_texts(x) else x)
      for x in ([turns] if one else turns)
    ]
    answers = _texts(generator, rows)
    return answers[0] if one else answers

  def _each(self, function, text, encode=None):
    # function(rows of ids) -> list, on one text or a list of them.
    one = isinstance(text, str) or _is_ids(text)
    texts = [text] if one else list(text)
    if not texts:
      return []
    out = function([self._row(x, encode) for x in texts])
    return out[0] if one else out

  def _row(self, text, encode=None):
    if not isinstance(text, str):
      ids = [int(i) for i in text]
    else:
      loading.need_tokenizer(self._loaded)
      ids = (encode or self._framed)(text)
    limit = self.model.context_length
    if not ids:
      raise UserError('a text of no token')
    if limit is not None and len(ids) > limit:
      raise UserError(f'a text of {len(ids)} tokens; the model sees {limit}')
    if not 0 <= min(ids) <= max(ids) < self.model.vocab_size:
      raise UserError(f'ids are 0 to {self.model.vocab_size - 1}')
    return ids

  def _framed(self, text):
    t = self.tokenizer
    return framing.reading(t, self.model)(t.encode(text))

  def _asked(self, function, rows, axis=0):
    # Results without their padding along `axis`.
    out = self._loaded.passes(function, [{'tokens': row} for row in rows])
    cut = (slice(None),) * axis
    return [x[(*cut, slice(len(r)))] for r, x in zip(rows, out)]

  def _of_targets(self, function, text, target):
    if target is None:
      raise UserError('an encoder-decoder reads a text and writes a target')
    start = list(writing.decoder_start(self._loaded))
    sources = self._each(lambda rows: rows, text)
    targets = self._each(lambda rows: rows, target)
    one = isinstance(text, str) or _is_ids(text)
    if one:
      sources, targets = [sources], [targets]
    if len(sources) != len(targets):
      raise UserError(f'{len(sources)} texts have {len(targets)} targets')
    rows = [
      {'tokens': s, 'decoder': [*start, *t][: len(t)], 'targets': t}
      for s, t in zip(sources, targets)
    ]
    out = self._loaded.passes(function, rows)
    out = [x[: len(t)] for x, t in zip(out, targets)]
    return out[0] if one else out

  def _generator(self, settings, turns=False):
    key = repr(sorted(settings.items())), turns
    if key not in self._generators:
      config = build.config_of(settings)
      self._generators[key] = writing.generator_of(
        self._loaded, config, turns=turns
      )
    return self._generators[key]


def _texts(generator, rows):
  # What follows each row of ids: a text, or a list of those of num_samples.
  texts = [
    [stream.clean(generator, one['tokens']) for one in own]
    for own in generator(rows)
  ]
  return texts if generator.results > 1 else [own[0] for own in texts]


def _is_texts(turns):
  return all(isinstance(turn, str) for turn in turns)


def _is_ids(text):
  return (
    len(text) > 0 and np.ndim(text[0]) == 0 and not isinstance(text[0], str)
  )


def _next_logits(apply, batch):
  return apply(lambda model: model.logits(passes.read(model, batch)))


def _mask_logits(apply, batch):
  return apply(lambda model: mlm.mlm_logits(model, passes.read(model, batch)))


def _target_logits(apply, batch):
  def forward(model):
    hidden = model(
      batch['tokens'],
      batch['decoder'],
      segment_ids=batch['tokens_used'],
      decoder_segment_ids=batch['decoder_used'],
    )
    return model.logits(hidden)

  return apply(forward)


def _target_logps(apply, batch):
  logps = jax.nn.log_softmax(_target_logits(apply, batch))
  return passes.of_targets(logps, batch)


def _hidden(apply, batch):
  def forward(model):
    tokens = batch['tokens']
    positions = jnp.arange(tokens.shape[1])[None]
    embedded = model.inputs(tokens, positions, None, None)
    return embedded, passes.read(model, batch)

  (embedded, last), sown = apply(forward, mutable=['intermediates'])
  blocks = passes.layers_of(sown, 'hidden')
  layers = [embedded[None], blocks[:-1], last[None]]
  return jnp.moveaxis(jnp.concatenate(layers), 0, 1).astype(jnp.float32)
