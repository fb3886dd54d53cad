"""Geometries from files and corpora: what is taken, what is skipped, and how they are split."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from qmgen.constants import BOHR_TO_ANGSTROM
from qmgen.corpus import SPLITS, load, open_corpus
from qmgen.corpus.reader import Corpus
from qmgen.errors import QmgenError, UsageError
from qmgen.labeling.level import level_of
from qmgen.labeling.types import Settings
from qmgen.learning.energy.geometries import Geometry, read_geometries, split
from qmgen.molecules.embedding import embed

LEVEL = level_of(Settings(basis="sto-3g"))
WATER = "3\nname=w{}\nO 0 0 0\nH 0.96 0 0\nH -0.24 0.93 {}\n"


def geometry(source: int, smiles: str = "O", split_name: str = "") -> Geometry:
    return Geometry(np.array([8, 1, 1], np.uint8), np.zeros((3, 3)), smiles, "", source, split_name)


# ---- files


def test_xyz_as_given_and_bad_ones_counted(tmp_path: Path):
    frames = [WATER.format(0, 0.0), "2\ncharge=1\nO 0 0 0\nH 0 0 1\n", "2\nnear\nO 0 0 0\nO 0 0 0.01\n"]
    frames += ["1\nradical\nH 0 0 0\n", "2\nheavy\nAu 0 0 0\nAu 0 0 3\n", "1\nnan\nNe nan 0 0\n", "1\nfull\nNe 0 0 0\n"]
    path = tmp_path / "a.xyz"
    path.write_text("".join([*frames, WATER.format(1, 0.1)]))
    read = read_geometries([path], None, LEVEL, in_process=True)
    assert [(g.name, g.source, g.molecule, g.split) for g in read.geometries] == [
        ("w0", 0, "H2O", ""),
        ("w1", 7, "H2O", ""),
    ]
    expected = np.array([[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0.1]]) / BOHR_TO_ANGSTROM
    np.testing.assert_allclose(read.geometries[1].positions, expected, rtol=1e-7)  # float32 holds them to 6e-8
    assert read.geometries[1].numbers.tolist() == [8, 1, 1]
    # neon in a minimal basis has no orbital to spare
    assert read.skipped == Counter(
        net_charge=1,
        coincident_atoms=1,
        odd_electrons=1,
        unsupported_element=1,
        bad_coordinates=1,
        no_virtual_orbital=1,
    )
    assert len(read.examples) == 5 and read.examples[0].startswith("entry 1: net_charge: ")
    assert "near" in read.examples[1] and not any("\n" in line for line in read.examples)


def test_smiles_are_embedded_as_generate_does(tmp_path: Path):
    smi, csv = tmp_path / "a.smi", tmp_path / "b.csv"
    smi.write_text("OC methanol\n[NH4+] ion\n")
    csv.write_text("smiles\nO\n")
    read = read_geometries([smi, csv], None, LEVEL, seed=3, conformers=2, in_process=True)
    assert [(g.smiles, g.name, g.source) for g in read.geometries] == [
        ("CO", "methanol", 0),
        ("CO", "methanol", 1),
        ("O", "", 3),
        ("O", "", 4),
    ]
    for made, place in zip(read.geometries, (0, 1, 0, 1), strict=True):
        np.testing.assert_array_equal(made.positions, embed(made.smiles, 2, 3).positions[place])
    assert read.skipped == {"net_charge": 1}


def test_worker_gives_the_same_and_ends(tmp_path: Path):
    path = tmp_path / "a.smi"
    path.write_text("CO\nO\nN\n")
    here, there = (read_geometries([path], None, LEVEL, limit=2, in_process=inside) for inside in (True, False))
    assert [g.smiles for g in there.geometries] == ["CO", "O"]
    np.testing.assert_array_equal(here.geometries[1].positions, there.geometries[1].positions)


def test_limit_takes_the_first_usable(tmp_path: Path):
    path = tmp_path / "a.xyz"
    path.write_text("1\nradical\nH 0 0 0\n" + "".join(WATER.format(i, 0.0) for i in range(5)))
    read = read_geometries([path], None, LEVEL, limit=3, in_process=True)
    assert [g.name for g in read.geometries] == ["w0", "w1", "w2"] and read.skipped == {"odd_electrons": 1}


def test_nothing_usable_is_one_line(tmp_path: Path):
    path = tmp_path / "a.xyz"
    path.write_text("1\nradical\nH 0 0 0\n")
    with pytest.raises(UsageError, match=r"no geometry to learn from \(1 cannot be used; .*odd_electrons") as error:
        read_geometries([path], None, LEVEL, in_process=True)
    assert "\n" not in str(error.value)
    with pytest.raises(UsageError, match="no such file"):
        read_geometries([tmp_path / "b.xyz"], None, LEVEL, in_process=True)
    with pytest.raises(UsageError, match="at least one"):
        read_geometries([path], None, LEVEL, limit=0, in_process=True)
    with pytest.raises(ValueError, match="either"):
        read_geometries([path], path, LEVEL)


# ---- a corpus


def usable(table: pa.Table) -> np.ndarray:
    return np.array([sum(z) % 2 == 0 for z in table["z"].to_pylist()])


def test_corpus_with_its_splits_and_no_label(toy: Path, monkeypatch: pytest.MonkeyPatch):
    asked: list[tuple[str, ...]] = []
    real = Corpus.batches

    def watched(self, split_name=None, columns=None, rows=65536):
        asked.append(tuple(columns))
        return real(self, split_name, columns, rows)

    monkeypatch.setattr(Corpus, "batches", watched)
    read = read_geometries(None, toy, LEVEL)
    assert set(asked) == {("molecule_id", "conformer_id", "z", "pos", "smile", "name")}
    tables = {name: load(toy, name) for name in SPLITS}
    good = {name: usable(table) for name, table in tables.items()}
    assert Counter(g.split for g in read.geometries) == {name: int(good[name].sum()) for name in SPLITS}
    assert read.skipped.total() + len(read.geometries) == 280
    assert set(read.skipped) == {"odd_electrons"}  # clusters at random: some are radicals
    first = int(np.argmax(good["train"]))
    assert read.geometries[0].source == first
    row = tables["train"].slice(first, 1).to_pylist()[0]
    assert read.geometries[0].numbers.tolist() == row["z"]
    np.testing.assert_array_equal(read.geometries[0].positions.ravel(), np.array(row["pos"], np.float64))
    assert (read.geometries[0].smiles, read.geometries[0].name) == (row["smile"], row["name"])


def test_limit_of_a_corpus_is_a_seeded_choice(toy: Path):
    every = {g.source: g for g in read_geometries(None, toy, LEVEL).geometries}
    some, again, other = (read_geometries(None, toy, LEVEL, limit=50, seed=seed) for seed in (0, 0, 1))
    assert len(some.geometries) + some.skipped.total() == 50
    assert [g.source for g in some.geometries] == [g.source for g in again.geometries]
    assert [g.source for g in some.geometries] != [g.source for g in other.geometries]
    assert {g.split for g in some.geometries} == set(SPLITS)
    for taken in some.geometries:
        np.testing.assert_array_equal(taken.positions, every[taken.source].positions)


def test_rows_that_do_not_fit_are_skipped(toy: Path, tmp_path: Path):
    import shutil

    copy = tmp_path / "corpus"
    shutil.copytree(toy, copy)
    before = read_geometries(None, copy, LEVEL)
    name = open_corpus(copy).files("validation")[0]
    table = pq.read_table(copy / name)
    good = np.flatnonzero(usable(table))[:3].tolist()
    pos, z = table["pos"].to_pylist(), table["z"].to_pylist()
    pos[good[0]], pos[good[1]][0], z[good[2]] = pos[good[0]][:-1], float("nan"), None
    for column, values in (("pos", pos), ("z", z)):
        field = table.schema.field(column).with_nullable(True)
        table = table.set_column(table.schema.get_field_index(column), field, pa.array(values, field.type))
    pq.write_table(table, copy / name)
    read = read_geometries(None, copy, LEVEL)
    assert len(read.geometries) == len(before.geometries) - 3 and read.skipped["bad_coordinates"] == 3


def test_a_damaged_file_is_one_line(toy: Path, tmp_path: Path):
    import shutil

    copy = tmp_path / "corpus"
    shutil.copytree(toy, copy)
    path = copy / open_corpus(copy).files("validation")[0]
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(QmgenError) as error:
        read_geometries(None, copy, LEVEL)
    assert "cannot be read" in str(error.value) and "\n" not in str(error.value)
    with pytest.raises(UsageError):
        read_geometries(None, tmp_path / "nothing", LEVEL)


# ---- the split


def sources(geometries: list[Geometry], places: np.ndarray) -> set[int]:
    return {geometries[place].source for place in places}


def test_whole_molecules_are_held_out_whatever_the_order():
    geometries = [geometry(i, "C" * (i % 20 + 1)) for i in range(100)]
    train, validation = split(geometries, 0.2, "auto", 0)
    assert sorted([*train, *validation]) == list(range(100)) and train.dtype == np.int64
    learned, held = ({geometries[p].smiles for p in places} for places in (train, validation))
    assert len(held) == 4 and not learned & held
    shuffled = [geometries[p] for p in np.random.default_rng(0).permutation(100)]
    assert sources(shuffled, split(shuffled, 0.2, "molecules", 0)[1]) == sources(geometries, validation)
    assert sources(geometries, split(geometries, 0.2, "auto", 1)[1]) != sources(geometries, validation)


def test_geometries_of_few_molecules_are_held_out_one_by_one():
    geometries = [geometry(i, "C" * (i % 9 + 1)) for i in range(90)]
    train, validation = split(geometries, 0.1, "auto", 0)
    assert len(validation) == 9 and len(train) == 81
    shuffled = [geometries[p] for p in np.random.default_rng(0).permutation(90)]
    assert sources(shuffled, split(shuffled, 0.1, "auto", 0)[1]) == sources(geometries, validation)
    assert len({g.smiles for g in (geometries[p] for p in split(geometries, 0.1, "molecules", 0)[1])}) == 1


@pytest.mark.parametrize("by", ["molecules", "geometries"])
@pytest.mark.parametrize("fraction", [0.001, 0.999])
def test_neither_side_is_empty(by, fraction):
    train, validation = split([geometry(0, "C"), geometry(1, "CC")], fraction, by, 0)
    assert len(train) == len(validation) == 1


def test_one_unit_cannot_be_split():
    with pytest.raises(UsageError, match=r"1 molecule cannot be split .* single geometries"):
        split([geometry(0), geometry(1)], 0.1, "molecules", 0)
    with pytest.raises(UsageError, match="1 geometry cannot be split"):
        split([geometry(0)], 0.1, "auto", 0)
    with pytest.raises(UsageError, match="between 0 and 1"):
        split([geometry(0), geometry(1)], 1.0, "auto", 0)


def test_a_corpus_keeps_its_split_and_its_test_rows():
    names = ["train"] * 15 + ["validation"] * 3 + ["test"] * 2
    geometries = [geometry(i, "C" * (i + 1), name) for i, name in enumerate(names)]
    train, validation = split(geometries, 0.5, "auto", 0)
    assert train.tolist() == list(range(15)) and validation.tolist() == [15, 16, 17]
    without = [g for g in geometries if g.split != "validation"]
    train, validation = split(without, 0.2, "auto", 0)
    assert len(validation) == 3 and sorted([*train, *validation]) == list(range(15))
    train, validation = split(geometries, 0.5, "geometries", 0)
    assert sorted([*train, *validation]) == list(range(18)) and len(validation) == 9
