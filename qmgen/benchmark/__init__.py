"""``qmgen bench``: qmgen next to PySCF on the same molecules, in one run (``measure``, ``tables``)."""
