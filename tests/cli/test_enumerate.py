"""``qmgen enumerate`` as a person uses it: counts, parts, samples, files that survive a stop, wrong input."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from qmgen.cli.main import main
from qmgen.config import GenerateConfig
from qmgen.config.enumerate import EnumerateConfig

#: multigraphs, the published number, and the molecules among them: benzene has two Kekulé forms of one kind, and its
#: valence isomers none that coincide
C6H6 = 217


def lines(capsys: pytest.CaptureFixture[str], *words: str) -> list[str]:
    assert main(["enumerate", *words]) == 0
    return capsys.readouterr().out.splitlines()


def failure(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """The one line that is said about wrong words."""
    assert main(["enumerate", *words]) == 2
    shown = capsys.readouterr()
    assert shown.out == "" and shown.err.count("\n") == 1
    return shown.err


def test_molecules_of_a_formula_each_once(capsys: pytest.CaptureFixture[str]) -> None:
    found = lines(capsys, "--formula", "C2H6O")
    assert sorted(found) == ["CCO", "COC"]


def test_counts_as_a_table_and_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    table = lines(capsys, "--formula", "C6H6", "--rules", "none", "--count")
    assert table[0].split() == ["heavy", "atoms", "formula", "multigraphs", "molecules"]
    assert table[1].split()[:3] == ["6", "C6H6", str(C6H6)]
    found = json.loads("\n".join(lines(capsys, "--formula", "C6H6", "--rules", "none", "--count", "--json")))
    assert found["multigraphs"] == C6H6 and found["by_formula"][0]["formula"] == "C6H6"
    assert found["molecules"] == len(lines(capsys, "--formula", "C6H6", "--rules", "none"))


def test_several_sizes_are_counted_one_by_one(capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--heavy-atoms", "1-5", "--elements", "C", "--max-bond-order", "1", "--max-rings", "0")
    found = json.loads("\n".join(lines(capsys, *words, "--count", "--json")))
    assert [size["molecules"] for size in found["by_heavy_atoms"]] == [1, 1, 1, 2, 3]  # alkanes
    assert lines(capsys, *words, "--count")[-1].split() == ["all", "all", "8", "8"]


def test_parts_are_disjoint_and_complete(capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--formula", "C4H6O", "--rules", "none")
    whole = lines(capsys, *words)
    for of in (2, 5):
        parts = [lines(capsys, *words, "--part", f"{k}/{of}") for k in range(1, of + 1)]
        assert sorted(text for part in parts for text in part) == sorted(whole)
        assert len(set(whole)) == len(whole)


def test_a_sample_of_parts_merged_is_the_sample_of_the_whole(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    words = ("--formula", "C4H6O", "--sample", "7", "--seed", "3")
    whole = lines(capsys, *words)
    assert len(whole) == 7
    files = []
    for k in (1, 2, 3):
        files += ["--merge", str(tmp_path / f"{k}.smi")]
        assert main(["enumerate", *words, "--part", f"{k}/3", "--out", files[-1]]) == 0
    assert lines(capsys, *files, "--sample", "7", "--seed", "3") == whole
    assert set(lines(capsys, "--formula", "C4H6O", "--sample", "7", "--seed", "4")) != set(whole)
    assert "drawn with --seed 4" in failure(capsys, *files, "--sample", "7", "--seed", "4")


def test_parts_drawn_at_random_are_whole_parts(capsys: pytest.CaptureFixture[str]) -> None:
    drawn = lines(capsys, "--formula", "C4H6O", "--sample-parts", "2/5", "--seed", "1")
    parts = [set(lines(capsys, "--formula", "C4H6O", "--part", f"{k}/5")) for k in range(1, 6)]
    assert sum(part <= set(drawn) for part in parts if part) == 2


def test_a_limit_warns_that_the_first_are_no_sample(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["enumerate", "--formula", "C4H6O", "--limit", "3"]) == 0
    shown = capsys.readouterr()
    assert len(shown.out.splitlines()) == 3 and "no sample" in shown.err


def test_gdb11_keeps_what_its_rules_keep(capsys: pytest.CaptureFixture[str]) -> None:
    found = lines(capsys, "--heavy-atoms", "4", "--rules", "gdb11")
    assert len(set(found)) == len(found)
    assert abs(len(found) - 80) <= 0.02 * 80  # GDB-11 has 80
    assert "COCO" not in found and "OCCO" in found


def test_check_says_ok_or_the_first_rule(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "list.smi").write_text("OCCO glycol\nOCO\nC=C=C\nnonsense\n\n")
    found = [line.split("\t") for line in lines(capsys, "--check", str(tmp_path / "list.smi"), "--rules", "gdb11")]
    assert [smiles for smiles, _ in found] == ["OCCO", "OCO", "C=C=C", "nonsense"]
    assert found[0][1] == "ok" and found[3][1] == "unreadable"
    assert all(verdict != "ok" for _, verdict in found[1:])


def test_rules_of_ones_own(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(
        'name = "mine"\n[[rule]]\nname = "no_rings"\nsmarts = "[R]"\nwhy = "they are not wanted"\n'
    )
    assert lines(capsys, "--formula", "C3H6", "--rules", str(tmp_path / "mine.toml")) == ["C=CC"]


def test_a_finished_file_is_not_written_again(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    out = tmp_path / "deep" / "three.smi"
    words = ["enumerate", "--heavy-atoms", "3", "--out", str(out)]
    assert main(words) == 0
    before, about = out.read_bytes(), json.loads(Path(f"{out}.json").read_text())
    assert about["molecules"] == len(before.splitlines()) and about["bytes"] == len(before)
    assert not list(tmp_path.rglob("*.partial*"))
    capsys.readouterr()
    assert main(words) == 0
    assert "complete already" in capsys.readouterr().err and out.read_bytes() == before
    assert "(heavy_atoms: 3 -> 2)" in failure(capsys, "--heavy-atoms", "2", "--out", str(out))
    Path(f"{out}.json").unlink()
    assert "did not enumerate" in failure(capsys, *words[1:])
    assert main(["enumerate", "--heavy-atoms", "2", "--out", str(out), "--overwrite"]) == 0
    assert out.read_bytes() != before


def test_the_default_rules_are_those_of_generate(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    settings = GenerateConfig(enumerate="4", out="x")
    assert EnumerateConfig(heavy_atoms="4").rules == settings.rules == "gdb11"
    found = lines(capsys, "--heavy-atoms", "4")
    assert found == lines(capsys, "--heavy-atoms", "4", "--rules", settings.rules) and "COCO" not in found
    for command in ("enumerate", "generate"):
        assert main([command, "--help"]) == 0
        assert "[default: gdb11]" in " ".join(capsys.readouterr().out.split())


def test_a_file_of_other_rules_is_continued_by_its_own_and_refused_to_others(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """As a file of the time when the default was none: without that setting it is another enumeration."""
    old = ("--heavy-atoms", "4", "--rules", "none")
    whole, begun = tmp_path / "whole.smi", tmp_path / "begun.smi"
    assert main(["enumerate", *old, "--out", str(whole)]) == 0
    assert main(["enumerate", *old, "--out", str(begun), "--time-limit", "1e-9"]) == 75
    capsys.readouterr()
    assert "(rules: none -> gdb11)" in failure(capsys, "--heavy-atoms", "4", "--out", str(whole))
    assert "(rules: none -> gdb11)" in failure(capsys, "--heavy-atoms", "4", "--out", str(begun))
    note = Path(f"{begun}.partial.json")
    kept = json.loads(note.read_text())
    note.write_text(json.dumps({name: kept[name] for name in ("fingerprint", "at")}))  # as they were then
    assert "took --rules none unless given" in failure(capsys, "--heavy-atoms", "4", "--out", str(begun))
    assert main(["enumerate", *old, "--out", str(begun)]) == 0
    assert begun.read_bytes() == whole.read_bytes()
    assert main(["enumerate", *old, "--out", str(whole)]) == 0 and "complete already" in capsys.readouterr().err


def test_samples_of_different_enumerations_are_not_merged(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    words = ("--formula", "C4H6O", "--sample", "5")
    names = [str(tmp_path / f"{name}.smi") for name in "abc"]
    for name, more in zip(names, (["none", "--part", "1/2"], ["gdb11", "--part", "2/2"], ["none", "--part", "2/2"])):
        assert main(["enumerate", *words, "--out", name, "--rules", *more]) == 0
    capsys.readouterr()
    merge = ("--sample", "5", "--merge", names[0], "--merge")
    assert "(rules: none -> gdb11)" in failure(capsys, *merge, names[1])
    out = tmp_path / "all.smi"
    assert main(["enumerate", *merge, names[2], "--out", str(out)]) == 0
    known = json.loads(Path(f"{out}.json").read_text())["settings"]
    assert (known["rules"], known["formula"], known["part"]) == ("none", "C4H6O", None)
    assert out.read_text().splitlines() == lines(capsys, *words, "--rules", "none")


def child(out: Path, *words: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "qmgen", "enumerate", "--heavy-atoms", "5", "--out", str(out), *words]
    return subprocess.Popen(command, stderr=subprocess.PIPE)


def test_killed_and_started_again_the_file_is_the_same(tmp_path: Path) -> None:
    whole = tmp_path / "whole.smi"
    assert main(["enumerate", "--heavy-atoms", "5", "--out", str(whole)]) == 0
    out = tmp_path / "killed.smi"
    stopped = 0
    for attempt in range(12):
        process = child(out)
        note, before = Path(f"{out}.partial.json"), Path(f"{out}.partial.json").exists()
        end = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < end:
            time.sleep(0.05)
            grown = note.exists() and (not before or attempt == 0 or note.stat().st_mtime > time.time() - 1)
            if stopped < 3 and grown:
                process.send_signal(signal.SIGKILL if stopped < 2 else signal.SIGTERM)
                stopped += 1
                break
        code = process.wait()
        if code == 0:
            break
        assert code in (-signal.SIGKILL, -signal.SIGTERM, 75)  # a signal may come before anything listens to it
    assert out.read_bytes() == whole.read_bytes()


def test_garbage_after_the_last_sure_byte_is_cut_off(tmp_path: Path) -> None:
    out = tmp_path / "five.smi"
    assert main(["enumerate", "--heavy-atoms", "4", "--out", str(tmp_path / "whole.smi")]) == 0
    code = main(["enumerate", "--heavy-atoms", "4", "--out", str(out), "--time-limit", "1e-9"])
    assert code == 75 and not out.exists()
    with Path(f"{out}.partial").open("ab") as stream:
        stream.write(b"half a mole")
    assert main(["enumerate", "--heavy-atoms", "4", "--out", str(out)]) == 0
    assert out.read_bytes() == (tmp_path / "whole.smi").read_bytes()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "nothing to enumerate"),
        (["--formula", "C2H7"], "C2H7"),
        (["--formula", "CH6"], "CH6"),
        (["--formula", "C2"], "no molecule has the formula C2"),
        (["--formula", "C2H6Xx"], "Xx"),
        (["--formula", "hello"], "hello"),
        (["--heavy-atoms", "5", "--elements", "C,Si"], "Si"),
        (["--heavy-atoms", "5", "--part", "5/4"], "5/4"),
        (["--heavy-atoms", "5", "--part", "0/4"], "0/4"),
        (["--heavy-atoms", "5", "--part", "one"], "one"),
        (["--heavy-atoms", "11-9"], "11-9"),
        (["--heavy-atoms", "0"], "'0'"),
        (["--heavy-atoms", "40"], "40"),
        (["--heavy-atoms", "3", "--formula", "C3H8"], "exclude each other"),
        (["--heavy-atoms", "3", "--rules", "gdb99"], "gdb99"),
        (["--heavy-atoms", "3", "--max-bond-order", "4"], "max-bond-order"),
        (["--heavy-atoms", "3", "--min-hydrogens", "5", "--max-hydrogens", "4"], "hydrogens"),
        (["--heavy-atoms", "3", "--out", "/proc/nowhere/x.smi"], "cannot write"),
        (["--heavy-atoms", "3", "--out", os.path.dirname(__file__)], "directory"),
        (["--heavy-atoms", "3", "--sample", "3", "--count"], "--count counts all"),
        (["--check", "/nowhere.smi"], "cannot read"),
        (["--heavy-atoms", "3", "--json"], "standard output"),
    ],
)
def test_wrong_input_is_one_line(capsys: pytest.CaptureFixture[str], words: list[str], said: str) -> None:
    assert said in failure(capsys, *words)
