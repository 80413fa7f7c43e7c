"""A regular expression's automaton by outlines-core, as a program of its own.

    python dfa.py < PATTERN > ARRAYS.npz

outlines-core sets no bounds, and a short pattern can stand for billions of
states; a process can be stopped. It imports nothing of ctxlm.
"""

import resource
import sys

import numpy as np
from outlines_core import Index, Vocabulary

BYTES = 256
MOST_MEMORY = 4 * 2**30  # bytes
# Stands after every text. The library keeps of 'a|ab' what it finds first, as
# a search does; what must be followed by this is kept whole.
END = '\U0010ffff'


def compiled(pattern):
  """Returns (next int32 [states, 256], accepts bool [states]), see regex.py.

  Raises:
    ValueError: what the library says.
  """
  alphabet = Vocabulary(BYTES, {bytes([b]): [b] for b in range(BYTES)})
  index = Index(f'(?:{pattern}){END}', alphabet)
  edges, first = index.get_transitions(), index.get_initial_state()
  states = {first: 0}
  for state in edges:
    states.setdefault(state, len(states))
  table = np.full((len(states), BYTES), -1, np.int32)
  for state, row in edges.items():
    for byte, target in row.items():
      if byte < BYTES:  # and not the library's own end
        table[states[state], byte] = states[target]
  after = np.arange(len(states))
  for byte in END.encode():
    after = np.where(after < 0, -1, table[after, byte])
  ends = [states[state] for state in index.get_final_states()]
  return table, np.isin(after, ends)


if __name__ == '__main__':
  if sys.platform == 'linux':  # elsewhere the time alone bounds it
    resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY, MOST_MEMORY))
  table, accepts = compiled(sys.stdin.buffer.read().decode())
  np.savez(sys.stdout.buffer, table=table, accepts=accepts)
