"""Families of reference models: what differs, and where their tensors lie.

A module here with a `FAMILY` is one row of the table; see family.Family.
"""
