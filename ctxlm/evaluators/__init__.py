"""How a model is judged: evaluators, named in `config.evaluators`.

A module here with a class `Evaluator` is a plug-in; a dotted name reaches one
of a researcher's own. `every_steps` in its block is the loop's: how often it
judges. Metrics are logged as `eval/NAME/METRIC`.
"""

from typing import Protocol


class Evaluator(Protocol):
  """A judgement: a frozen dataclass whose fields are its options."""

  def run(self, bench) -> dict[str, float]:
    """Returns {metric: value} of the parameters `bench.params`.

    Args:
      bench: ctxlm.evaluators.bench.Bench: the model, the tasks and their data.
        Before a run begins it is a rehearsal, on few examples: one that reads
        them one by one stops where there are `bench.enough`.

    Raises:
      UserError: the run has no such task or data.
    """
