"""``qmgen merge``: one manifest over all ranks."""

from __future__ import annotations

from typing import Annotated

import typer

from qmgen.cli.findings import bytes_bar, say_inspected, verdict
from qmgen.cli.talk import print_json, say

NOT_MERGED = 1


def merge(
    directory: Annotated[
        str, typer.Argument(metavar="DIR", help="Directory of the corpus, or s3://bucket/prefix.", show_default=False)
    ],
    workers: Annotated[int | None, typer.Option(help="Files that are read at once. [default: 8]")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Manifest and findings as JSON on standard output.")] = False,
) -> int:
    """Verify every shard, then write manifest.json, SHA256SUMS and README.md over all ranks.

    Nothing is written where rows are damaged. Exit code 1 then, and while work units are missing, though what is
    there is described.
    """
    from qmgen.config import resolve
    from qmgen.config.corpus import InspectConfig

    settings = resolve(InspectConfig, None, {"directory": directory, "workers": workers})

    from qmgen.corpus.merge import merge as run

    with bytes_bar("verifying") as told:
        merged = run(settings.directory, threads=settings.workers, **told)
    found = merged.inspected
    if as_json:
        print_json({**found.as_json(), "manifest": merged.manifest, "doubtful": list(merged.doubtful)})
    else:
        say_inspected(found)
        if merged.manifest is not None:
            if merged.doubtful:
                say(f"qmgen: {' and '.join(merged.doubtful)} stand as in manifest.json, which was changed: look there")
            say(f"manifest.json, SHA256SUMS and README.md written; {merged.state}")
        elif found.damaged:
            say(f"{verdict(found)}: nothing was written")
        else:
            say("no work unit is finished yet: nothing was written")
    return 0 if merged.manifest is not None and found.complete else NOT_MERGED
