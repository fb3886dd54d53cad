"""Exit codes, and one line for every mistake."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from qmgen.cli import main as cli
from qmgen.errors import Interrupted, QmgenError, UsageError, from_process


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for key in [key for key in os.environ if key.startswith("QMGEN_")]:
        monkeypatch.delenv(key)


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Callable[[BaseException], None]:
    """Makes ``qmgen generate`` raise."""

    def use(error: BaseException) -> None:
        def resolve(*_: object) -> None:
            raise error

        monkeypatch.setattr("qmgen.config.resolve", resolve)

    return use


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["gen"], "No such command 'gen'"),
        (["generate", "--foo"], "No such option: --foo"),
        (["generate", "--conformers", "many"], "'--conformers'"),
        (["generate", "a.toml", "b.toml"], "unexpected extra argument"),
        (["generate", "no-such.toml"], "no such config file: no-such.toml"),
        (["generate", "--out", "x"], "no molecules: give --molecules FILE"),
        (["generate", "--molecules", "x.smi"], "no output directory: give --out DIR"),
        (
            ["generate", "--molecules", "x.smi", "--out", "x", "--grid-level", "9"],
            "grid_level = 9 given as --grid-level",
        ),
        (["validate"], "Missing argument 'DIR'"),
        (["validate", "x", "--sample", "0"], "sample = 0 given as --sample"),
    ],
)
def test_usage_errors_are_one_line_and_exit_2(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(words) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert message in printed.err
    assert printed.err.startswith("qmgen: ")
    assert printed.err.count("\n") == 1


@pytest.mark.parametrize(
    ("error", "code"),
    [(QmgenError("it broke"), 1), (UsageError("it broke"), 2), (Interrupted("it broke"), 75)],
)
def test_our_errors_have_their_exit_code(
    error: QmgenError, code: int, failing: Callable[[BaseException], None], capsys: pytest.CaptureFixture[str]
) -> None:
    failing(error)
    assert cli.main(["generate"]) == code
    assert capsys.readouterr().err == "qmgen: it broke\n"


def test_ctrl_c_exits_130(failing: Callable[[BaseException], None], capsys: pytest.CaptureFixture[str]) -> None:
    failing(KeyboardInterrupt())
    assert cli.main(["generate"]) == 130
    assert capsys.readouterr().err.strip() == "qmgen: interrupted"


def test_a_bug_says_so_and_shows_where_only_when_asked(
    failing: Callable[[BaseException], None], capsys: pytest.CaptureFixture[str]
) -> None:
    failing(ZeroDivisionError("by zero"))
    assert cli.main(["generate"]) == 1
    quiet = capsys.readouterr().err
    assert quiet == "qmgen: ZeroDivisionError: by zero (this is a bug in qmgen; --debug shows where)\n"
    for words in (["--debug", "generate"], ["generate", "--debug"]):
        assert cli.main(words) == 1
        assert "Traceback" in capsys.readouterr().err


def test_no_command_shows_the_help_and_exits_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([]) == 2
    assert "generate" in capsys.readouterr().out


def test_the_module_is_the_command(bare_environment: dict[str, str], tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "qmgen", "generate"],
        env=bare_environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert done.stdout == ""


@pytest.mark.parametrize(
    "text", ["a\nb", "a\r\nqmgen: all is well", "\x1b[31mred", "\x07", "a\u2028b", "a\x85b", "\u202eb"]
)
@pytest.mark.parametrize("kind", [QmgenError, UsageError, ZeroDivisionError, OSError])
def test_what_a_message_quotes_neither_breaks_its_line_nor_steers_the_terminal(
    text: str, kind: type[Exception], failing: Callable[[BaseException], None], capsys: pytest.CaptureFixture[str]
) -> None:
    failing(kind(f"no such file: {text}"))
    assert cli.main(["generate"]) in (1, 2)
    printed = capsys.readouterr().err
    assert len(printed.splitlines()) == 1 and printed.startswith("qmgen: ") and printed[:-1].isprintable()


def test_several_mistakes_are_a_line_each(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.toml").write_text('molecules = "a\\nb.smi"\nout = "o"\nconformers = 0\nxc = 3\n')
    assert cli.main(["generate", str(tmp_path / "a.toml")]) == 2
    printed = capsys.readouterr().err
    assert printed.count("\n") == 2 and "conformers = 0" in printed and "xc = 3" in printed


@pytest.mark.parametrize("bad", [["C!", "Ox"], ["C!", "\x1b[31mred", "Ox", "C\u202e?"], 15 * ["C!", "CO"]])
def test_texts_that_cannot_be_read_are_a_line_each(
    bad: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.smi").write_text("\n".join(["C" * n for n in range(1, 20)] + bad))
    assert cli.main(["train", "lm", "--data", "x.smi", "--out", "o"]) == 2
    lines = capsys.readouterr().err.split("\n")[:-1]
    wrong = [number for number, text in enumerate(bad, 20) if text != "CO"]
    assert lines[0].startswith(f"qmgen: {len(wrong)} of {19 + len(bad)} lines cannot be tokenized")
    told = [f"qmgen: x.smi:{number}: " for number in wrong[:10]] + ["qmgen: all of them: "] * (len(wrong) > 10)
    assert [line.startswith(start) for line, start in zip(lines[1:], told, strict=True)] == [True] * len(told)
    assert all(line.isprintable() and "\\n" not in line for line in lines)


@pytest.mark.parametrize("names", [["QMGEN_SAMPEL", "QMGEN_SEEDED"], ["QMGEN_A\nB", "QMGEN_SAMPEL", "QMGEN_XZ"]])
def test_variables_that_are_no_settings_are_a_line_each(
    names: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in names:
        monkeypatch.setenv(name, "3")
    assert cli.main(["validate", "c"]) == 2
    lines = capsys.readouterr().err.split("\n")[:-1]
    assert [f"environment variable {name!r}" in line for name, line in zip(names, lines, strict=True)] == [True] * len(
        names
    )
    assert all(line.startswith("qmgen: ") and line.isprintable() for line in lines)


@pytest.mark.parametrize("code", [1, 2, 75])
def test_lines_of_an_error_in_another_process_stay_lines(
    code: int, failing: Callable[[BaseException], None], capsys: pytest.CaptureFixture[str]
) -> None:
    kind = {1: QmgenError, 2: UsageError, 75: Interrupted}[code]
    error = kind("first\nof a", "second")
    passed = from_process("a worker", code, "\n".join(error.lines), "")
    assert isinstance(passed, kind) and passed.lines == error.lines
    failing(passed)
    assert cli.main(["generate"]) == code
    assert capsys.readouterr().err == "qmgen: first\\nof a\nqmgen: second\n"


@pytest.mark.parametrize("word", ["a\nb", "a\x1b[2Jb"])
def test_words_of_the_command_line_are_quoted_on_one_line(
    word: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for words in ([word], ["generate", word], ["verify", word], ["generate", f"--{word}"], ["bench", "--count", word]):
        assert cli.main(words) == 2
        printed = capsys.readouterr().err
        assert printed.count("\n") == 1 and printed[:-1].isprintable(), printed


LONG = 300 * "a"


@pytest.mark.parametrize(
    "words",
    [
        ["generate", "--molecules", "x.smi", "--out", "o", "--guess", LONG],
        ["generate", "--molecules", "x.smi", "--out", LONG],
        ["generate", "--molecules", LONG, "--out", "o"],
        ["generate", "--enumerate", "2", "--out", "o", "--rules", LONG],
        ["generate", f"{LONG}.toml"],
        ["verify", LONG],
        ["status", f"{LONG}/y"],
        ["merge", 1500 * "abc/"],
        ["retry", LONG],
        ["validate", "x", "--out", LONG],
        ["bench", "--out", LONG],
        ["enumerate", "--heavy-atoms", "2", "--out", LONG],
        ["enumerate", "--check", LONG],
        ["train", "schnet", "--data", LONG, "--out", "o"],
        ["train", "energy", "--molecules", "x.smi", "--out", "o", "--init", LONG],
        ["train", "lm", "--data", "x.smi", "--out", LONG],
        ["evaluate", LONG, "--data", "x"],
        ["evaluate", "x", "--molecules", "x.smi", "--figure", LONG],
        ["quantize", LONG],
        ["sample", LONG],
        ["sample", "x", "--out", LONG],
        ["submit", LONG, "--ranks", "2"],
        ["verify", "loop"],
        ["generate", "--molecules", "loop", "--out", "o"],
    ],
    ids=lambda words: " ".join(words)[:40],
)
def test_paths_that_no_system_takes_are_one_line(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "x.smi").write_text("O\n")
    assert cli.main(words) == 2
    printed = capsys.readouterr().err
    assert printed.count("\n") == 1 and ("File name too long" in printed or "levels of symbolic links" in printed)


@pytest.mark.parametrize(
    ("words", "form"),
    [
        (["generate", "--molecules", "x.smi", "--out", "s3:/b/x"], "s3://b/x"),
        (["generate", "--molecules", "x.smi", "--out", "gs:b/x"], "gs://b/x"),
        (["status", "S3:/b/x"], "s3://b/x"),
        (["verify", "s3:"], "s3://bucket/prefix"),
        (["train", "schnet", "--data", "s3:/b/x", "--out", "o"], "s3://b/x"),
        (["train", "schnet", "--data", "x", "--out", "s3://b/x"], "a directory or file of this machine"),
        (["validate", "x", "--out", "s3:/b/x"], "a directory or file of this machine"),
        (["evaluate", "s3://b/x", "--data", "x"], "a directory or file of this machine"),
    ],
)
def test_urls_are_written_with_two_slashes_and_only_where_they_may_stand(
    words: list[str], form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(words) == 2
    printed = capsys.readouterr().err
    assert printed.count("\n") == 1 and form in printed and not list(tmp_path.iterdir())


def test_a_url_with_one_slash_in_a_file_is_told_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.toml").write_text('molecules = "x.smi"\nout = "s3:/b/x"\n')
    assert cli.main(["generate", str(tmp_path / "a.toml")]) == 2
    assert "s3://b/x" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "code", "said"),
    [
        ("verify nothing >&-", 2, "is not a directory"),
        ("verify nothing 2>&-", 2, ""),
        ("verify nothing <&- >&- 2>&-", 2, ""),
        ("generate --molecules - --out o <&-", 2, "standard input is empty"),
        ("doctor --help >&-", 1, "cannot write to standard output: Bad file descriptor"),
        ("doctor --help > /dev/full", 1, "cannot write: No space left on device"),
        ("doctor --help >&- 2>&-", 1, ""),
        ("verify nothing 2> /dev/full", 2, ""),
    ],
)
def test_closed_and_full_streams(
    command: str, code: int, said: str, bare_environment: dict[str, str], tmp_path: Path
) -> None:
    script = f'"{sys.executable}" -m qmgen {command}'
    done = subprocess.run(["sh", "-c", script], cwd=tmp_path, env=bare_environment, capture_output=True, text=True)
    assert done.returncode == code and said in done.stderr and len(done.stderr.splitlines()) == bool(said)


def test_a_file_never_gets_the_number_of_a_closed_stream(bare_environment: dict[str, str], tmp_path: Path) -> None:
    """Whatever a library prints would land in it."""
    script = (
        "import os; from qmgen.cli.console import open_streams; open_streams(); "
        "file = open('file', 'w'); os.write(1 if False else 2, b'noise'); print(file.fileno(), file=file)"
    )
    command = f'"{sys.executable}" -c "{script}" <&- >&- 2>&-'
    assert subprocess.run(["sh", "-c", command], cwd=tmp_path, env=bare_environment).returncode == 0
    assert int((tmp_path / "file").read_text()) > 2


@pytest.mark.parametrize("platforms", ["cuda", "tpu", "nonsense"])
def test_a_platform_that_is_not_there_is_one_line(
    platforms: str, bare_environment: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "x.smi").write_text("O\n")
    words = ["generate", "--molecules", "x.smi", "--out", "o", "--workers", "1", "--grid-level", "0"]
    done = subprocess.run(
        [sys.executable, "-m", "qmgen", *words], cwd=tmp_path, env={**bare_environment, "JAX_PLATFORMS": platforms},
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    if done.returncode == 0:
        pytest.skip(f"this machine has {platforms}")
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1, done.stderr
    assert f"JAX_PLATFORMS={platforms}: jax finds no such device here" in done.stderr


def test_a_reader_that_leaves_early_is_no_error(bare_environment: dict[str, str]) -> None:
    command = f'"{sys.executable}" -m qmgen generate --help | true'
    done = subprocess.run(["sh", "-c", command], env=bare_environment, capture_output=True, text=True, check=False)
    assert done.stderr == ""
