"""Exit codes, and one line for every mistake."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from qmgen.cli import main as cli
from qmgen.errors import Interrupted, QmgenError, UsageError


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


def test_a_reader_that_leaves_early_is_no_error(bare_environment: dict[str, str]) -> None:
    command = f'"{sys.executable}" -m qmgen generate --help | true'
    done = subprocess.run(["sh", "-c", command], env=bare_environment, capture_output=True, text=True, check=False)
    assert done.stderr == ""
