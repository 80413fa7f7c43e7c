"""How a model is judged: evaluators, named in `config.evaluators`.

A module here is a plug-in with a frozen dataclass `Evaluator` and a method
`run(context) -> {metric: float}`; see ctxlm.evaluators.bench. Metrics are
logged as `eval/NAME/METRIC`. `every_steps` is the loop's cadence.
"""
