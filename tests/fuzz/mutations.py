"""Folders made worse, by a seeded `random.Random`."""

import contextlib
import io
import json
import os
import shutil
import zipfile

from sentencepiece import sentencepiece_model_pb2

DEEP = 3000
MOST = 2**26  # bytes of a file that is changed
NUMBERS = (
  -1, 0, 1, 2, 3, 7, 0.5, -0.5, 1e-9, 1e30, 10**9, 10**8, 2**31, 2**63, 2**64,
  10**30, float('nan'), float('inf'), -float('inf'), 65537,
)  # fmt: skip
TEXTS = (
  '', 'a', '\x00', '\ud800', 'a' * 5000, '../outside/secret.json', 'nan', '1',
  '{outside}/secret.json', '/dev/zero', '/etc/passwd', '..', '.', 'os.system',
  '(a+)+$', '(a|a|b)*c', '((a{1,900}){1,900}){1,900}', '(?<x>a\\g<x>?)b', '[',
  '.*.*.*.*,', '\\', '▁', 'float8_e4m3fn', 'F8_E4M3', 'U64', 'Regex', 'Ġ', '##',
  'AAAA', '/w==' * 200, '<unk>', 'gelu', 'tests.fuzz', '%s{}', '\n', '1' * 400,
)  # fmt: skip
BYTES = (
  b'\x00', b'\xff', b'\xff' * 8, b'\x00' * 8, b'\x80' * 20, b'\xff\xff\xff\x7f',
  b'\xff' * 7 + b'\x7f', b'\n', b'"', b'{', b'[' * DEEP, b'\xef\xbb\xbf', b'\r',
  b'\xc3\x28', b'\xed\xa0\x80', b'cposix\nsystem\n', b'\x85' * DEEP, b'I9\n',
  b'..', b'/', b'\x8a\xff', b'(' * DEEP, b',', b'""""', b'1e999', b'NaN', b'-1',
)  # fmt: skip
DATA = ('a.jsonl', 'b.csv', 'c.tsv', 'd.txt')


def spoil(folder, outside, rng):
  """Changes some files of a folder.

  Args:
    folder: pathlib.Path.
    outside: of a folder beside it, that nobody is to read.
    rng: random.Random.

  Returns:
    what was done, in words.
  """
  done = []
  paths = sorted(p for p in folder.rglob('*') if p.is_file())
  for _ in range(rng.choice((1, 1, 1, 2, 3))):
    path = rng.choice(paths + 4 * [p for p in paths if p.suffix == '.json'])
    if path.is_file() and not path.is_symlink() and path.stat().st_size < MOST:
      how = _way(path, rng)
      done.append(f'{how.__name__[1:]} {path.relative_to(folder)}')
      # What can't be read as what it is named stays as it is.
      with contextlib.suppress(Exception):
        how(path, outside, rng)
  return ', '.join(done)


def _way(path, rng):
  if rng.random() < 0.05:
    return _replace
  structured = {
    '.json': _json,
    '.jsonl': _json_lines,
    '.safetensors': _header,
    '.bin': _archive,
    '.model': _proto,
    '.txt': _lines,
    '.csv': _lines,
    '.tsv': _lines,
  }.get(path.suffix)
  return structured if structured and rng.random() < 0.8 else _bytes


def _replace(path, outside, rng):
  # By what is no file, or no file of this folder.
  path.unlink()
  ways = [path.touch, path.mkdir, lambda: None]
  if path.name not in DATA:  # which is one's own, of any size, and linked
    ways += [
      lambda: path.symlink_to(outside / 'secret.json'),
      lambda: path.symlink_to(path.name),
      lambda: path.symlink_to('/dev/zero'),
      lambda: os.mkfifo(path),
      lambda: (path.touch(), os.truncate(path, 2**40)),
    ]
  rng.choice(ways)()


def _bytes(path, outside, rng):
  path.write_bytes(changed(path.read_bytes(), rng))


def changed(data, rng):
  """Returns bytes with some of them others, gone, twice or more."""
  data = bytearray(data)
  for _ in range(rng.choice((1, 1, 2, 4, 16))):
    # Headers are where a reader decides.
    most = len(data) if rng.random() < 0.5 else min(len(data), 200)
    at = rng.randrange(most + 1)
    if rng.random() < 0.2:
      at = max(len(data) - rng.randrange(64), 0)
    end = min(len(data), at + rng.choice((1, 1, 2, 4, 8, 50, 500)))
    kind = rng.randrange(6)
    if kind == 0 and end > at:
      data[at] ^= 1 << rng.randrange(8)
    elif kind == 1:
      new = rng.choice(BYTES)
      data[at : at + len(new)] = new
    elif kind == 2:
      data[at:at] = rng.choice(BYTES)
    elif kind == 3:
      del data[at:end]
    elif kind == 4:
      data[at:at] = data[at:end] * rng.choice((1, 2, 50))
    elif kind == 5 and rng.random() < 0.3:
      del data[at:]
  return bytes(data)


def _lines(path, outside, rng):
  lines = path.read_bytes().split(b'\n')
  for _ in range(rng.choice((1, 2, 5))):
    i = rng.randrange(len(lines))
    lines[i] = rng.choice(
      (
        changed(lines[i], rng),
        b'',
        lines[rng.randrange(len(lines))],
        lines[i] * 30,
        _odd(outside, rng, as_text=True).encode('utf-8', 'surrogatepass'),
      )
    )
  path.write_bytes(b'\n'.join(lines))


