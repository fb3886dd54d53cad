"""Bad input, one kind at a time: a line that says what is wrong, and nothing lost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from qmgen.cli.main import main
from qmgen.corpus import open_corpus

SMILES = """\
O water
not-a-smiles unreadable
CBr unsupported_element
[NH4+] net_charge
[CH3] odd_electrons
C1#CC1 embedding_failed
[He] no_virtual_orbital
"""
GEOMETRIES = """\
3
name=water
O 0 0 0
H 0 0.76 0.59
H 0 -0.76 0.59
2
name=coincident_atoms
C 0 0 0
O 0 0 0
2
name=bad_coordinates
C 0 0 0
O 0 nan 1.1
2
name=odd_electrons
N 0 0 0
O 0 0 1.15
2
name=unsupported_element
H 0 0 0
Br 0 0 1.4
1
name=net_charge charge=1
Li 0 0 0
2
name=unreadable
C 0 0 0
"""
FAILING = [line.split()[1] for line in SMILES.splitlines()[1:]]
FAILING_GEOMETRIES = [line.split()[0][5:] for line in GEOMETRIES.splitlines()[6:] if line.startswith("name=")]
CONFORMERS = 2


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with all that is wrong in files, and a corpus made of it beside two good molecules."""
    folder = tmp_path_factory.mktemp("bad")
    (folder / "bad.smi").write_text(SMILES)
    (folder / "bad.xyz").write_text(GEOMETRIES)
    (folder / "good.smi").write_text("O\n")
    (folder / "empty.smi").write_text("")
    (folder / "comment.smi").write_text("# nothing else\n")
    (folder / "binary.smi").write_bytes(bytes(range(256)))
    (folder / "bad.toml").write_text('molecules = "good.smi"\nout = "other"\nconfomers = 3\n')
    words = ["--molecules", str(folder / "bad.smi"), "--molecules", str(folder / "bad.xyz"), "--grid-level", "0"]
    level = ["--conformers", str(CONFORMERS), "--units", "1", "--workers", "1", "--quiet"]
    assert main(["generate", *words, *level, "--out", str(folder / "corpus")]) == 0
    return folder


