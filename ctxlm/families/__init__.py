"""Families of reference models: what differs, and where their tensors lie.

A module here with a `FAMILY` is one row of the table; see family.Family. A
head that an objective calls as `model.head('classifier', ...)` is read and
written once the row's `heads` say where the reference keeps it:
`'classifier': {'heads/classifier': 'classifier'}`.
"""
