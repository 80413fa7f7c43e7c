"""GGUF files that say what can not be: one line each."""

import struct

import gguf
import pytest

import ctxlm
from ctxlm.data.tokenizers import gguf as gguf_lib
from ctxlm.errors import UserError


def head(tensors=0, keys=1, version=3):
  return b'GGUF' + struct.pack('<IQQ', version, tensors, keys)


def text(value):
  return struct.pack('<Q', len(value)) + value


def key(layout, *values, name=b'a'):
  return text(name) + struct.pack(f'<{layout}', *values)


def tensor(*sizes, kind=0, offset=0):
  dims = struct.pack(f'<I{len(sizes)}Q', len(sizes), *sizes)
  place = struct.pack('<IQ', kind, offset)
  return head(1, 0) + text(b'a') + dims + place + bytes(64)


HUGE = 2**62
HOSTILE = {
  'magic': b'GGML' + head()[4:],
  'version': head(version=9),
  'many keys': head(keys=HUGE),
  'many tensors': head(HUGE, 0),
  'a long key': head() + struct.pack('<Q', HUGE),
  'a long text': head() + key('IQ', 8, HUGE),
  'a long list': head() + key('IIQ', 9, 0, HUGE),
  'many lists': head() + key('I', 9) + struct.pack('<IQ', 9, 1) * 5000,
  'a kind': head() + key('I', 77),
  'no UTF-8': head() + key('IB', 7, 1, name=b'\xff\xff'),
  'twice': head(keys=2) + key('IB', 7, 1) * 2,
  'alignment': head() + key('II', 4, 3, name=b'general.alignment'),
  'dimensions': head(1, 0) + key('I', 2**32 - 1),
  'a large shape': tensor(HUGE, HUGE),
  'a shape that wraps': tensor(2**32, 2**32, kind=2),
  'an offset': tensor(4, offset=HUGE),
  'a quantisation': tensor(4, kind=99),
  'one that is gone': tensor(4, kind=4),
}


@pytest.mark.parametrize('name', HOSTILE)
def test_hostile_files_are_one_line(tmp_path, name):
  path = tmp_path / 'm.gguf'
  path.write_bytes(HOSTILE[name])
  with pytest.raises(UserError, match='m.gguf.*') as e:
    ctxlm.load(path)
  assert '\n' not in str(e.value) and len(str(e.value)) < 400


def test_a_file_has_no_more_values_than_can_be_borne(tmp_path, monkeypatch):
  monkeypatch.setattr(gguf_lib, 'MOST_VALUES', 1000)
  path = tmp_path / 'm.gguf'
  path.write_bytes(head() + key('IIQ', 9, 0, 9000) + bytes(9000))
  with pytest.raises(UserError, match='more than 1000 values'):
    ctxlm.load(path)


def test_big_endian_files_are_one_line(tmp_path):
  path = tmp_path / 'm.gguf'
  w = gguf.GGUFWriter(path, 'llama', endianess=gguf.GGUFEndian.BIG)
  w.write_header_to_file()
  w.write_kv_data_to_file()
  w.write_tensors_to_file()
  w.close()
  with pytest.raises(UserError, match='byte order of another machine'):
    ctxlm.load(path)
