"""What the scripts beside this folder measure; not installed. A script finds it because Python puts the script's own
folder on the search path.

Nothing is imported here: ``device`` runs where neither RDKit nor PySCF is installed.
"""
