"""Verdicts that are kept, and the README's rows of them."""

import json
import math
import shutil

import pytest

from ctxlm.errors import UserError
from ctxlm.lab import experiment, kept, tables
from tests import tiny, toy

ROW = {
  'claim': 'a larger rate | is faster',
  'source': 'folklore',
  'paper': 'faster',
  'criterion': 'in every seed',
  'verdict': 'reproduced',
  'seeds': [5, 6, 7, 8, 9],
  'ours': [
    {
      'what': 'slow - fast',
      'mean': 0.5,
      'interval': 0.1,
      'values': [0.5] * 5,
      'part': 'wanted',
      'said': 'at least 0.001: 5 of 5 seeds',
      'holds': True,
    },
    {'what': 'slow', 'mean': None, 'interval': None, 'values': [None] * 5},
  ],
}


@pytest.fixture
def own(tmp_path):
  """(module, folder of experiments, workdir of a sweep with results.json)."""
  folder, workdir = tmp_path / 'experiments', tmp_path / 'work'
  folder.mkdir()
  workdir.mkdir()
  shutil.copy(toy.__file__, folder / 'mine.py')
  (folder / 'README.md').write_text(
    f'# Mine\n\n{kept.BEGIN}old\n{kept.END}\nend\n'
  )
  result = {'scale': 'small', 'settings': {'num_steps': 9}, 'claims': [ROW]}
  (workdir / 'results.json').write_text(json.dumps(result))
  return experiment.load(folder / 'mine.py'), folder, workdir


def test_rows_are_those_of_what_is_kept(own):
  module, folder, workdir = own
  (row,) = kept.table(folder).rows
  assert row[1:] == ['', ROW['claim'], '', kept.NONE]
  kept.keep(module, workdir, folder)
  text = (folder / 'README.md').read_text()
  assert text.startswith('# Mine\n') and text.endswith(f'{kept.END}\nend\n')
  assert (
    '| `experiments/mine.py` | 5 to 9<br>--config.num_steps=9 | a larger rate '
    '\\| is faster | slow - fast: 0.50 ± 0.10 (at least 0.001: 5 of 5 seeds) | '
    'reproduced (n = 5) |\n'
  ) in text
  assert kept.with_rows(text, folder) == text
  # A criterion that was changed since has no verdict.
  path = folder / 'results' / 'mine.json'
  path.write_text(path.read_text().replace('in every seed', 'on average'))
  assert kept.table(folder).rows[0][-1] == kept.OLD


@pytest.mark.parametrize(
  'value, told',
  [
    ('/home/me/data/brown/text.txt', 'brown/text.txt'),
    ('/text.txt', 'text.txt'),
    ('data/brown/text.txt', 'data/brown/text.txt'),
    (None, None),
    (0.5, 0.5),
  ],
)
def test_no_folder_of_a_machine_is_kept(own, value, told):
  module, folder, workdir = own
  path = workdir / 'results.json'
  path.write_text(
    json.dumps(json.loads(path.read_text()) | {'settings': {'a': value}})
  )
  kept.keep(module, workdir, folder)
  found = json.loads((folder / 'results' / 'mine.json').read_text())
  assert found == json.loads(path.read_text()) | {'settings': {'a': told}}
  assert f'--config.a={told}' in (folder / 'README.md').read_text()


def test_what_is_not_kept(own, tmp_path):
  module, folder, workdir = own
  with pytest.raises(UserError, match='is none of'):
    kept.keep(toy, workdir, folder)
  path = workdir / 'results.json'
  path.write_text(path.read_text().replace('small', 'smoke'))
  with pytest.raises(UserError, match='of scale smoke'):
    kept.keep(module, workdir, folder)
  assert not (folder / 'results').exists()


def test_what_is_no_number_is_told_so():
  assert tables.figures(ROW)[1] == 'slow: nan'
  assert tables.show(None, None) == tables.show(math.nan, None) == 'nan'


def test_our_readme_has_the_rows_that_the_report_writes():
  text = (tiny.ROOT / 'experiments' / 'README.md').read_text('utf-8')
  assert kept.BEGIN in text and kept.END in text
  assert kept.with_rows(text) == text, 'say ctxlm report --keep'
