from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from qmgen.errors import UsageError
from qmgen.learning.lm.texts.reading import Sequences, our_vocabulary, read_lines, read_texts
from qmgen.learning.lm.texts.tokens import BEGIN_ID, END_ID, SPECIAL, UnknownToken, Vocabulary, tokenise, vocabulary_of


@pytest.mark.parametrize(
    ("smiles", "tokens"),
    [
        ("CCO", "C C O"),
        ("ClCBr", "Cl C Br"),
        ("C[N+](=O)[O-]", "C [N+] ( = O ) [O-]"),
        ("c1ccncc1C%12CC%12", "c 1 c c n c c 1 C %12 C C %12"),
        (r"F/C=C\F", r"F / C = C \ F"),
        ("[C@@H](N)C#N", "[C@@H] ( N ) C # N"),
        ("[nH]1cccc1", "[nH] 1 c c c c 1"),
        ("C.[13CH4]", "C . [13CH4]"),
    ],
)
def test_tokens_of_smiles(smiles: str, tokens: str) -> None:
    assert tokenise(smiles) == tokens.split()


@pytest.mark.parametrize(
    ("text", "where"), [("CCX", "'X'"), ("C[N+", "'[N+'"), ("", "''"), ("CC O", "' O'"), ("Cé", "'é'")]
)
def test_what_is_no_smiles_is_said(text: str, where: str) -> None:
    with pytest.raises(UnknownToken, match="no token begins at") as error:
        tokenise(text)
    assert where in str(error.value)


def test_a_vocabulary_goes_there_and_back() -> None:
    vocabulary = vocabulary_of(["CCO", "C#N", "[NH4+]"])
    assert vocabulary.tokens == (*SPECIAL, "#", "C", "N", "O", "[NH4+]")
    numbers = vocabulary.encode("C#N")
    assert numbers[0] == BEGIN_ID and numbers[-1] == END_ID
    assert vocabulary.decode(numbers) == "C#N"
    assert vocabulary.decode([*numbers, 4, 4]) == "C#N"  # nothing after the end
    with pytest.raises(UnknownToken, match="'F'"):
        vocabulary.encode("CF")
    with pytest.raises(ValueError):
        Vocabulary(("C", "N"))


def test_texts_are_split_alike_for_every_seed_and_each_counts_once(tmp_path: Path) -> None:
    file = tmp_path / "a.smi"
    lines = [f"{'C' * n}{end}" for n in range(1, 60) for end in ("O", "N", "F")]
    file.write_text("# a comment\n\n" + "\n".join(f"{line}\tname {k}" for k, line in enumerate(lines)) + "\nCO again\n")
    one, two = (read_texts([file], 0.3, seed=seed) for seed in (0, 1))
    assert one.duplicates == 1
    assert len(one.train) + len(one.validation) == len(lines)
    decoded = [{one.vocabulary.decode(side[k]) for k in range(len(side))} for side in (one.train, one.validation)]
    assert not decoded[0] & decoded[1] and decoded[0] | decoded[1] == set(lines)
    assert one.digest == two.digest
    few = read_texts([file], 0.3, limit=50)
    more = {few.vocabulary.decode(few.validation[k]) for k in range(len(few.validation))}
    assert more < decoded[1]  # which side a text is on does not depend on what else is there
    assert our_vocabulary([file]) == len(one.vocabulary)


def test_bad_files_are_said_in_a_line(tmp_path: Path) -> None:
    bad, empty, binary = tmp_path / "bad.smi", tmp_path / "empty.smi", tmp_path / "binary.smi"
    bad.write_text("CCO\nC?X\n")
    empty.write_text("# nothing\n\n")
    binary.write_bytes(b"\xff\xfe\x00")
    for file, said in ((bad, r"bad.smi:2: 'C\?X' is no SMILES"), (empty, "has no SMILES"), (binary, "is no text"),
                       (tmp_path / "none.smi", "no such file"), (tmp_path, "cannot read")):  # fmt: skip
        with pytest.raises(UsageError, match=said) as error:
            read_lines([file])
        assert len(str(error.value).splitlines()) == 1
    with pytest.raises(UsageError, match="none is for"):
        bad.write_text("CCO\n")
        read_texts([bad], 0.01)
    bad.write_text("\n".join("C" * n for n in range(1, 40)))
    with pytest.raises(UsageError, match="the vocabulary lacks"):
        read_texts([bad], 0.3, vocabulary_of(["N"]))


def test_sequences_are_slices() -> None:
    found = Sequences(np.arange(6, dtype=np.int32), np.array([2, 3, 6]))
    assert [found[k].tolist() for k in range(3)] == [[0, 1], [2], [3, 4, 5]]
    assert found.lengths().tolist() == [2, 1, 3]
