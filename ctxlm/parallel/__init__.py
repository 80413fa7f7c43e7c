"""Where arrays live and a step runs: a placement, on one host or many.

The two placements, pmap.Pmap (replicated parameters) and mesh.Mesh, give the
same things, and nothing above knows which it has; see placement.Placement.
"""
