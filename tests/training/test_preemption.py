"""A signal ends the run after a step, or while its data is waited for."""

import os
import signal
import time

import numpy as np
import pytest

from ctxlm.data import loader
from ctxlm.training.preemption import Stop


@pytest.mark.parametrize('kind', [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_wait(kind):
  reached = []

  def slow(number):
    os.kill(os.getpid(), kind)
    for _ in range(3000):
      time.sleep(0.01)
    reached.append(number)

  before = signal.getsignal(kind)
  with Stop() as stop:
    assert stop.wait(lambda x: x + 1, 1) == 2 and not stop.asked(1)
    assert stop.wait(slow, 1) is None
    assert stop.asked(1) and not reached
    assert stop.wait(reached.append, 2) is None  # nothing more is waited for
    assert not reached
  assert signal.getsignal(kind) is before


def test_a_signal_outside_a_wait_interrupts_nothing():
  with Stop() as stop:
    os.kill(os.getpid(), signal.SIGTERM)
    assert sum(range(1000)) == 499500
    assert stop.asked(1)


class Slow:
  """A view whose examples take a while; the fifth sends a signal."""

  read_rows = 0

  def __len__(self):
    return 100_000

  def read(self, i, rng):
    self.read_rows += 1
    if self.read_rows == 5:
      os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(0.01)
    return {'example': np.int32(i)}


def test_a_slow_batch_is_given_up():
  view = Slow()
  batches = loader.train_batches(
    view,
    lambda example, rng: example,
    seed=0,
    task='t',
    batch_size=20_000,  # 200 seconds
    start_step=0,
    num_steps=10,
    rows=np.arange(20_000),
  )
  with Stop() as stop:
    assert stop.wait(next, batches) is None
  batches.close()
  read = view.read_rows
  time.sleep(0.1)
  assert read == view.read_rows < 20_000
