"""How often loops turn, of text such as a TPU's compiler writes."""

import pytest

from ctxlm.parallel import hlo

LOOP = """HloModule step

%sum (p.0: s32[]) -> s32[] {{
  %p.0 = s32[] parameter(0)
  %two = s32[] constant(2)
  ROOT %s = s32[] add(%p.0, %two)
}}

%body (t: (s32[], f32[4], s32[])) -> (s32[], f32[4], s32[]) {{
  %t = (s32[], f32[4]{{0}}, s32[]) parameter(0)
  %i = s32[] get-tuple-element(%t), index=0
  %x = f32[4]{{0}} get-tuple-element(%t), index=1
  %n = s32[] get-tuple-element(%t), index=2
  %one = s32[] constant(1)
  %next = s32[] {step}
  ROOT %r = (s32[], f32[4]{{0}}, s32[]) tuple(%next, %x, %n)
}}

%cond (c: (s32[], f32[4], s32[])) -> pred[] {{
  %c = (s32[], f32[4]{{0}}, s32[]) parameter(0)
  %j = s32[] get-tuple-element(%c), index=0
  %m = s32[] {limit}
  ROOT %less = pred[] compare(%j, %m), direction={direction}
}}

ENTRY %main (x: f32[4]) -> (s32[], f32[4], s32[]) {{
  %x = f32[4]{{0}} parameter(0)
  %begin = s32[] constant(3)
  %own = s32[] copy(%begin)
  %end = s32[] constant(22)
  %tuple = (s32[], f32[4]{{0}}, s32[]) tuple(%own, %x, %end)
  ROOT %w = (s32[], f32[4]{{0}}, s32[]) while(%tuple), condition=%cond, \
body=%body{known}
}}
"""
KNOWN = ', backend_config={"known_trip_count":{"n":"7"}}'
ONE, TWO = 'add(%i, %one)', 'fusion(%i), kind=kLoop, calls=%sum'
CARRIED = 'get-tuple-element(%c), index=2'


@pytest.mark.parametrize(
  'step, limit, direction, known, turns',
  [
    (ONE, 'constant(22)', 'LT', '', 19),
    (ONE, CARRIED, 'LT', '', 19),
    (TWO, CARRIED, 'LT', '', 10),  # 3, 5, ... 21
    (ONE, CARRIED, 'GT', '', 1),  # not known
    (ONE, CARRIED, 'LT', KNOWN, 7),
  ],
)
def test_turns(step, limit, direction, known, turns):
  text = LOOP.format(step=step, limit=limit, direction=direction, known=known)
  program = hlo.Program(text)
  assert program.times()['body'] == turns
