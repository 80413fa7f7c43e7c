"""A report as a page: Markdown, and HTML that needs no other file.

A page is a title and parts; each part tells itself in both.
"""

import base64
import dataclasses
import html
from pathlib import Path
from typing import Any
from urllib import parse

from ctxlm.files import write_text

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #111; background: #fff;
  max-width: 60rem; margin: 0 auto; padding: 1rem; overflow-wrap: anywhere; }
h1, h2, h3 { line-height: 1.2; }
div.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .85rem; overflow-wrap: normal; }
th, td { border: 1px solid #ccc; padding: .3rem .5rem; text-align: left;
  vertical-align: top; }
th { background: #f3f3f3; }
figure { margin: 1rem 0; }
figure div.wide { max-height: 22rem; overflow-y: auto; }
img { width: 34rem; max-width: 100%; height: auto; }
pre { background: #f3f3f3; padding: .5rem; font-size: .8rem;
  white-space: pre-wrap; }
@media (max-width: 40rem) {
  table.told thead, table.told td:empty { display: none; }
  table.told tr, table.told td { display: block; border: 0; }
  table.told tr { border: 1px solid #ccc; margin: .6rem 0; }
  table.told td::before { content: attr(data-head) ": "; color: #555; }
}
@media print {
  body { max-width: none; padding: 0; font-size: 10pt; }
  figure div.wide, div.wide { overflow: visible; max-height: none; }
  tr, figure img, pre { break-inside: avoid; }
  h2, h3 { break-after: avoid; }
}
"""
# Nothing is fetched, and no script runs, whatever a name in it says.
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


@dataclasses.dataclass(frozen=True)
class Cell:
  """Text of a table's cell; of lines, '\\n' is between them.

  Attributes:
    text: what it says.
    to: the path, relative to the page, that it leads to.
    strong: whether it is what matters.
  """

  text: str
  to: str = ''
  strong: bool = False

  def markdown(self):
    """Returns it as Markdown."""
    text = self.text.replace('|', '\\|').replace('\n', '<br>')
    text = f'**{text}**' if self.strong else text
    return f'[{text}]({parse.quote(self.to)})' if self.to else text

  def html(self):
    """Returns it as HTML."""
    text = html.escape(self.text).replace('\n', '<br>')
    text = f'<strong>{text}</strong>' if self.strong else text
    to = html.escape(parse.quote(self.to))
    return f'<a href="{to}">{text}</a>' if self.to else text


def cell(value):
  """Returns a value as a Cell."""
  return value if isinstance(value, Cell) else Cell(str(value))


@dataclasses.dataclass(frozen=True)
class Table:
  """A table.

  Attributes:
    header: [text].
    rows: [[Cell, or what has a text]].
    told: whether the cells of a row stand one below the other on a phone.
  """

  header: list
  rows: list
  told: bool = False

  def markdown(self):
    """Returns it as Markdown."""
    lines = [self.header, ['---'] * len(self.header), *self.rows]
    return ''.join(
      '| ' + ' | '.join(cell(c).markdown() for c in line) + ' |\n'
      for line in lines
    )

  def html(self):
    """Returns it as HTML."""
    head = ''.join(f'<th>{cell(name).html()}</th>' for name in self.header)
    rows = ''.join(
      f'<tr>{"".join(map(self._field, self.header, row))}</tr>\n'
      for row in self.rows
    )
    told = ' class="told"' if self.told else ''
    return (
      f'<div class="wide"><table{told}><thead><tr>{head}</tr></thead>\n'
      f'<tbody>{rows}</tbody></table></div>'
    )

  @staticmethod
  def _field(name, value):
    head = f' data-head="{html.escape(str(name))}"' if name else ''
    return f'<td{head}>{cell(value).html()}</td>'


@dataclasses.dataclass(frozen=True)
class Heading:
  """Attributes: text."""

  text: str

  def markdown(self):
    """Returns it as Markdown."""
    return f'## {self.text}\n'

  def html(self):
    """Returns it as HTML."""
    return f'<h2>{html.escape(self.text)}</h2>'


@dataclasses.dataclass(frozen=True)
class Text:
  """Attributes: text; whether it is code, as it stands."""

  text: str
  code: bool = False

  def markdown(self):
    """Returns it as Markdown."""
    if not self.code:
      return self.text + '\n'
    return ''.join(f'    {line}\n' for line in self.text.splitlines())

  def html(self):
    """Returns it as HTML."""
    tag = 'pre' if self.code else 'p'
    return f'<{tag}>{html.escape(self.text)}</{tag}>'


@dataclasses.dataclass(frozen=True)
class Picture:
  """Attributes: title; path of a PNG; data, the Table behind it."""

  title: str
  path: Path
  data: Any

  def markdown(self):
    """Returns it as Markdown, which names the file."""
    return f'![{self.title}]({parse.quote(self.path.name)})\n'

  def html(self):
    """Returns it as HTML, which holds the file, and the table."""
    data = base64.b64encode(self.path.read_bytes()).decode()
    title = html.escape(self.title)
    return (
      f'<figure><h3>{title}</h3><img alt="{title}" '
      f'src="data:image/png;base64,{data}">\n{self.data.html()}</figure>'
    )


def write(folder, title, parts):
  """Writes report.md and report.html.

  Args:
    folder: pathlib.Path.
    title: text.
    parts: Tables, Headings, Texts and Pictures.
  """
  text = '\n'.join([f'# {title}\n', *(part.markdown() for part in parts)])
  write_text(folder / 'report.md', text)
  told = html.escape(title)
  body = '\n'.join(part.html() for part in parts)
  write_text(
    folder / 'report.html',
    '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">\n'
    f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
    '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
    f'<title>{told}</title><style>{STYLE}</style></head>\n'
    f'<body><h1>{told}</h1>\n{body}\n</body></html>\n',
  )
