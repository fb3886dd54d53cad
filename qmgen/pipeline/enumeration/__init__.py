"""``qmgen enumerate``, and enumerated molecules as the source of a run.

``run`` (settings to a selection; modes), ``output`` (what is written), ``parts`` (the source of a run), ``feeder`` (the
process that enumerates for it).
"""
