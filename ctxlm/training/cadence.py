"""When a run logs, saves and is judged."""

import dataclasses

from ctxlm import plugins


@dataclasses.dataclass(frozen=True)
class Due:
  """What there is to do after a step.

  Attributes:
    log, save: whether to.
    evaluators: names of those that judge.
  """

  log: bool
  save: bool
  evaluators: tuple

  @classmethod
  def at(cls, config, step):
    """Returns what is due after `step`; everything is after the last."""

    def due(every):
      return step == config.num_steps or bool(every and step % every == 0)

    judging = tuple(n for n, every in cadences(config).items() if due(every))
    return cls(
      due(config.log_every_steps),
      # What may be the best is saved whenever it is judged.
      due(config.checkpoint.every_steps) or _best(config) in judging,
      judging,
    )

  def __bool__(self):
    return self.log or self.save or bool(self.evaluators)


def cadences(config):
  """Returns {evaluator: steps between its judgements, 0 for the end only}."""
  return {
    name: plugins.own('evaluators', block)['every_steps']
    for name, block in config.evaluators.items()
  }


def _best(config):
  # The evaluator that the best checkpoint is by; '' is none.
  return config.checkpoint.best.removeprefix('eval/').partition('/')[0]


def next_stop(config, done):
  """Returns the next step after which something is due."""
  every = [config.log_every_steps, config.checkpoint.every_steps]
  every += cadences(config).values()
  return min(*(done - done % e + e for e in every if e), config.num_steps)
