"""The path for accelerators: everything from integrals to the field for a whole batch of one shape, in one program.

    lists = batch_lists(systems, shape, basis, functional, grid_level)       # host, numpy alone
    result = solve_systems(functional, lists, Options(), "float64")          # device: Solutions with a batch axis

Every molecule's numbers are those of ``prepare`` and ``solve_batch``, up to the order of sums.
"""

from qmgen.dft.batched.lists import Lists, batch_lists, load_lists, save_lists
from qmgen.dft.batched.program import Result, solve_systems

__all__ = ["Lists", "Result", "batch_lists", "load_lists", "save_lists", "solve_systems"]
