"""Every figure of one machine and its accelerator, from one command: ``scripts/bench_device``.

Each measurement is a process of its own (``child``), so that the device's memory, its compiled programs and its
crashes are that measurement's alone; the command (``session``) never touches the device. Neither RDKit nor PySCF is
needed: geometries come from a file (``geometries``).
"""
