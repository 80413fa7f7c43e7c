"""What is counted in XLA's text, beside what is counted by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from ctxlm.parallel import groups, work

# Of four turns, each with a product [8, 16] @ [16, 4] that all of an axis add.
TEXT = """HloModule step, is_scheduled=true

%add (a: f32[], b: f32[]) -> f32[] {
  %a = f32[] parameter(0)
  %b = f32[] parameter(1)
  ROOT %sum = f32[] add(%a, %b)
}

%part (p.0: f32[10,8,16], p.1: s32[]) -> f32[8,16] {
  %p.0 = f32[10,8,16]{2,1,0} parameter(0)
  %p.1 = s32[] parameter(1)
  ROOT %one = f32[8,16]{1,0} dynamic-slice(%p.0, %p.1, %p.1, %p.1)
}

%body (t: (s32[], f32[10,8,16])) -> (s32[], f32[10,8,16]) {
  %t = (s32[], /*index=1*/f32[10,8,16]{2,1,0}) parameter(0)
  %i = s32[] get-tuple-element(%t), index=0
  %x = f32[10,8,16]{2,1,0} get-tuple-element(%t), index=1
  %own = f32[8,16]{1,0} fusion(%x, %i), kind=kLoop, calls=%part
  %k = f32[16,4]{1,0} constant({...})
  %y = f32[8,4]{1,0} dot(%own, %k), lhs_contracting_dims={1}, \
rhs_contracting_dims={0}
  %all = f32[8,4]{1,0} all-reduce(%y), replica_groups=[4,2]<=[2,2,2]T(0,2,1), \
use_global_device_ids=true, to_apply=%add
  ROOT %r = (s32[], f32[10,8,16]{2,1,0}) tuple(%i, %x)
}

%cond (c: (s32[], f32[10,8,16])) -> pred[] {
  %c = (s32[], f32[10,8,16]{2,1,0}) parameter(0)
  ROOT %true = pred[] constant(true)
}

