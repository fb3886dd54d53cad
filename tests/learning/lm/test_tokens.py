from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from qmgen.errors import UsageError
from qmgen.learning.lm.texts import (
    BEGIN_ID,
    END_ID,
    SPECIAL,
    Sequences,
    UnknownToken,
    Vocabulary,
    our_vocabulary,
    read_lines,
    read_texts,
    tokenize,
    vocabulary_of,
)


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
    assert tokenize(smiles) == tokens.split()


@pytest.mark.parametrize(
    ("text", "where"), [("CCX", "'X'"), ("C[N+", "'[N+'"), ("", "''"), ("CC O", "' O'"), ("Cé", "'é'")]
)
def test_what_is_no_smiles_is_said(text: str, where: str) -> None:
    with pytest.raises(UnknownToken, match="no token begins at") as error:
        tokenize(text)
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
    binary.write_bytes("CCO\n".encode("utf-16"))
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


SOME_BAD = ["CCO", "# x", "C!", "C!", "", "N#N", "Ox", "CCO again", "[\udce9]", "C" * 300 + "?!", "CN n\udce4me"]


def test_all_lines_that_cannot_be_tokenized_are_said_at_once(tmp_path: Path) -> None:
    one, two = tmp_path / "one.smi", tmp_path / "two.smi"
    one.write_bytes("\n".join(SOME_BAD).encode(errors="surrogateescape"))
    two.write_text("CCC\n!\n")
    with pytest.raises(UsageError) as error:
        read_lines([one, two], hint="mend them")
    said = error.value.lines
    assert said[0] == "6 of 11 lines cannot be tokenized: mend them"
    places = [f"{one}:{k}: " for k in (3, 4, 7, 9, 10)] + [f"{two}:2: "]
    assert [line.startswith(place) for line, place in zip(said[1:], places, strict=True)] == [True] * 6
    assert "'C!' is no SMILES: no token begins at '!'" in said[1] and "not UTF-8" in said[4]
    assert max(map(len, said)) < 250 and "302 characters" in said[5]
    found = read_lines([one, two], skip=True)
    assert (found.texts, found.duplicates, found.unreadable.count) == (["CCO", "N#N", "CN", "CCC"], 1, 6)
    assert found.unreadable.places() == f"{one}:3-4, 7, 9-10, {two}:2"
    with pytest.raises(UsageError, match="none of its 1 lines"):
        two.write_text("!\n")
        read_lines([one, two], skip=True)


def test_of_many_the_first_and_the_numbers_of_some_are_shown(tmp_path: Path) -> None:
    bad = tmp_path / "bad.smi"
    bad.write_text("".join("C!\n" if k % 3 else "CC\n" for k in range(3000)))
    with pytest.raises(UsageError) as error:
        read_lines([bad])
    said = error.value.lines
    assert said[0].startswith("2000 of 3000 lines") and len(said) == 12
    assert said[-1].startswith(f"all of them: {bad}:2-3, 5-6, 8-9, ") and said[-1].endswith(" and 1920 more")
    assert len(said[-1]) < 1000


def test_texts_that_cannot_be_tokenized_are_left_out_alike(tmp_path: Path) -> None:
    """What is left out changes nothing of the rest: not the sides, not the digest, and not what a limit takes."""
    good, mixed = tmp_path / "good.smi", tmp_path / "mixed.smi"
    lines = [f"{'C' * n}{end}" for n in range(1, 40) for end in ("O", "N")]
    good.write_text("\n".join(lines))
    mixed.write_text("\n".join(word for line in lines for word in (line, f"{line}!")))
    one, two = read_texts([good], 0.3, limit=50), read_texts([mixed], 0.3, limit=50, skip=True)
    assert one.digest == two.digest and one.vocabulary == two.vocabulary
    assert (one.train.tokens == two.train.tokens).all() and (one.unreadable.count, two.unreadable.count) == (0, 78)
    with pytest.raises(UsageError, match=r"78 of 156 lines cannot be tokenized.* --skip-unreadable"):
        read_texts([mixed], 0.3)
    assert our_vocabulary([mixed], skip=True) == len(one.vocabulary)
    only = vocabulary_of(["CO"])  # of a model to begin with: what it has no token for is said and left out too
    with pytest.raises(UsageError, match="39 of 78 lines") as error:
        read_texts([good], 0.3, only)
    assert "the vocabulary lacks: 'N'" in str(error.value)
    assert read_texts([good], 0.3, only, skip=True).unreadable.count == 39


def test_sequences_are_slices() -> None:
    found = Sequences(np.arange(6, dtype=np.int32), np.array([2, 3, 6]))
    assert [found[k].tolist() for k in range(3)] == [[0, 1], [2], [3, 4, 5]]
    assert found.lengths().tolist() == [2, 1, 3]
