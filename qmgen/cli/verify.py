"""``qmgen verify``: whether a corpus is what was written, whole and consistent."""

from __future__ import annotations

from typing import Annotated

import typer

from qmgen.cli.findings import bytes_bar, say_inspected, verdict
from qmgen.cli.talk import print_json, say

NOT_SOUND = 1


def verify(
    directory: Annotated[
        str, typer.Argument(metavar="DIR", help="Directory of the corpus, or s3://bucket/prefix.", show_default=False)
    ],
    workers: Annotated[int | None, typer.Option(help="Files that are read at once. [default: 8]")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The findings as JSON on standard output.")] = False,
) -> int:
    """Check every shard of a corpus: checksums, columns, row counts, doubled keys, numbers that are none.

    Nothing is written. Exit code 1 if anything is wrong; an unfinished corpus that is sound is exit code 0.
    """
    from qmgen.config import resolve
    from qmgen.config.corpus import InspectConfig

    settings = resolve(InspectConfig, None, {"directory": directory, "workers": workers})

    from qmgen.corpus.verify import inspect

    with bytes_bar("verifying") as told:
        found = inspect(settings.directory, threads=settings.workers, **told)
    if as_json:
        print_json(found.as_json())
    else:
        say_inspected(found)
        say(verdict(found))
    return 0 if found.sound else NOT_SOUND
