"""Pages that need no other file, and say what they are given."""

import base64
from html.parser import HTMLParser
from urllib import parse

import numpy as np

from ctxlm.lab import page, plots, tables
from ctxlm.lab.experiment import Line, Plot, Series

VOID = {'meta', 'img', 'br'}


class Parsed(HTMLParser):
  """Attributes: tags, [(name, attributes)] in order; text."""

  def __init__(self, text):
    super().__init__()
    self.tags, self.text, self._open = [], '', []
    self.feed(text)
    assert not self._open  # all that was opened is closed

  def handle_starttag(self, tag, attrs):
    self.tags.append((tag, dict(attrs)))
    if tag not in VOID:
      self._open.append(tag)

  def handle_endtag(self, tag):
    assert self._open.pop() == tag

  def handle_data(self, data):
    self.text += data

  def all(self, name):
    """Returns the attributes of all tags of a name."""
    return [attributes for tag, attributes in self.tags if tag == name]


def check(path):
  """Returns the Parsed page, which fetches nothing and is readable."""
  parsed = Parsed(path.read_text('utf-8'))
  names = [tag for tag, _ in parsed.tags]
  assert names[:2] == ['html', 'head'] and parsed.all('html') == [
    {'lang': 'en'}
  ]
  assert not {'script', 'link', 'iframe', 'object', 'base'} & {*names}
  metas = parsed.all('meta')
  assert any(m.get('name') == 'viewport' for m in metas)
  assert any("default-src 'none'" in m.get('content', '') for m in metas)
  for image in parsed.all('img'):
    kind, _, data = image['src'].partition(',')
    assert kind == 'data:image/png;base64' and image['alt']
    assert base64.b64decode(data)[:8] == b'\x89PNG\r\n\x1a\n'
  for attributes in parsed.all('a'):
    to = parse.unquote(attributes['href'])
    assert (path.parent / to).is_dir(), to
  return parsed


HOSTILE = '<script>alert(1)</script>|"\'&'
FOLDER = 'a "run"=<1>&2'


def test_a_page_holds_its_pictures_and_their_tables(tmp_path):
  ys = np.array([[1.0, 2.0], [3.0, np.nan]])
  plot = Plot(
    'p',
    HOSTILE,
    'step',
    'nats',
    [Series('ours', [5, 10], ys)],
    [Line('b', 0.5)],
  )
  plots.save(plots.make(plot), tmp_path / 'p.png')
  (tmp_path / FOLDER).mkdir()
  page.write(
    tmp_path,
    HOSTILE,
    [
      page.Heading(HOSTILE),
      page.Text(HOSTILE),
      page.Table(
        ['verdict', HOSTILE],
        [[page.Cell('reproduced', strong=True), f'one\n{HOSTILE}']],
      ),
      page.Picture(plot.title, tmp_path / 'p.png', tables.plot_table(plot)),
      page.Text(HOSTILE, code=True),
      page.Table([''], [[page.Cell(HOSTILE, f'{FOLDER}/', strong=True)]]),
    ],
  )
  parsed = check(tmp_path / 'report.html')
  assert parsed.text.count(HOSTILE) == 9  # as text, wherever it stands
  assert parsed.all('img')[0]['alt'] == HOSTILE
  assert [x.get('data-head') for x in parsed.all('td')][:2] == [
    'verdict',
    HOSTILE,
  ]
  assert parsed.all('td')[-1] == {}
  names = [tag for tag, _ in parsed.tags]
  assert names.index('table') < names.index('figure') < names.index('img')
  data = names[names.index('img') :]
  assert data.index('table') < data.index('pre')
  text = (tmp_path / 'report.md').read_text()
  assert '| **reproduced** | one<br><script>' in text and '\\|"' in text


def test_the_table_behind_a_plot_has_means_and_theory():
  ys = np.array([[1.0, 2.0], [3.0, np.nan]])
  lines = [Line('level', 0.5), Line('none', None), Line('b', ([5], [7.0]))]
  plot = Plot('p', 't', 'step', 'y', [Series('a', [5, 10], ys)], lines)
  table = tables.plot_table(plot)
  assert table.header == ['step', 'a', 'level', 'b']
  # 12.706 is Student's t with one degree of freedom; the error is 1.
  assert table.rows == [
    ['5', '2 ± 13', '0.5', '7'],
    ['10', '2', '0.5', ''],
  ]
