"""Outputs that can't be, are nowhere, or have a writer already."""

from ctxlm.parallel import locks
from tests.mistakes import Case

ATTEND = 'attend', '--model={mlm}', '--text=the cat', '--word=cat'
EMBED = 'embed', '--model={mlm}', '--input={text}', '--pooling=mean'


def _held(tmp, folders):
  # The lock is this process's, of which a case is a fork: it opens its own.
  del folders
  _HELD.append(locks.Lock.of_output(tmp / 'out.npy'))


_HELD = []
CASES = [
  Case('attend: a folder', (*ATTEND, '--out={tmp}'), 'name a file in a folder'),
  Case('attend: no such folder', (*ATTEND, '--out={tmp}/no/a.png'), 'that is'),
  Case('attend: no name', (*ATTEND, '--out='), '--out is empty'),
  Case('attend: no such format', (*ATTEND, '--out={tmp}/a.xyz'), 'xyz'),
  Case(
    'embed: another writes there',
    (*EMBED, '--output={tmp}/out.npy'),
    'process .* writes out.npy there',
    make=_held,
  ),
]
