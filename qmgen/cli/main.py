"""The ``qmgen`` command: its table of commands, and what becomes of errors.

Exit codes: 0 done, 1 failed or out of tolerance, 2 usage or configuration, 3 more failures than allowed,
75 stopped and resumable (the first Ctrl-C too), 130 second Ctrl-C, or the first where nothing is to be resumed.
"""

from __future__ import annotations

import errno
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated

import typer

from qmgen.cli.console import forget_output, open_streams, say
from qmgen.cli.corpus import merge, status, validate, verify
from qmgen.cli.generate import enumerate_molecules, generate, retry
from qmgen.cli.machine import bench, doctor
from qmgen.cli.options import group
from qmgen.cli.predict import evaluate, quantize, sample
from qmgen.cli.submit import submit
from qmgen.cli.train import train
from qmgen.errors import QmgenError, UsageError, first_line, one_line

INTERRUPTED = 130
#: errors of a file that is open already, whose name the system does not tell
_WRITING = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EBADF, errno.EROFS)

app = group(
    {
        "enumerate": enumerate_molecules,
        "generate": generate,
        "submit": submit,
        "retry": retry,
        "validate": validate,
        "status": status,
        "merge": merge,
        "verify": verify,
        "bench": bench,
        "doctor": doctor,
        "evaluate": evaluate,
        "quantize": quantize,
        "sample": sample,
        "train": train,
    },
    "Make quantum-chemical training data by batched Kohn-Sham DFT, and train networks on them.",
)


def _print_version(asked: bool) -> None:
    if asked:
        from qmgen import __version__

        typer.echo(f"qmgen {__version__}")
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and stop.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show a traceback with every error.")] = False,
) -> None:
    """Options that stand before the command; ``main`` reads --debug itself."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command line and returns its exit code; errors become one line on standard error."""
    open_streams()
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words
    words = [word for word in words if word != "--debug"]  # accepted anywhere, not only before the command
    try:
        code = app(args=words or ["--help"], prog_name="qmgen", standalone_mode=False)
        with _standard_output():
            sys.stdout.flush()
        if code == INTERRUPTED:  # typer has caught the KeyboardInterrupt
            say("qmgen: interrupted")
        return int(code or 0) if words else UsageError.exit_code
    except BrokenPipeError:
        forget_output()  # whoever read it has seen enough
        return 1
    except (typer.Abort, KeyboardInterrupt) as error:
        return _report(error, ["interrupted"], INTERRUPTED, debug)
    except QmgenError as error:
        return _report(error, error.lines, error.exit_code, debug)
    except typer.TyperException as error:
        context = getattr(error, "ctx", None)
        command = context.command_path if context else "qmgen"
        message = f"{error.format_message().rstrip('.')} (see {command} --help)"
        return _report(error, [one_line(message)], error.exit_code, debug)
    except OSError as error:
        return _report(error, [_refused(error)], QmgenError.exit_code, debug)
    except MemoryError as error:
        return _report(error, ["there is too little memory for this"], QmgenError.exit_code, debug)
    except Exception as error:
        hint = "" if debug else "; --debug shows where"
        said = f": {first_line(error)}" if str(error).strip() else ""
        line = one_line(f"{type(error).__name__}{said} (this is a bug in qmgen{hint})")
        return _report(error, [line], 1, debug)


@contextmanager
def _standard_output() -> Iterator[None]:
    """Raises ``QmgenError`` where what was printed cannot be written: a full disk, a stream that was closed."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        forget_output()
        raise QmgenError(f"cannot write to standard output: {error.strerror or first_line(error)}") from error


def _refused(error: OSError) -> str:
    """What the system refused, on one line: of which file, as far as it says."""
    what = error.strerror or first_line(error)
    if error.filename is not None:
        return one_line(f"{what}: {error.filename}")
    try:
        sys.stdout.flush()
    except OSError:  # what could not be written is still there
        forget_output()
        return one_line(f"cannot write to standard output: {what}")
    return one_line(f"cannot write: {what}" if error.errno in _WRITING else what)


def _report(error: BaseException, lines: Sequence[str], code: int, debug: bool) -> int:
    if debug:
        traceback.print_exception(error)
    for line in lines:
        say(f"qmgen: {line}")
    return code


if __name__ == "__main__":
    sys.exit(main())
