"""Prints the table of mistakes: each case, its line, its exit; and counts."""

import collections
import sys
import tempfile
from pathlib import Path

from tests import mistakes


def main(words):
  """Runs the cases whose module or name has one of the words, or all."""
  counts = collections.Counter()
  with tempfile.TemporaryDirectory(prefix='ctxlm_mistakes_') as tmp:
    tmp = Path(tmp)
    folders = mistakes.make_folders(tmp)
    for kind, listed in mistakes.cases().items():
      for number, case in enumerate(listed):
        if words and not any(w in f'{kind} {case.name}' for w in words):
          continue
        folder = tmp / f'{kind}{number}'
        folder.mkdir()
        answer = mistakes.run(case, folders, folder)
        counts[answer.verdict] += 1
        print(f'{answer.verdict:<10} {kind}: {case.name}', flush=True)
        print(f'  exit {answer.status}: {answer.line}', flush=True)
  print(f'{counts.total()} tried:', end=' ')
  print(', '.join(f'{n} {verdict}' for verdict, n in counts.most_common()))
  return int(counts.total() != counts['good'])


if __name__ == '__main__':
  sys.exit(main(sys.argv[1:]))
