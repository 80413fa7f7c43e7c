"""Runs of the same shapes that train together: one program updates them all.

Each is an ordinary run with the one loop, ctxlm.train, in a thread of its own.
Where the loop calls the compiled step, it waits for the others, and one call
makes the steps of all, under vmap. So all that a run reads and writes is its
own, and a run that ends or fails leaves the others to go on.

The runs' data are made on the device, and their configs differ in
step.Scalars only. Their numbers equal those of runs alone to rounding.
"""

import sys
import threading
import traceback
from pathlib import Path

import jax
import jax.numpy as jnp

from ctxlm import parallel
from ctxlm import train as train_lib
from ctxlm.errors import UserError
from ctxlm.preemption import Stop


def vmapped(function, count):
  """Returns the step of `count` states, a tuple, of a step of one.

  Args:
    function: see step.many_steps.
    count: int.
  """

  def stack(trees):
    return jax.tree.map(lambda *x: jnp.stack(x), *trees)

  def parts(tree):
    return tuple(jax.tree.map(lambda x, i=i: x[i], tree) for i in range(count))

  def call(states, batch, until, scalars, *, axis):
    def one(state, until, scalars):
      return function(state, batch, until, scalars, axis=axis)

    found = jax.vmap(one)(stack(states), stack(until), stack(scalars))
    return tuple(map(parts, found))

  return call


class Group:
  """Threads whose calls are answered together, when all have called."""

  def __init__(self, size, where):
    """Makes a group of members 0 to size - 1 on `where`, a Pmap or Mesh."""
    self._members = set(range(size))
    self._where = where
    self._waiting, self._found, self._compiled = {}, {}, {}
    self._change = threading.Condition()

  def call(self, member, function, state, batch, until, scalars):
    """Returns this member's part of the common call."""
    with self._change:
      self._waiting[member] = function, state, batch, until, scalars
      self._answer()
      self._change.wait_for(lambda: member in self._found)
      found = self._found.pop(member)
    if isinstance(found, Exception):
      raise found
    return found

  def leave(self, member):
    """Takes a member out, for whom the others needn't wait."""
    with self._change:
      self._members.discard(member)
      self._answer()

  def _answer(self):
    if not self._members or self._waiting.keys() != self._members:
      return
    members = sorted(self._members)
    calls = [self._waiting.pop(m) for m in members]
    functions, states, batches, until, scalars = zip(*calls, strict=True)
    count = len(members)
    if count not in self._compiled:
      self._compiled[count] = self._where.compile(
        vmapped(functions[0], count), donate=True, whole=2
      )
    try:
      both = self._compiled[count](states, batches[0], until, scalars)
      found = zip(*both, strict=True)
    except Exception as e:  # each thread is to know
      found = [e] * count
    self._found.update(zip(members, found, strict=True))
    self._change.notify_all()


class Member:
  """A `where` whose training steps are the group's; see ctxlm.parallel."""

  def __init__(self, group, member, where):
    self._group, self._member, self._where = group, member, where

  def __getattr__(self, name):
    return getattr(self._where, name)

  def compile(self, function, donate=False, whole=0):
    """Returns the compiled function; one that updates a state is shared."""
    if not donate:
      return self._where.compile(function, whole=whole)
    return lambda *args: self._group.call(self._member, function, *args)


def train(runs):
  """Trains runs together on one device; returns an exit status.

  Args:
    runs: [(config, workdir, log)]; why a run failed is added to its log, a
      path.
  """
  parallel.start()
  device = jax.devices()[:1]
  group = Group(len(runs), parallel.make(runs[0][0], device))
  failed = []

  def one(i, config, workdir, log):
    try:
      where = Member(group, i, parallel.make(config, device))
      train_lib.train(config, workdir, where)
    except Exception as e:
      failed.append(workdir)
      if isinstance(e, UserError):
        text = f'ctxlm train: {e}\n'
      else:
        text = ''.join(traceback.format_exception(e))
      with Path(log).open('a') as f:
        f.write(text)
    finally:
      group.leave(i)

  stop = Stop()  # of all threads: signals come to this one
  threads = [
    threading.Thread(target=one, args=(i, *run)) for i, run in enumerate(runs)
  ]
  for thread in threads:
    thread.start()
  for thread in threads:
    thread.join()
  stop.restore()
  for workdir in failed:
    print(f'failed: {workdir}', file=sys.stderr)
  return 1 if failed else 0
