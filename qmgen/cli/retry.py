"""``qmgen retry``: the failures of a corpus once more, with harder settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from qmgen.cli.generate import TOO_MANY_FAILURES
from qmgen.cli.talk import print_json, say
from qmgen.machine import memory_needed


def retry(
    directory: Annotated[str, typer.Argument(metavar="DIR", help="Directory of the corpus.", show_default=False)],
    max_cycles: Annotated[
        int | None, typer.Option(help="SCF cycles. [default: 4 times those before]", show_default=False)
    ] = None,
    embed_time_limit: Annotated[
        float | None,
        typer.Option(help="CPU seconds for all conformers of a molecule. [default: 10 times those before]"),
    ] = None,
    guess: Annotated[str | None, typer.Option(help="First guess: atoms or core. [default: the other one]")] = None,
    batch_size: Annotated[
        int | None, typer.Option(help="Conformers per batch. [default: one, for what ran out of memory or crashed]")
    ] = None,
    workers: Annotated[int | None, typer.Option(help="Processes. [default: by the machine]")] = None,
    time_limit: Annotated[float | None, typer.Option(help="Stop after this many seconds, with exit code 75.")] = None,
    max_failures: Annotated[int | None, typer.Option(help="Exit code 3 past this many failures.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be tried, and how.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="The summary as JSON on standard output.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress, no summary.")] = False,
) -> int:
    """Try the failures of a finished corpus again, with harder settings.

    Only those that can come out otherwise: not converged, out of time or memory, crashed. The same command again goes
    on with a retry that was stopped, else tries harder still.
    """
    given = dict(locals())
    with memory_needed():
        return _run(given, dry_run=dry_run, as_json=as_json, quiet=quiet)


def _run(given: Mapping[str, Any], dry_run: bool, as_json: bool, quiet: bool) -> int:
    from qmgen.config import resolve
    from qmgen.config.generate import RetryConfig

    flags = {name: given[name] for name in RetryConfig.model_fields if name in given}
    settings = resolve(RetryConfig, None, flags)

    from qmgen.pipeline.retry import retry as run

    outcome = run(settings, quiet=quiet, dry_run=dry_run)
    if as_json:
        print_json(outcome)
    elif not quiet:
        say(outcome.text())
    return TOO_MANY_FAILURES if outcome.too_many_failures else 0
