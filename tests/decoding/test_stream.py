"""What is shown of a text while it is written."""

import types

from ctxlm.decoding import stream


def make(tokenizer, parts, stop=()):
  """Returns what `pieces` needs of a generator, which writes these parts."""
  return types.SimpleNamespace(
    tokenizer=tokenizer,
    config=types.SimpleNamespace(stop=stop),
    stream=lambda prompt, first: iter(parts),
  )


def test_stop_strings_never_show(runs, capsys):
  t = runs['causal'].tokenizer
  ids = t.encode('ab xy cd xy')
  parts = [ids[i : i + 2] for i in range(0, len(ids), 2)]
  found = list(stream.pieces(make(t, parts, ('cd', 'xyz')), []))
  assert len(found) > 2 and stream.show(found) == 'ab xy '
  assert capsys.readouterr().out == 'ab xy \n'


def test_half_a_character_waits_for_the_other(runs):
  t = runs['causal'].tokenizer
  parts = [[token] for token in t.encode('é€😀')]
  found = list(stream.pieces(make(t, parts), []))
  assert ''.join(found) == 'é€😀'
  assert len(found) > 3 and not any('\ufffd' in s for s in found)