def _json_lines(path, outside, rng):
  lines = path.read_text('utf-8').splitlines()
  i = rng.randrange(len(lines))
  lines[i] = _dumped(_changed_json(json.loads(lines[i]), outside, rng), rng)
  path.write_text('\n'.join(lines), 'utf-8')


def _json(path, outside, rng):
  content = _changed_json(json.loads(path.read_text('utf-8')), outside, rng)
  path.write_text(_dumped(content, rng), 'utf-8')


def _dumped(content, rng):
  text = json.dumps(content, ensure_ascii=True)
  # More than json.dumps can write.
  return text.replace('"DEEP"', '[' * DEEP + ']' * DEEP)


def _changed_json(content, outside, rng):
  content = [content]  # so that the whole may be another
  for _ in range(rng.choice((1, 1, 2, 3))):
    # Long lists and vocabularies are no more than their neighbours.
    at, key = content, 0
    while rng.random() < 0.8 and _children(at[key]):
      at, key = at[key], rng.choice(_children(at[key]))
    kind = rng.randrange(8)
    if kind == 0 and at is not content:
      del at[key]
    elif kind == 1 and isinstance(at, dict):
      at[rng.choice(TEXTS)] = at.pop(key)
    elif kind == 2:
      others = _children(at)
      at[key] = at[rng.choice(others)]
    elif kind == 3 and isinstance(at, list) and at is not content:
      at += at[:50] * rng.choice((1, 20))
    elif kind == 4 and type(at[key]) in (int, float):
      at[key] = rng.choice((at[key] + 1, -at[key], at[key] * 10**6, 0))
    elif kind == 5 and isinstance(at[key], str):
      data = changed(at[key].encode('utf-8', 'replace'), rng)
      at[key] = data.decode('utf-8', 'replace')
    else:
      at[key] = _odd(outside, rng)
  return content[0]


def _children(node):
  if isinstance(node, dict):
    return list(node)
  return list(range(len(node))) if isinstance(node, list) else []


def _odd(outside, rng, as_text=False):
  kind = 1 if as_text else rng.randrange(4)
  if kind == 0:
    return rng.choice(NUMBERS)
  if kind == 1:
    return rng.choice(TEXTS).replace('{outside}', str(outside))
  if kind == 2:
    return rng.choice((None, True, False, [], {}, [None], {'': None}, 'DEEP'))
  inner = rng.choice(NUMBERS + TEXTS[:6])
  return rng.choice(([inner], {'a': inner}, [inner] * 300, [[inner], inner]))


def _header(path, outside, rng):
  # Of safetensors: 8 bytes of length, JSON, and the tensors.
  data = path.read_bytes()
  size = int.from_bytes(data[:8], 'little')
  header = json.loads(data[8 : 8 + size])
  header = _dumped(_changed_json(header, outside, rng), rng).encode()
  size = rng.choice((len(header),) * 5 + (len(header) + 1, 2**40, 2**63 - 1))
  path.write_bytes(size.to_bytes(8, 'little') + header + data[8 + size :])


def _archive(path, outside, rng):
  # Its sums are made right again, so that what is inside is read.
  files = {}
  with zipfile.ZipFile(path) as archive:
    for name in archive.namelist():
      files[name] = archive.read(name)
  name = rng.choice(list(files) + [n for n in files if n.endswith('.pkl')] * 9)
  files[name] = changed(files[name], rng)
  out = io.BytesIO()
  how = rng.choice((zipfile.ZIP_STORED,) * 9 + (zipfile.ZIP_DEFLATED,))
  with zipfile.ZipFile(out, 'w', how) as archive:
    for name, content in files.items():
      archive.writestr(name, content)
  path.write_bytes(out.getvalue())


def _proto(path, outside, rng):
  # A SentencePiece model.
  proto = sentencepiece_model_pb2.ModelProto()
  proto.ParseFromString(path.read_bytes())
  spec, text = proto.trainer_spec, proto.normalizer_spec
  piece = proto.pieces[rng.randrange(len(proto.pieces))]
  number = rng.choice([n for n in NUMBERS if isinstance(n, int)]) % 2**31
  rng.choice(
    (
      lambda: setattr(text, 'precompiled_charsmap', rng.choice(BYTES)),
      lambda: setattr(
        text, 'precompiled_charsmap', changed(text.precompiled_charsmap, rng)
      ),
      lambda: setattr(spec, 'model_type', rng.randrange(1, 5)),
      lambda: setattr(spec, 'unk_id', number),
      lambda: setattr(spec, 'eos_id', number - 2**30),
      lambda: setattr(spec, 'byte_fallback', True),
      lambda: setattr(piece, 'piece', rng.choice(TEXTS[:3])),
      lambda: setattr(piece, 'score', rng.choice(NUMBERS)),
      lambda: setattr(piece, 'type', rng.randrange(1, 7)),
      lambda: proto.ClearField('pieces'),
      lambda: proto.pieces.extend(list(proto.pieces)),
    )
  )()
  path.write_bytes(proto.SerializeToString())


def copy(source, target):
  """Copies a folder, having removed what was there."""
  shutil.rmtree(target, ignore_errors=True)
  shutil.copytree(source, target)
