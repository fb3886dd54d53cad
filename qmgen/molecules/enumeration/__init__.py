"""Every molecule of a size or a formula, each once: graphs, then bond orders, then elements, each stage orderly.

    from qmgen.molecules.enumeration.chemistry import molecules
    from qmgen.molecules.enumeration.items import Query, batches

    for batch in batches(Query.of_formula("C3H4O3")):   # multigraphs, in a fixed order
        for mol in molecules(batch):                    # RDKit's molecules, each Kekulé form by itself
            print(Chem.MolToSmiles(mol))

The stages: ``graphs`` (connected graphs of degree at most 4), ``assignment`` (bond orders on the edges, elements on the
vertices), ``chemistry`` (RDKit molecules). ``pruning`` holds what a rule set may forbid at each. There is no table of
what was seen: a part is enumerated alone.

The inner loops are compiled by Numba when first used: under half a minute once, kept on disk (see ``graphs.jit``).
"""
