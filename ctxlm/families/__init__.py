"""Families of reference models: what differs, and where their tensors lie.

A module here with a `FAMILY` is one row of the table; see family.Family. A
head that an objective calls as `model.head('ranker', ...)` is read and written
once the row's `heads` say where the reference keeps it:
`'ranker': {'heads/ranker': 'rank_head'}`. What such a head's outputs mean, such
as the names of classes, is seen to by answers.
"""
