"""``qmgen sample``: new molecules from a trained language model."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated, Any

import typer

from qmgen.cli.talk import print_json, say
from qmgen.quantities import duration


def sample(
    run: Annotated[str, typer.Argument(metavar="RUN", help="What qmgen train lm or qmgen quantize wrote.")],
    number: Annotated[int | None, typer.Option("--number", "-n", help="How many to draw. [default: 1000]")] = None,
    temperature: Annotated[float | None, typer.Option(help="Below 1 the likely likelier. [default: 1.0]")] = None,
    top_k: Annotated[int | None, typer.Option(help="Only the k likeliest tokens. [default: all]")] = None,
    top_p: Annotated[
        float | None, typer.Option(help="Only the likeliest that hold so much of it. [default: 0.95]")
    ] = None,
    rules: Annotated[
        str | None, typer.Option(help="Filter of the enumerator: none, gdb11, or a TOML file. [default: none]")
    ] = None,
    novel: Annotated[bool | None, typer.Option("--novel", help="Leave out what is in the training's files.")] = None,
    keep_all: Annotated[
        bool | None,
        typer.Option("--keep-all", help="Write each text as it was drawn; an empty line: no end."),
    ] = None,
    data: Annotated[
        list[str] | None,
        typer.Option(help="Molecules of the training, to count new ones. [default: as the run says]", metavar="FILE"),
    ] = None,
    batch_size: Annotated[int | None, typer.Option(help="Texts at once. [default: 256]")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the draw. [default: 0]")] = None,
    out: Annotated[str | None, typer.Option(help="File of SMILES, or - for standard output. [default: -]")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The counts as JSON on standard output.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress, no summary.")] = False,
) -> int:
    """Draw molecules: valid ones, each once, in canonical SMILES, for `qmgen generate --molecules -`.

    The fractions that are valid, unique and new are told.
    """
    given = dict(locals())
    from qmgen.config import resolve
    from qmgen.config.train import SampleConfig
    from qmgen.errors import UsageError

    settings = resolve(SampleConfig, None, {name: given[name] for name in SampleConfig.model_fields})
    to_stdout = settings.out == "-"
    if as_json and to_stdout:
        raise UsageError("--json and the molecules cannot both go to standard output: give --out FILE")

    from qmgen.learning.lm.use import sampling

    tell: Any = (lambda done, total: None) if quiet else _teller()
    if to_stdout:
        tally = sampling.run(settings, print, tell)
    else:
        with _whole(Path(settings.out)) as write:
            tally = sampling.run(settings, write, tell)
    counts = tally.to_dict()
    if as_json:
        print_json(counts)
    elif not quiet:
        say(_text(counts))
        if not to_stdout:
            say(f"qmgen: written to {settings.out}")
    return 0


@contextmanager
def _whole(path: Path) -> Iterator[Callable[[str], None]]:
    """What writes a line of ``path``, which is there when all are written, or not at all. Raises ``UsageError``."""
    from qmgen.errors import UsageError

    if not path.name or (path.exists() and not path.is_file()):
        raise UsageError(f"{path} is no file: give another --out, or - for standard output")
    temporary = path.with_name(f".{path.name}.{os.getpid()}")

    @contextmanager
    def told() -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise UsageError(f"cannot write {path}: {error.strerror or error}") from error

    def write(line: str) -> None:
        with told():
            print(line, file=stream)

    before = signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # so that what follows is done
    try:
        with told():
            temporary.unlink(missing_ok=True)
            stream = temporary.open("x", encoding="utf-8")
        yield write
        with told():
            stream.close()
            os.replace(temporary, path)
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        signal.signal(signal.SIGTERM, before)


def _text(counts: dict[str, Any]) -> str:
    novel = "" if counts["novel_fraction"] is None else f", {100 * counts['novel_fraction']:.2f} % of these new"
    lines = [
        f"qmgen: {counts['drawn']} drawn in {counts['seconds']:.1f} s: {100 * counts['valid_fraction']:.2f} % valid, "
        f"{100 * counts['unique_fraction']:.2f} % of these unique{novel}; {counts['kept']} kept"
    ]
    if counts["emulated"]:
        from qmgen.learning.fp8 import NOTE

        lines.append(f"qmgen: {NOTE}")
    if counts["removed"]:
        removed = sorted(counts["removed"].items(), key=lambda item: -item[1])
        lines.append(f"qmgen: removed by rule: {', '.join(f'{name} {number}' for name, number in removed)}")
    return "\n".join(lines)


def _teller() -> Any:
    import time

    begin = time.monotonic()

    def tell(done: int, total: int) -> None:
        rate = done / (time.monotonic() - begin)
        print(f"qmgen: {done} of {total} drawn, {rate:.0f}/s, {duration((total - done) / rate)} left", file=sys.stderr)

    return tell