@pytest.fixture(scope="module")
def failures(place: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = open_corpus(place / "corpus").failures().to_pylist()
    return rows


@pytest.mark.parametrize(("molecule_id", "reason"), list(enumerate(FAILING, start=1)))
def test_a_smiles_that_cannot_be_labeled_is_a_failure_with_its_reason(
    molecule_id: int, reason: str, failures: list[dict[str, Any]]
) -> None:
    found = [failure for failure in failures if failure["molecule_id"] == molecule_id]
    assert {failure["reason"] for failure in found} == {reason} == {failure["name"] for failure in found}
    # what is known of the whole molecule is said once; an embedding may fail for one conformer and not for another
    assert [f["conformer_id"] for f in found] == (list(range(CONFORMERS)) if reason == "embedding_failed" else [-1])
    assert all(failure["detail"] and "\n" not in failure["detail"] for failure in found)


@pytest.mark.parametrize(("frame", "reason"), list(enumerate(FAILING_GEOMETRIES, start=1)))
def test_a_geometry_that_cannot_be_labeled_is_a_failure_with_its_reason(
    frame: int, reason: str, failures: list[dict[str, Any]]
) -> None:
    (found,) = [f for f in failures if f["molecule_id"] == frame + len(FAILING) + 1]
    assert (found["reason"], found["conformer_id"]) == (reason, 0)
    assert found["detail"] and "\n" not in found["detail"]


def test_the_molecules_beside_them_are_unharmed(place: Path) -> None:
    rows = open_corpus(place / "corpus").table().to_pylist()
    water, given = 0, len(FAILING) + 1
    assert [(row["molecule_id"], row["conformer_id"]) for row in rows] == [(water, 0), (water, 1), (given, 0)]
    assert all(row["converged"] for row in rows)


def test_python_tells_the_same(place: Path, failures: list[dict[str, Any]]) -> None:
    import qmgen

    labels = qmgen.label([line.split()[0] for line in SMILES.splitlines()[1:]], conformers=CONFORMERS, grid_level=0)
    assert labels.table.num_rows == 0 and all(row["reason"] for row in labels)
    assert labels.failures["reason"].to_pylist() == [f["reason"] for f in failures if f["molecule_id"] <= len(FAILING)]


GOOD = ("--molecules", "good.smi")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--molecules", "empty.smi"), "empty.smi is empty"),
        (("--molecules", "comment.smi"), "comment.smi holds no molecules"),
        (("--molecules", "none.smi"), "no such file: none.smi"),
        ((*GOOD, "--molecules", "none.smi"), "no such file: none.smi"),
        ((*GOOD, "--xc", "b3lpy"), "did you mean 'b3lyp'"),
        ((*GOOD, "--basis", "sto-3"), "did you mean 'sto-3g'"),
        ((*GOOD, "--grid-level", "6"), "less than or equal to 5"),
        ((*GOOD, "--guess", "magic"), "should be atoms, core, or a run of"),
        ((*GOOD, "--out", "corpus"), "corpus holds another corpus"),
        (
            (*GOOD, "--basis", "crenbs"),
            "effective core potentials, which are not supported: use a set for all",
        ),
        ((*GOOD, "--basis", "cc-pvdz-jkfit"), "holds no orbitals: use an orbital set, such as def2-svp"),
        ((*GOOD, "--basis", "cc-pv5z", "--jk", "exact"), "use a smaller one, such as def2-tzvp"),
        ((*GOOD, "--jk", "fitted"), "jk = 'fitted' given as --jk: should be 'auto', 'exact' or 'df'"),
        ((*GOOD, "--jk", "df"), "no fitting set belongs to sto-3g: use --jk exact, or name one, as --auxbasis"),
        (
            (*GOOD, "--jk", "exact", "--auxbasis", "def2-tzvp-jkfit"),
            "of no use with jk = 'exact': leave out one",
        ),
        (
            (*GOOD, "--auxbasis", "def2-tzvp-jkfit"),
            "of no use with --jk exact, the default of sto-3g: leave it out",
        ),
        ((*GOOD, "--basis", "6-31g*", "--auxbasis", "cc-pvdz-fit"), "such as def2-universal-jkfit"),
        (
            (*GOOD, "--basis", "6-31g*", "--auxbasis", "cc-pvz-jkfit"),
            "unknown fitting set 'cc-pvz-jkfit'; did you",
        ),
        ((*GOOD, "--basis", "6-31g*", "--auxbasis", "cc-pv5z-jkfit"), "has functions beyond h: use a smaller one"),
        (
            (*GOOD, "--basis", "def2-svp", "--auxbasis", "weigend"),
            "made for J alone, and b3lyp5 needs K: use def2",
        ),
        (("bad.toml",), "there is no setting 'confomers'; did you mean 'conformers'"),
    ],
    ids=[
        *(
            "empty",
            "comments",
            "missing",
            "one missing",
            "functional",
            "basis",
            "grid",
            "guess",
            "another corpus",
            "core potentials",
            "no orbitals",
            "beyond f",
            "another jk",
            "no fitting set",
            "exact with a fitting set",
            "exact by default with a fitting set",
            "of another kind",
            "unknown fitting set",
            "beyond h",
            "J alone",
            "key",
        ),
    ],
)
def test_what_cannot_work_is_refused_in_one_line_before_any_work(
    words: tuple[str, ...],
    message: str,
    place: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(place)
    out = () if "--out" in words or words[0].endswith(".toml") else ("--out", "other")
    assert main(["generate", *words, *out]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert message in printed.err and printed.err.startswith("qmgen: ")
    assert printed.err.count("\n") == 1
    assert not (place / "other").exists()


def test_a_file_of_other_bytes_is_counted_line_by_line(place: Path) -> None:
    words = ["generate", "--molecules", str(place / "binary.smi"), "--out", str(place / "bytes"), "--quiet"]
    assert main([*words, "--workers", "1", "--units", "1", "--max-failures", "0"]) == 3
    corpus = open_corpus(place / "bytes")
    assert len(corpus) == 0
    assert set(corpus.failures()["reason"].to_pylist()) == {"unreadable"}


def test_a_basis_beyond_f_says_so(place: Path) -> None:
    import qmgen

    (failure,) = qmgen.label(["O"], basis="def2-qzvp", jk="exact", conformers=3).failures.to_pylist()
    assert failure["reason"] == "unsupported_element"
    said = "O with functions beyond s, p, d and f in basis def2qzvp: use a smaller one, such as def2-tzvp"
    assert failure["detail"] == said
