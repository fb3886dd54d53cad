"""``qmgen enumerate``: from settings to molecules in a file, a sample, or a table of counts.

``setup`` (settings to a selection) → ``run`` (modes) → ``output`` (a file that survives a stop), ``sample``, ``count``.
"""
