"""The files that others' tensors lie in."""
