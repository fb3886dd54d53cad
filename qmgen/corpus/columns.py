"""The columns of the data files, each declared once: QM1B's ten first, under QM1B's names, units and meaning.

The schema, the rows, the checks of rows, the comparison with PySCF, the targets of training, the card of a corpus and
the table in docs/formats.md follow from ``COLUMNS``. docs/architecture.md says how to add a property of molecules.

QM1B: Mathiasen et al., "Generating QM1B with PySCF_IPU", NeurIPS 2023 Datasets and Benchmarks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from qmgen.constants import AU_TO_DEBYE, BOHR_TO_ANGSTROM, HARTREE_TO_EV


@dataclass(frozen=True)
class ReferenceCheck:
    """How ``qmgen validate`` compares a column with PySCF.

    ``symbol`` and ``unit`` stand in its table; columns in eV are compared in Hartree (``Ha``), all others in their own
    unit. ``tolerance`` is the largest accepted difference, or the name of the setting that holds it (a field of
    ``qmgen.validation.Tolerances``). The difference of lists of a fixed length is the norm of the difference, that of
    lists with values per atom the largest of the atoms. ``name`` is the quantity's where that is not the column's.
    """

    symbol: str
    unit: str
    tolerance: float | str
    name: str = ""


@dataclass(frozen=True)
class Column:
    """One column of the data files.

    Attributes:
        type: of the values; of the elements where the column holds lists.
        length: number of elements of a list; 0 for a column without lists.
        per_atom: whether a list holds ``length`` elements for each atom.
        from_property: the value from the property of the same name in ``qmgen.dft.properties.PROPERTIES``, which is in
            atomic units; None for a column that is no such property.
        from_label: the value from a ``qmgen.labeling.types.Label``, for a column that is no such property; None for one
            that follows from the geometry.
        check: how it is compared with PySCF; None where it is not.
        target: how a network makes it from what it has for each atom: the sum (``scalar``, or ``extensive`` where it
            grows with the molecule), the dipole moment of latent charges (``dipole``), minus the gradient of the energy
            (``forces``); empty where it cannot be a target of training.
        since: the version of the format that brought it.
        opt_in: whether files may lack it.
    """

    name: str
    type: pa.DataType
    unit: str
    description: str
    length: int = 0
    per_atom: bool = False
    from_label: Callable[[Any], Any] | None = None
    from_property: Callable[[Any], Any] | None = None
    check: ReferenceCheck | None = None
    target: Literal["", "scalar", "extensive", "dipole", "forces"] = ""
    since: int = 1
    opt_in: bool = False

    @property
    def field(self) -> pa.Field:
        """The field of the schema, with ``unit`` and ``description`` in its metadata."""
        kind = pa.list_(pa.field("element", self.type, nullable=False)) if self.length else self.type
        return pa.field(self.name, kind, nullable=False, metadata={"unit": self.unit, "description": self.description})

    def shape(self, atoms: int) -> tuple[int, ...]:
        """The shape of the value of a molecule: () where the column holds no lists."""
        return (self.length * (atoms if self.per_atom else 1),) if self.length else ()

    def is_in(self, schema: pa.Schema) -> bool:
        """Whether files of ``schema`` have this column. A corpus of an earlier version may hold a column of the source,
        which is text, under a name that came later."""
        place = schema.get_field_index(self.name)
        if place < 0:
            return False
        kind = schema.field(place).type
        return (
            bool(pa.types.is_list(kind)) if self.length else pa.types.is_string(kind) == pa.types.is_string(self.type)
        )


COLUMNS: Final = (
    Column("smile", pa.string(), "1", "canonical SMILES of the molecule; empty for a bare geometry"),
    Column("atoms", pa.string(), "1", "element symbols in the order of z, written together"),
    Column("z", pa.uint8(), "1", "atomic numbers", length=1, per_atom=True),
    Column(
        "energy", pa.float64(), "eV", "total electronic energy with nuclear repulsion",
        from_label=lambda label: label.energy * HARTREE_TO_EV,
        check=ReferenceCheck("|ΔE|", "Ha", "energy"), target="extensive",
    ),
    Column(
        "homo", pa.float64(), "eV", "energy of the highest occupied Kohn-Sham orbital",
        from_label=lambda label: label.homo * HARTREE_TO_EV,
        check=ReferenceCheck("|ΔHOMO|", "Ha", "orbital"), target="scalar",
    ),
    Column(
        "lumo", pa.float64(), "eV", "energy of the lowest unoccupied Kohn-Sham orbital",
        from_label=lambda label: label.lumo * HARTREE_TO_EV,
        check=ReferenceCheck("|ΔLUMO|", "Ha", "orbital"), target="scalar",
    ),
    Column("N", pa.uint16(), "1", "number of atomic orbitals", from_label=lambda label: int(label.n_orbitals)),
    Column(
        "std", pa.float64(), "eV",
        "standard deviation of the total energy over the last two iterations, at the final grid and precision",
        from_label=lambda label: label.energy_std * HARTREE_TO_EV,
    ),
    Column(
        "y", pa.float64(), "eV", "gap: lumo - homo",
        from_label=lambda label: label.lumo * HARTREE_TO_EV - label.homo * HARTREE_TO_EV,
        check=ReferenceCheck("|Δgap|", "Ha", "orbital", name="gap"), target="scalar",
    ),
    Column(
        "pos", pa.float32(), "Bohr", "positions, flat: x y z of the first atom, of the second, ...",
        length=3, per_atom=True,
    ),
    Column("molecule_id", pa.int64(), "1", "0-based place of the molecule in the source"),
    Column("conformer_id", pa.int32(), "1", "0-based number of the geometry of this molecule"),
    Column("name", pa.string(), "1", "name that the source gave; empty if none"),
    Column(
        "converged", pa.bool_(), "1", "whether the self-consistent field met the thresholds of the metadata",
        from_label=lambda label: bool(label.converged),
    ),
    Column(
        "cycles", pa.int16(), "1", "self-consistent-field cycles: steps of DIIS",
        from_label=lambda label: int(label.cycles),
    ),
    Column(
        "orbital_gradient", pa.float64(), "Hartree", "norm of the orbital gradient when the cycles ended",
        from_label=lambda label: float(label.orbital_gradient),
    ),
    Column(
        "dipole", pa.float64(), "Debye", "electric dipole moment (x, y, z)", length=3,
        from_property=lambda moment: moment * AU_TO_DEBYE,
        check=ReferenceCheck("|Δdipole|", "D", "dipole"), target="dipole",
    ),
    Column(
        "charges", pa.float64(), "e", "Mulliken charges, in the order of z", length=1, per_atom=True,
        from_property=lambda charges: charges,
    ),
    Column(
        "forces", pa.float64(), "eV/Angstrom", "forces on the atoms, flat as pos", length=3, per_atom=True,
        target="forces", opt_in=True,
    ),
    Column(
        "precision", pa.string(), "1", "arithmetic path that made the row", from_label=lambda label: label.precision
    ),
    Column(
        "mapped_smiles", pa.string(), "1",
        "SMILES with all hydrogens as atoms: atom map number k, from 1, is the k-th atom of z, pos and charges; empty "
        "where the bonds are not known", since=2,
    ),
    Column(
        "spin_hint", pa.string(), "1",
        "what of the geometry is known to have a triplet ground state; empty for all else. Labels are of closed shells",
        since=2,
    ),
    Column(
        "quadrupole", pa.float64(), "Debye Angstrom",
        "traceless electric quadrupole moment (xx, xy, xz, yy, yz, zz) about the center of nuclear charge, of charges "
        "q at r: sum of q (3 r_i r_j - delta_ij r^2) / 2 (Buckingham)", length=6,
        from_property=lambda moment: moment * AU_TO_DEBYE * BOHR_TO_ANGSTROM,
        # of first order in the error of the density, as the dipole: its 1e-3 D at arms of 10 Angstrom
        check=ReferenceCheck("|Δquadrupole|", "D Å", 1e-2), since=3,
    ),
    Column(
        "lowdin_charges", pa.float64(), "e", "Löwdin charges in the order of z, by S^(1/2) D S^(1/2) of all orbitals",
        length=1, per_atom=True, from_property=lambda charges: charges,
        # of first order in the error of the density, as the dipole: its 1e-3 D in e Bohr
        check=ReferenceCheck("|ΔLöwdin charge|", "e", 4e-4), since=3,
    ),
)  # fmt: skip

#: of the format of data files: ``since`` of the columns says what came with which; 2 added the columns that are kept of
#: the source too
SCHEMA_VERSION: Final = max(column.since for column in COLUMNS)
KNOWN_VERSIONS: Final = tuple(range(1, SCHEMA_VERSION + 1))
#: those that hold a property of ``qmgen.dft.properties``, under its name
PROPERTY_COLUMNS: Final = tuple(column for column in COLUMNS if column.from_property is not None)
#: by the names of quantities in ``qmgen validate``
CHECKED: Final = {column.check.name or column.name: column for column in COLUMNS if column.check is not None}


def values_of(label: Any) -> dict[str, Any]:
    """The columns of a row that follow from a ``label``, in the units of the corpus."""
    found: dict[str, Any] = {}
    for column in COLUMNS:
        if column.from_property is not None:
            value = column.from_property(label.properties[column.name])
            found[column.name] = value if column.length else np.asarray(value).item()
        elif column.from_label is not None:
            found[column.name] = column.from_label(label)
    return found


def faults(table: pa.Table) -> Iterator[str]:
    """What is wrong with the values of rows, a phrase for each column: empty values, numbers that are not finite, and
    lists of a wrong length."""
    for field in table.schema:
        values = table[field.name]
        if values.null_count:
            yield f"column {field.name} holds {values.null_count} empty value(s)"
        flat = pc.list_flatten(values) if pa.types.is_list(field.type) else values
        if pa.types.is_floating(flat.type):
            bad = len(flat) - (pc.sum(pc.is_finite(flat)).as_py() or 0)
            if bad:
                yield f"column {field.name} holds {bad} number(s) that are NaN or infinite"
    atoms = pc.list_value_length(table["z"]).to_numpy()
    for column in COLUMNS:
        if column.length and column.is_in(table.schema):
            lengths = pc.list_value_length(table[column.name]).to_numpy()
            if not np.array_equal(lengths, column.length * (atoms if column.per_atom else np.ones_like(atoms))):
                per_atom = "(s) per atom" if column.per_atom else "s"
                yield f"column {column.name} does not hold {column.length} value{per_atom} in every row"
