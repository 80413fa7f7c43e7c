"""How XLA compiles in haste; imports no jax."""

from importlib.metadata import version

# Its older emitters of fusions take a third of the time. XLA ends a process
# whose flags it doesn't know, and a later release may drop this one.
RELEASE = version('jaxlib').split('.')[:2]
FLAGS = '--xla_cpu_use_fusion_emitters=false' if RELEASE == ['0', '10'] else ''
