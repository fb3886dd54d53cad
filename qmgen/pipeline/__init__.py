"""The composition: source, conformers, labels, rows, shards. ``run.generate`` for files, ``api.label`` for Python.

Empty on purpose: a worker imports this package before it pins itself, and numpy and jax only after that.
"""
