"""qmgen next to PySCF on the same molecules, in one run (``measure``, ``render``); what a device does (``device``); how
time and memory grow (``growth``); and what this machine has (``doctor``).

Nothing is imported here: ``device`` runs where neither RDKit nor PySCF is installed.
"""