ENTRY %main (m: f32[10,8,16]) -> bf16[64] {
  %m = f32[10,8,16]{2,1,0} parameter(0)
  %zero = s32[] constant(0)
  %begin = (s32[], f32[10,8,16]{2,1,0}) tuple(%zero, %m)
  %w = (s32[], f32[10,8,16]{2,1,0}) while(%begin), condition=%cond, \
body=%body, backend_config={"known_trip_count":{"n":"4"}}
  %s = (bf16[16]{0}, bf16[64]{0}) all-gather-start(%m), \
replica_groups={{0,4},{1,5},{2,6},{3,7}}, dimensions={0}
  ROOT %g = bf16[64]{0} all-gather-done(%s)
}
"""
MESH = {'data': 2, 'fsdp': 2, 'tensor': 2}


def test_a_loop_counts_as_often_as_it_turns():
  found = work.of_text(TEXT, MESH)
  assert found.flops == 4 * 2 * 8 * 16 * 4
  reduced, gathered = sorted(found.sent, key=lambda s: s.kind)[::-1]
  # Groups of the iota are along the axis in the middle.
  assert (gathered.kind, gathered.axes) == ('all-gather', ('data',))
  assert (gathered.count, gathered.size) == (1, 64 * 2 / 2)
  assert (reduced.kind, reduced.axes) == ('all-reduce', ('fsdp',))
  assert (reduced.count, reduced.size) == (4, 4 * 8 * 4 * 4)
  # A turn: the part of x and the number that it is by, what is made of it; the
  # product; what all add. Of ten parts of x one is read.
  part, kernel, y, number = 8 * 16 * 4, 16 * 4 * 4, 8 * 4 * 4, 4
  turn = (2 * part + number * 1) + (part + kernel + y) + y
  assert found.moved == 4 * turn


def test_one_that_is_fused_in_steps_is_sent_once():
  part = """%part{n} (a: bf16[4]) -> bf16[64] {{
  %a = bf16[4]{{0}} parameter(0)
  ROOT %g = bf16[64]{{0}} all-gather(%a), channel_id={channel}, \
replica_groups=[1,8]<=[8], dimensions={{0}}
}}
"""
  text = '\n'.join(
    [
      *(part.format(n=n, channel=7) for n in range(2)),
      part.format(n=2, channel=8),
      'ENTRY %main (m: bf16[4]) -> bf16[64] {',
      '  %m = bf16[4]{0} parameter(0)',
      '  %x = bf16[64]{0} fusion(%m), kind=kCustom, calls=%part0',
      '  %y = bf16[64]{0} fusion(%m), kind=kCustom, calls=%part1',
      '  ROOT %z = bf16[64]{0} fusion(%m), kind=kCustom, calls=%part2',
      '}',
    ]
  )
  (sent,) = work.of_text(text, MESH).sent
  assert (sent.count, sent.size) == (2, 2 * 64 * 2 * 7 / 8)


def test_a_sum_of_which_a_part_is_kept_is_a_reduce_scatter():
  text = """%all-reduce-scatter.1 (a: bf16[64]) -> bf16[8] {
  %a = bf16[64]{0} parameter(0)
  %all = bf16[64]{0} all-reduce(%a), channel_id=1, replica_groups=[1,8]<=[8]
  %zero = s32[] constant(0)
  ROOT %own = bf16[8]{0} dynamic-slice(%all, %zero), dynamic_slice_sizes={8}
}
ENTRY %main (m: bf16[64]) -> bf16[8] {
  %m = bf16[64]{0} parameter(0)
  ROOT %x = bf16[8]{0} fusion(%m), kind=kCustom, calls=%all-reduce-scatter.1
}
"""
  (sent,) = work.of_text(text, MESH).sent
  assert (sent.kind, sent.size) == ('reduce-scatter', 64 * 2 * 7 / 8)


def test_what_goes_to_another_slice_is_told():
  places = [0, 0, 0, 0, 1, 1, 1, 1]
  far = {s.kind: s.slices for s in work.of_text(TEXT, MESH, places).sent}
  assert far == {'all-reduce': False, 'all-gather': True}


@pytest.mark.parametrize(
  'text, axes, n',
  [
    ('replica_groups=[1,8]<=[8]', ('data', 'fsdp', 'tensor'), 8),
    ('replica_groups=[4,2]<=[8]', ('tensor',), 2),
    ('replica_groups=[2,4]<=[4,2]T(1,0)', ('data', 'fsdp'), 4),
    ('replica_groups={{0,2},{1,3},{4,6},{5,7}}', ('fsdp',), 2),
    (
      "replica_groups=mesh['a'=2,'b'=1,'c'=2,'d'=2] {'c'}",
      ('fsdp',),
      2,
    ),
    (
      "replica_groups=mesh['a'=2,'b'=4], device_ids=([2,2,2]T(1,0,2)) {'a'}",
      ('fsdp',),
      2,
    ),
    ("replica_groups=mesh['a'=8] {'a':(2)2}", ('fsdp',), 2),
    ("replica_groups=mesh['a'=2,'b'=4] {'a','b':(2)2}", ('data', 'tensor'), 4),
    ('replica_groups={}', ('data', 'fsdp', 'tensor'), 8),
    ('source_target_pairs={{0,4},{4,0}}', ('data',), 2),
  ],
)
def test_groups_are_along_axes(text, axes, n):
  assert groups.span(f'channel_id=1, {text}, x=y', MESH) == (axes, n, False)


def test_a_window_on_padding_is_no_work():
  # Two products [3, 5] @ [5, 7], as a TPU's compiler makes one convolution of
  # them: the window finds the one that is its own, the other is padding.
  text = """HloModule m

