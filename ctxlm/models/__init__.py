"""Flax modules. A module here with a class `Model` is a plug-in.

The contract that objectives rely on:

    model(tokens, *, segment_ids, positions, type_ids, rows) -> hidden [b,l,m]
    model.logits(hidden) -> logits of the next token
    model.head(name, module, *args) -> what an objective's head makes of them

A model that writes has the methods of ctxlm.decoding.Model as well: those of
`decoder.Decoder`, whose layers keep keys and values, or of `states.Decoder`.

`rows` int32 [b] are the examples' places in the global batch, by which
dropout is drawn; None is deterministic.
"""
