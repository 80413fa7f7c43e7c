"""The tensors of a reference checkpoint, as a family's parameters."""

import re

import jax
import jax.numpy as jnp
import numpy as np

from ctxlm.errors import UserError
from ctxlm.families import rules
from ctxlm.families.formats import tensors


class Source:
  """The tensors of a checkpoint, as a family names them.

  Attributes:
    unknown: what the names of tensors begin with that are neither the body's
      nor those of a head that is known here; set by `places`.
  """

  def __init__(self, family, weights, architectures=()):
    """Takes them.

    Args:
      family: family.Family.
      weights: {their name: tensor}.
      architectures: of config.json; where two heads have a tensor of the same
        name, the class tells which it is.
    """
    self.unknown = []
    self._family = family
    self._architectures = architectures or ()
    ignored = [re.compile(r) for r in family.ignored]
    own = next(iter(self._architectures), '')
    prefix = family.prefixes.get(own, family.prefix)
    self._tensors = {
      renamed(name).removeprefix(prefix): x
      for name, x in weights.items()
      if not any(r.search(name) for r in ignored)
    }

  def options(self, block):
    """Returns the options that the file decides, whatever config.json says."""
    options = {'tie_embeddings': self._tied(block)}
    bias = self._family.place('final_bias/bias', (1,), block)
    if bias:
      options['logits_bias'] = bias[0].names[0] in self._tensors
    return options

  def _tied(self, block):
    if not block['tie_embeddings']:
      return False
    head, embedding = (
      next((self._tensors[n] for n in p.names if n in self._tensors), None)
      for p in (
        self._family.place(path, (1, 1), block)[0]
        for path in ('lm_head/kernel', 'inputs/token_embed/embedding')
      )
    )
    # A head that differs was trained so.
    return head is None or embedding is None or tensors.same(head, embedding)

  def places(self, ours, options):
    """Returns {our path: Read} of what the checkpoint has, heads included.

    Args:
      ours: see `shapes`.
      options: all of the model's.

    Raises:
      UserError: tensors of the body, or some of a head, are missing; one has
        another shape, or is of the body and has no place in the family.
    """
    lacks, reads, heads = {}, {}, {}
    there, head_shapes = self._head_shapes(options)
    left = dict(self._tensors)
    for path, shape in (ours | head_shapes).items():
      parts = []
      for one, part_shape in unstack(path, shape):
        placed = self._family.place(one, part_shape, options, there)
        if placed is None:
          break
        at, head = placed
        parts.append(self._take(at, part_shape, left))
        if parts[-1] is None:
          lacks.setdefault(head, at.names[0])
      else:
        heads.setdefault(head, []).append(path)
        reads[path] = Read(shape, parts, scanned(path))
    for head, name in lacks.items():
      if head == '' or any(
        p is not None for path in heads[head] for p in reads[path].parts
      ):
        raise UserError(f'{name} is missing in the checkpoint')
      for path in heads[head]:
        del reads[path]
    if options['tie_embeddings']:  # the embedding's copy; see `options`
      left.pop(
        self._family.place('lm_head/kernel', (1, 1), options)[0].names[0], None
      )
    body = self._family.begins(options)
    wrong = sorted(name for name in left if name.partition('.')[0] in body)
    if wrong:
      raise UserError(
        f'the checkpoint has {wrong[0]}, which has no place in a '
        f'{self._family.model_type} model'
      )
    self.unknown = sorted({name.partition('.')[0] for name in left})
    return reads

  def _head_shapes(self, options):
    whole = {name: tuple(x.shape) for name, x in self._tensors.items()}
    shapes, there, owner = {}, [], {}
    for head in self._family.heads_of(next(iter(self._architectures), '')):
      table = self._family.heads[head]
      own = {k: v for k, v in table.items() if k.startswith('heads/')}
      names = {
        n.partition('[')[0] for v in own.values() for n in rules.names_of(v)
      }
      if any(owner.get(n) for n in names):
        continue  # what seems to be it is another
      try:
        found = rules.head_shapes(own, whole)
      except LookupError as e:
        raise UserError(f'{e.args[0]} is missing in the checkpoint') from e
      if own and not found:
        continue
      if found and found.keys() <= shapes.keys():
        # Files that earlier releases wrote have a pooler that nothing reads.
        self._drop(names)
        continue
      owner |= dict.fromkeys(names, head)
      shapes |= found
      there.append(head)
    # All heads read hidden states; a lone norm or bias is theirs or the
    # logits'.
    size, known = options['hidden_size'], set(shapes)
    for path, shape in shapes.items():
      alone = path.rpartition('/')[0] + '/kernel' not in known
      fits = (size, options['vocab_size']) if alone else (size,)
      if (alone or path.endswith('/kernel')) and shape[0] not in fits:
        place, _ = self._family.place(path, shape, options, there)
        raise UserError(
          f'{place.names[0]} has shape {list(shape[::-1])}; config.json asks '
          f'for hidden states of {size}'
        )
    return there, shapes

  def _drop(self, modules):
    self._tensors = {
      name: x
      for name, x in self._tensors.items()
      if name.rpartition('.')[0] not in modules
    }

  def _take(self, at, shape, left):
    names = [n for n in at.names if n in self._tensors]
    for name in names:
      left.pop(name, None)
    if not names:
      return None
    first = self._tensors[names[0]]
    wanted = at.their_shape(shape)
    if tuple(first.shape) != wanted:
      raise UserError(
        f'{names[0]} has shape {list(first.shape)}; config.json asks for '
        f'{list(wanted)}'
      )
    for name in names[1:] if len(wanted) > 1 else ():
      if not tensors.same(first, self._tensors[name]):
        raise UserError(f'{name} differs from {names[0]}: it must be a copy')
    return at, first


def renamed(name):
  """Returns a tensor's name with a norm's weight and bias as they are today."""
  for old, new in (('.gamma', '.weight'), ('.beta', '.bias')):
    if name.endswith(old):
      return name.removesuffix(old) + new
  return name


def scanned(path):
  """Whether a tensor has a leading axis of layers."""
  return '/layers/' in f'/{path}/'


def unstack(path, shape):
  """Returns [(path, shape)] of a tensor's layers, or its own if it has none."""
  if not scanned(path):
    return [(path, shape)]
  name = path.replace('layers/', 'layers_{}/', 1)
  return [(name.replace('{}', str(i)), shape[1:]) for i in range(shape[0])]


class Read:
  """A tensor of ours, to be read from one of theirs, or one a layer."""

  def __init__(self, shape, parts, stacked):
    self.shape = jax.ShapeDtypeStruct(shape, jnp.float32)
    self.parts = parts
    self._stacked = stacked

  def read(self, index):
    """Returns part `index` (slices) as float32."""
    shape = self.shape.shape

    def one(part, shape, index):
      at, tensor = part
      return np.asarray(at.read(tensor, shape, index), np.float32)

    if not self._stacked:
      return one(self.parts[0], shape, index)
    parts = self.parts[index[0]]
    return np.stack([one(p, shape[1:], index[1:]) for p in parts])
