"""What is learned: prepare an example, and sum the loss of a batch.

A module here is a plug-in with a frozen dataclass `Objective`, built with the
tokenizer and the row length:

    view            'windows', 'texts' or 'pairs': how it reads its data
    overlap, frame  how windows are cut, see ctxlm.data.views
    terms           {name: coefficient}: which sums make the loss
    prepare(example, rng) -> features
    loss(apply, params, batch, rng) -> {name: (numerator, denominator)}

An objective that compares examples has `encode(apply, params, batch, rng)`
and `compare(own, everyone)` in place of `loss`.
"""
