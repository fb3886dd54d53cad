"""What makes a molecule and what does not: labels, written hydrogens, queries, CXSMILES."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rdkit import Chem
from rdkit.Chem import AllChem

from qmgen.molecules.entries import from_molecule, merge_duplicates
from qmgen.molecules.rules.ruleset import check_lines, load_rules
from qmgen.molecules.smiles import (
    canonical,
    canonical_set,
    from_smiles,
    of_geometry,
    syntax_problem,
    unlabeled,
    without_labels,
)
from qmgen.molecules.types import Failure, Molecule, Reason

#: with stereo of every kind that a SMILES can mark, hydrogens that RDKit keeps, charges, aromatic nitrogen
VARIED = [
    "C[C@H](N)C(=O)O",
    "C[C@@H](N)C(=O)O",
    "F/C=C/F",
    "F/C=C\\F",
    "C/C=N/O",
    "[H]/N=C/C",
    "[H]/N=C\\C",
    "C[C@@H]1CC[C@H](O)C1",
    "OC[C@H]1OC(O)[C@H](O)[C@@H](O)[C@@H]1O",
    "C[S@](=O)CC",
    "C/C=C\\C=C\\C",
    "N[C@@H](C)/C=C/C#N",
    "[O-][n+]1ccccc1",
    "c1cc[nH]c1",
    "C[N+](=O)[O-]",
    "CN=[N+]=[N-]",
    "[BH3-][NH3+]",
    "CS(C)(=O)=O",
    "O=C=O",
    "[H][H]",
    "O",
    "F",
]


def smiles_of(text: str) -> str:
    entry = from_smiles(0, text, "")
    assert isinstance(entry, Molecule), entry
    return entry.smiles


@pytest.mark.parametrize(
    "texts",
    [
        ["CO", "[CH3:1][OH:2]", "[13CH3]O", "[2H]C([2H])([2H])O", "[D]OC", "[H]OC", "C[18OH:7]", "[CH3:0][OH:001]"],
        ["C", "[2H]C", "[CH4:1]", "[14CH4]", "[T]C", "[H]C([H])([H])[H]", "[D:1][C:2]([H:3])([2H:4])[H]", "[0CH4]"],
        ["O", "[2H]O[2H]", "[OH2:1]", "[2H][18O:3][H]"],
        ["[H][H]", "[HH]", "[2H][2H]", "[2HH]", "[H:1][H:2]", "[T][D]"],
        ["CC=C", "[2H]/C=C/C", "[H]/C=C\\C", "[CH2:1]=[CH:2][CH3:3]", "C/C=C/[H]", "C/C=C/[D]"],
        ["CCO", "[2H][C@H](C)O", "[2H][C@@H](C)O", "C[C@]([H])([D])O"],
        ["CC(C)O", "[CH3:1][C@H]([CH3:2])O", "[13CH3][C@@H](C)O"],
        ["CC=C(C)C", "[13CH3]/C(C)=C/C", "[CH3:1]/C([CH3:2])=C/C"],
        ["C[C@H](N)C(=O)O", "[CH3:1][C@H:2]([NH2:3])[C:4](=[O:5])[OH:6]", "[13CH3][C@H]([15NH2])C(=O)[18OH]"],
        ["F/C=C/F", "F/C([2H])=C/F", "[F:1]/[CH:2]=[CH:3]/[F:4]", "[H]/C(F)=C(/[H])F", "[2H]/C(F)=C(/[2H])F"],
        ["[H]/N=C/C", "[2H]/N=C/C", "[H]/[15N:3]=[CH:1]/C"],
        ["c1ccccc1", "[2H]c1c([2H])c([2H])c([2H])c([2H])c1[2H]", "[cH:1]1[cH:2][cH:3][cH:4][cH:5][13cH]1"],
    ],
)
def test_labels_and_written_hydrogens_make_no_molecules(read, texts: list[str]) -> None:
    entries = merge_duplicates(read("a.smi", "".join(f"{text} n{k}\n" for k, text in enumerate(texts))))
    kept = list(entries)
    assert [(one.molecule_id, one.smiles, one.name) for one in kept] == [(0, smiles_of(texts[0]), "n0")]
    assert entries.merged == len(texts) - 1
    assert canonical_set(texts) == {kept[0].smiles} and {canonical(text) for text in texts} == {kept[0].smiles}


@pytest.mark.parametrize("smiles", VARIED)
def test_every_molecule_is_itself_under_every_label(smiles: str) -> None:
    """Numbers on all atoms, isotopes on all atoms, all hydrogens written, and all three, in any order of the atoms."""
    mol = Chem.MolFromSmiles(smiles)
    plain = Chem.MolToSmiles(mol)
    assert smiles_of(smiles) == plain  # what has no label is what RDKit says
    for written, numbered, heavy in [(0, 1, 0), (0, 0, 1), (1, 0, 0), (1, 1, 0), (1, 0, 1), (1, 1, 1)]:
        one = Chem.AddHs(mol) if written else Chem.Mol(mol)
        for atom in one.GetAtoms():
            atom.SetAtomMapNum(numbered * (atom.GetIdx() + 1))
            atom.SetIsotope(heavy * 2 * atom.GetAtomicNum())
        text = Chem.MolToSmiles(one)
        assert smiles_of(text) == plain, text
        assert smiles_of(Chem.MolToRandomSmilesVect(one, 1, randomSeed=5)[0]) == plain


@pytest.mark.parametrize("pair", [("C[C@H](N)O", "C[C@@H](N)O"), ("F/C=C/F", "F/C=C\\F"), ("C[C@H](O)F", "CC(O)F")])
def test_stereo_of_labeled_molecules_is_kept(pair: tuple[str, str]) -> None:
    for number in (0, 1):
        labeled = []
        for smiles in pair:
            mol = Chem.MolFromSmiles(smiles)
            for atom in mol.GetAtoms():
                atom.SetAtomMapNum(number * (atom.GetIdx() + 1))
                atom.SetIsotope(30)
            labeled.append(smiles_of(Chem.MolToSmiles(mol)))
        assert labeled == [smiles_of(smiles) for smiles in pair] and labeled[0] != labeled[1]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("C~C", "(~)"),
        ("C1CC~1", "(~)"),
        ("CC~O |a:0|", "(~)"),
        ("C*", "(*)"),
        ("[*]C", "(*)"),
        ("[1*]C", "(*)"),
        ("*", "(*)"),
        ("[#6]", "[#6]"),
        ("[#6H3]C", "[#6]"),
        ("[13#6H4]", "[#6]"),
        ("[#1]C", "[#6]"),
        ("[#0]C", "[#6]"),
        ("C$C", "($)"),
        ("[NH3]->[BH3]", "dative"),
        ("N->B", "dative"),
        ("B<-N", "dative"),
        ("[C;H3]C", "SMARTS"),
        ("[C&H3]C", "SMARTS"),
        ("[C,N]C", "SMARTS"),
        ("[!C]", "SMARTS"),
        ("[R]", "SMARTS"),
        ("[CX4]", "SMARTS"),
        ("[$(CC)]C", "SMARTS"),
        ("C@C", "SMARTS"),
        ("C!-C", "SMARTS"),
        ("[r5]C", "SMARTS"),
        *(
            (text, "not a SMILES that RDKit can read")
            for text in ("nan", "N/A", "NA", "n/a", "[Xx]", "CAS", "a", "[Du]")
        ),
        *((f"C{mark}C", "a control character") for mark in ("\x00", "\t", "\x7f", "\n")),
        *((text, "beyond ASCII") for text in ("C\u00e9", "C\u2212C", "\u0421")),
        ("CC>>CO", "reaction"),
        ("CC>N>CO", "reaction"),
        ("[CH3:1][Cl:2]>>[CH3:1][OH:2]", "reaction"),
        ("C:C", "aromatic"),
        ("C:CC", "aromatic"),
        ("CC |^1:0|", "radicals"),
        ("CC |^2:1|", "radicals"),
        ("CC |^1:0,^1:1|", "radicals"),
        ("CC |a:0,^1:0|", "radicals"),
        ("CC |(0,0,;1,0,),^1:0|", "radicals"),
        ("CC |$Ph;$|", "labels"),
        ("CC |$R1;$|", "labels"),
        ("CC |$;_AP1$|", "labels"),
        ("C[C@H](N)O |&1:1|", "stereoisomers"),
        ("C[C@H](N)O |o1:1|", "stereoisomers"),
        ("C[C@H](N)O |r|", "stereoisomers"),
        ("CC |Sg:n:0,1::ht|", "polymer"),
        ("CC |SgD:0:x:y|", "polymer"),
        ("C1CCC=CCCC1 |t:3|", "double bonds"),
        ("C[CH](N)O |wU:1.0|", "wedges"),
        ("N.B |C:0.0|", "bonds beyond"),
        ("O.O |H:0.0|", "bonds beyond"),
        ("CC.[Na] |f:0.1|", "fragments"),
        ("CC |m:0:1.2|", "several atoms"),
        ("CC |(0,0,0.5;1,0,0)|", "in space"),
        ("CC |(0,0,x;1,0,0)|", "in space"),
        ("CC |lp:0:1|", "lone pairs"),
        ("CC |s:0:*|", "a query"),
        ("CC |nonsense|", "not understood"),
        ("CC |^1:0", "none"),
        ("CC |^1:0| more", "none"),
        ("CC\t|^1:0|", "radicals"),
        ("CC |" + "(" * 300_000 + "|", "more than"),
        ("C" * 5000 + " |a:0|", "more than"),
    ],
)
def test_what_is_no_molecule_is_refused_by_name(text: str, says: str) -> None:
    entry = from_smiles(3, text, "name")
    assert isinstance(entry, Failure) and says in entry.detail and (entry.molecule_id, entry.name) == (3, "name")
    expected = {"(*)": Reason.UNSUPPORTED_ELEMENT, "radicals": Reason.ODD_ELECTRONS}
    assert entry.reason is expected.get(says, Reason.UNREADABLE)
    assert "\n" not in entry.detail and len(entry.smiles) <= 5000


@pytest.mark.parametrize(
    "block",
    ["||", "|a:1|", "|a:1,0|", "|$;;$|", "|$_AV:a;b;c$|", "|(0,0,;1,0,;2,0,)|", "|(0,0;1,0;2,0)|",
     "|(0,0,0;1,0,0.0;2,0,)|", "|atomProp:0.key.value:1.key.value|", "|(0,0,;1,0,;2,0,),$;;$,a:1|"],
)  # fmt: skip
def test_blocks_of_cxsmiles_that_only_draw_or_describe(block: str) -> None:
    assert smiles_of(f"CCO {block}") == "CCO" and smiles_of(f"OCC\t{block}") == "CCO"


def test_ordinary_texts_have_no_labels_and_no_problem() -> None:
    texts = [*VARIED, "C%12CC%12", "C%(100)CC%(100)", "C1:C:C:C:C:C:1", "[nH]1cccc1", "[Pt@SP1](F)(Cl)(Br)[NH3]"]
    assert [without_labels(text) for text in texts] == texts
    assert not any(syntax_problem(text) for text in texts)
    assert smiles_of("C1:C:C:C:C:C:1") == "c1ccccc1"


# ---- the SMILES of given geometries, which decides their split -----------------------------------------------------


def block(smiles: str) -> str:
    mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
    AllChem.EmbedMolecule(mol, randomSeed=7)
    return Chem.MolToMolBlock(mol)


@pytest.mark.parametrize(
    ("labeled", "plain"),
    [
        ("[2H]C", "C"),
        ("[13CH3]O", "CO"),
        ("[CH3:1][OH:2]", "CO"),
        ("[2H]/C=C/C", "C=CC"),
        ("[2H][C@H](C)O", "CCO"),
        ("C[C@H](N)[18OH]", "C[C@H](N)O"),
    ],
)
def test_given_geometries_go_by_the_same_smiles(read, tmp_path, labeled: str, plain: str) -> None:
    (from_sdf,) = read("a.sdf", block(labeled))
    (from_mol,) = read("a.mol", block(labeled))
    numbers, positions = from_sdf.numbers, from_sdf.positions
    table = pa.table({"z": [numbers.tolist()], "pos": [positions.ravel().tolist()], "smile": [labeled]})
    pq.write_table(table, tmp_path / "a.parquet")
    (from_parquet,) = read("a.parquet", (tmp_path / "a.parquet").read_bytes())
    given = from_molecule(0, Molecule(0, "", labeled, numbers, positions))
    found = [one.smiles for one in (from_sdf, from_mol, from_parquet, given)]
    assert found == [smiles_of(plain)] * 4
    assert np.array_equal(from_parquet.positions, positions) and of_geometry(labeled) == (smiles_of(plain), None)
    assert unlabeled(labeled) == smiles_of(plain) and unlabeled("OCC") == "OCC"


@pytest.mark.parametrize(("order", "says"), [(8, "~"), (5, "~"), (4, "aromatic")])
def test_bonds_of_no_definite_order_refuse_a_mol_block(read, order: int, says: str) -> None:
    text = block("CC").replace("  1  2  1  0", f"  1  2  {order}  0")
    (entry,) = read("a.sdf", text)
    assert isinstance(entry, Failure) and says in entry.detail and ".xyz" in entry.detail


def test_rules_judge_molecules_without_labels() -> None:
    lines = ["[CH3:1][OH:2]", "[13CH4]", "C~C", "[#6]", "[2H]C"]
    assert dict(check_lines(lines, load_rules("none"))) == {
        "[CH3:1][OH:2]": "ok",
        "[13CH4]": "ok",
        "C~C": "unreadable",
        "[#6]": "unreadable",
        "[2H]C": "ok",
    }