ENTRY %main (a: f32[3,5,2], b: f32[2,5,7]) -> f32[3,7,2] {
  %a = f32[3,5,2]{2,1,0} parameter(0)
  %b = f32[2,5,7]{2,1,0} parameter(1)
  ROOT %c = f32[3,7,2]{2,1,0} convolution(%a, %b), \
window={size=2 stride=1 pad=0_1 rhs_dilate=1}, dim_labels=bf0_0io->bf0
}
"""
  # Of the two places the first sees both of the window, the second one.
  assert work.of_text(text, {'data': 1}).flops == 2 * 3 * 5 * 7 * 3


def test_compiled_loops_and_collectives():
  devices = np.reshape(jax.devices()[:8], tuple(MESH.values()))
  mesh = jax.sharding.Mesh(devices, tuple(MESH))
  n = 16

  def step(x, kernels):
    x, _ = jax.lax.scan(lambda x, k: (jnp.tanh(x @ k), None), x, kernels)
    return x

  def shape(shape, *spec):
    sharding = NamedSharding(mesh, P(*spec))
    return jax.ShapeDtypeStruct(shape, np.float32, sharding=sharding)

  out = NamedSharding(mesh, P(('data', 'fsdp')))
  compiled = (
    jax.jit(step, out_shardings=out)
    .lower(
      shape((n, n), ('data', 'fsdp')), shape((5, n, n), None, None, 'tensor')
    )
    .compile()
  )
  found = work.of_text(compiled.as_text(), MESH)
  # Each device has a quarter of the rows and half of the columns.
  assert found.flops == 5 * 2 * (n // 4) * n * (n // 2)
  assert {s.axes for s in found.sent} == {('tensor',)}


def test_a_layer_sends_what_is_counted_by_hand():
  devices = np.reshape(jax.devices()[:8], tuple(MESH.values()))
  mesh = jax.sharding.Mesh(devices, tuple(MESH))
  n, m, f = 64, 16, 24
  rows = ('data', 'fsdp')

  def on(*spec):
    return NamedSharding(mesh, P(*spec))

  def loss(kernels, x):
    up, down = kernels
    hidden = jax.lax.with_sharding_constraint(x @ up, on(rows, 'tensor'))
    y = jax.lax.with_sharding_constraint(jnp.tanh(hidden) @ down, on(rows))
    return (y**2).sum()

  where = on('fsdp', 'tensor'), on('tensor', 'fsdp')
  shapes = [
    jax.ShapeDtypeStruct(shape, np.float32, sharding=sharding)
    for shape, sharding in zip(((m, f), (f, m)), where, strict=True)
  ]
  x = jax.ShapeDtypeStruct((n, m), np.float32, sharding=on(rows))
  step = jax.jit(jax.grad(loss), out_shardings=list(where))
  found = work.of_text(step.lower(shapes, x).compile().as_text(), MESH)
  sent = {}
  for s in found.sent:
    sent[s.kind, s.axes] = sent.get((s.kind, s.axes), 0) + s.size
  kernel, out = m * f * 4 / 2, n // 4 * m * 4  # bytes of a chip
  assert sent == {
    # Both kernels are made whole over fsdp: a half is sent.
    ('all-gather', ('fsdp',)): 2 * kernel / 2,
    # Each chip has half of the sum over f: 2 (n - 1) / n = 1 of it is sent.
    ('all-reduce', ('tensor',)): out,
    # Gradients of both are summed over fsdp, and the own half over data.
    ('all-reduce', ('fsdp',)): 2 * kernel,
    ('all-reduce', ('data',)): 2 * kernel / 2,
  }
  assert found.flops == 2 * (n // 4) * m * (f // 2) * 5  # no gradient of x


def test_kernels_that_say_no_cost_are_counted():
  text = """ENTRY %main (a: f32[4]) -> f32[4] {
  %a = f32[4]{0} parameter(0)
  %b = f32[4]{0} custom-call(%a), custom_call_target="tpu_custom_call"
  ROOT %c = f32[4]{0} custom-call(%b), custom_call_target="tpu_custom_call", \
backend_config={"custom_call_config":{"cost_estimate":{"flops":"7"}}}
}
"""
  found = work.of_text(text, {'data': 1})
  assert (found.kernels, found.flops) == (1, 7)
