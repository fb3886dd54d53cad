"""The columns of a corpus: QM1B's ten first, under QM1B's names, units and meaning, then ours.

Every field carries ``unit`` and ``description``; what holds for all rows (level of theory, grid, thresholds, seeds,
constants, configuration hash) stands once in the file's metadata, under keys that begin with ``qmgen.``.

QM1B: Mathiasen et al., "Generating QM1B with PySCF_IPU", NeurIPS 2023 Datasets and Benchmarks.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

import pyarrow as pa

from qmgen.documents import json_of

#: 2 added ``mapped_smiles``, ``spin_hint`` and the columns that are kept of the source
SCHEMA_VERSION: Final = 2
KNOWN_VERSIONS: Final = (1, 2)
PREFIX: Final = "qmgen."

_PLACE = "0-based place of the molecule in the source"
_PLACE_IN_PART = "2^32 times the 0-based number of the work unit, plus the 0-based place of the molecule in it"
_STD = "standard deviation of the total energy over the last two iterations, at the final grid and precision"
_MAPPED = (
    "SMILES with all hydrogens as atoms: atom map number k, from 1, is the k-th atom of z, pos and charges; "
    "empty where the bonds are not known"
)
_SPIN = "what of the geometry is known to have a triplet ground state; empty for all else. Labels are of closed shells"


def _field(name: str, kind: pa.DataType, unit: str, description: str) -> pa.Field:
    return pa.field(name, kind, nullable=False, metadata={"unit": unit, "description": description})


def _list(kind: pa.DataType) -> pa.DataType:
    return pa.list_(pa.field("element", kind, nullable=False))


def row_fields(
    forces: bool = False,
    std_description: str = _STD,
    parts: bool = False,
    version: int = SCHEMA_VERSION,
    keep: Sequence[str] = (),
) -> list[pa.Field]:
    """The fields of a row in file order; ``forces`` adds the opt-in column, ``parts``: of a whole enumeration; ``keep``
    names the columns of the source that are carried through."""
    fields = [
        _field("smile", pa.string(), "1", "canonical SMILES of the molecule; empty for a bare geometry"),
        _field("atoms", pa.string(), "1", "element symbols in the order of z, written together"),
        _field("z", _list(pa.uint8()), "1", "atomic numbers"),
        _field("energy", pa.float64(), "eV", "total electronic energy with nuclear repulsion"),
        _field("homo", pa.float64(), "eV", "energy of the highest occupied Kohn-Sham orbital"),
        _field("lumo", pa.float64(), "eV", "energy of the lowest unoccupied Kohn-Sham orbital"),
        _field("N", pa.uint16(), "1", "number of atomic orbitals"),
        _field("std", pa.float64(), "eV", std_description),
        _field("y", pa.float64(), "eV", "gap: lumo - homo"),
        _field("pos", _list(pa.float32()), "Bohr", "positions, flat: x y z of the first atom, of the second, ..."),
        _field("molecule_id", pa.int64(), "1", _PLACE_IN_PART if parts else _PLACE),
        _field("conformer_id", pa.int32(), "1", "0-based number of the geometry of this molecule"),
        _field("name", pa.string(), "1", "name that the source gave; empty if none"),
        _field("converged", pa.bool_(), "1", "whether the self-consistent field met the thresholds of the metadata"),
        _field("cycles", pa.int16(), "1", "self-consistent-field cycles: steps of DIIS"),
        _field("orbital_gradient", pa.float64(), "Hartree", "norm of the orbital gradient when the cycles ended"),
        _field("dipole", _list(pa.float64()), "Debye", "electric dipole moment (x, y, z)"),
        _field("charges", _list(pa.float64()), "e", "Mulliken charges, in the order of z"),
    ]
    if forces:
        fields.append(_field("forces", _list(pa.float64()), "eV/Angstrom", "forces on the atoms, flat as pos"))
    fields.append(_field("precision", pa.string(), "1", "arithmetic path that made the row"))
    if version > 1:
        fields += [
            _field("mapped_smiles", pa.string(), "1", _MAPPED),
            _field("spin_hint", pa.string(), "1", _SPIN),
            *(_field(column, pa.string(), "1", _kept(name)) for name, column in kept_columns(keep).items()),
        ]
    return fields


def kept_columns(keep: Sequence[str]) -> dict[str, str]:
    """The columns of a corpus that hold the columns ``keep`` of its source: the same names, but ``input_energy`` where
    a corpus has an ``energy`` of its own. ``name`` needs no column beside the one that there is."""
    own = {field.name for field in row_fields(forces=True)} if keep else set()
    return {name: f"input_{name}" if name in own else name for name in keep if name != "name"}


def _kept(name: str) -> str:
    return f"{json.dumps(name, ensure_ascii=False)} of the source, as text; empty where it has none"


def failure_fields(parts: bool = False) -> list[pa.Field]:
    """The fields of the failures files: every molecule or conformer that got no label, and why."""
    return [
        _field("molecule_id", pa.int64(), "1", _PLACE_IN_PART if parts else _PLACE),
        _field("conformer_id", pa.int32(), "1", "number of the geometry; -1 when the whole molecule is concerned"),
        _field("name", pa.string(), "1", "name that the source gave; empty if none"),
        _field("smile", pa.string(), "1", "SMILES as far as known; empty for a bare geometry"),
        _field("reason", pa.string(), "1", "one of a closed list of reasons"),
        _field("detail", pa.string(), "1", "what exactly happened"),
    ]


def row_schema(
    metadata: Mapping[str, Any] | None = None, forces: bool = False, std_description: str = _STD
) -> pa.Schema:
    """Schema of the data files; ``metadata`` holds plain JSON values, without the prefix, and says which columns there
    are: by its ``schema_version`` (the newest where it has none), and by ``keep`` in its ``recipe``."""
    about = metadata or {}
    fields = row_fields(
        forces, std_description, is_of_parts(about), about.get("schema_version", SCHEMA_VERSION), keep_of(about)
    )
    return pa.schema(fields, metadata=encode(about))


def failure_schema(metadata: Mapping[str, Any] | None = None) -> pa.Schema:
    """Schema of the failures files."""
    return pa.schema(failure_fields(is_of_parts(metadata)), metadata=encode(metadata or {}))


def is_of_parts(metadata: Mapping[str, Any] | None) -> bool:
    """Whether the units of a corpus are parts of an enumeration: its recipe then describes the source, and lists no
    digests of files."""
    return isinstance((metadata or {}).get("recipe", {}).get("source"), Mapping)


def keep_of(metadata: Mapping[str, Any]) -> list[str]:
    """The columns of the source that are carried through, as far as the recipe lists any."""
    recipe = metadata.get("recipe")
    keep = recipe.get("keep") if isinstance(recipe, Mapping) else None
    return [name for name in keep if isinstance(name, str)] if isinstance(keep, list | tuple) else []


def encode(metadata: Mapping[str, Any]) -> dict[str, str]:
    """File metadata as Parquet wants it: prefixed keys; strings as they are, all else as canonical JSON."""
    plain = {"schema_version": SCHEMA_VERSION, **metadata}
    return {PREFIX + key: value if isinstance(value, str) else canonical_json(value) for key, value in plain.items()}


def decode(metadata: Mapping[bytes, bytes] | None) -> dict[str, Any]:
    """The inverse of :func:`encode`: our keys alone, JSON read back; ``{}`` where there are none."""
    plain: dict[str, Any] = {}
    for key, value in (metadata or {}).items():
        name = key.decode()
        if not name.startswith(PREFIX):
            continue
        text = value.decode()
        try:
            plain[name.removeprefix(PREFIX)] = json_of(text)
        except ValueError:
            plain[name.removeprefix(PREFIX)] = text
    return plain


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no spaces: one text for one value. NaN raises ``ValueError``."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
