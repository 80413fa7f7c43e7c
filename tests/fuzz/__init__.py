"""Damaged and hostile files: each is read, or answered in one line.

`python -m tests.fuzz --seconds=600` changes valid folders (targets.py) by
chance (mutations.py) and reads them as a user would. What is neither read nor
a UserError of one line, what takes longer than SECONDS, what ends the process,
and what opens a file outside of the folder is printed with its seed, which
`--seed=N` runs again.
"""
