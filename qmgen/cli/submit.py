"""``qmgen submit``: the same run on a cluster, by Slurm or Parsl."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from qmgen.cli.console import print_json, say
from qmgen.cli.generate import generate
from qmgen.cli.options import AsJson, command
from qmgen.errors import UsageError

if TYPE_CHECKING:
    from qmgen.cluster.job import ClusterJob
    from qmgen.config import GenerateConfig
    from qmgen.config.corpus import SubmitConfig

#: flags of ``qmgen generate`` that a rank cannot have, and why
_NOT_FOR_RANKS = {
    "rank": "ranks are numbered here",
    "world_size": "give --ranks",
    "dry_run": "call qmgen generate --dry-run by itself",
    "overwrite": "each restart would begin anew; remove the corpus, or give it another out",
    "extend": "call it by itself, before",
}


def submit(
    settings: SubmitConfig,
    config: Annotated[Path, typer.Argument(help="TOML file of the run, as for qmgen generate.", show_default=False)],
    extra: Annotated[
        list[str] | None,
        typer.Argument(help="Further flags of qmgen generate, after --.", metavar="[-- FLAGS...]", show_default=False),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what would be submitted, and submit nothing.")
    ] = False,
    as_json: AsJson = False,
) -> int:
    """Run qmgen generate on a cluster, as many processes (ranks).

    With Slurm, the ranks are the tasks of an array job (several, if there are more ranks than an array can have). A
    rank is asked to stop before its time limit, and is queued again until it is done; then a job merges the corpus.
    With Parsl, the same ranks run on any of its providers, and this command waits for them.
    """
    from qmgen.config import GenerateConfig, resolve

    words = list(extra or [])
    more = {name: value for name, value in _checked(config, words).items() if name in GenerateConfig.model_fields}
    job = _job(config, words, resolve(GenerateConfig, config, more), settings)
    if dry_run:
        print(_text(job, settings), end="")
        return 0
    return _with_slurm(job, settings, as_json) if settings.engine == "slurm" else _with_parsl(job, settings, as_json)


def _checked(config: Path, words: list[str]) -> dict[str, Any]:
    """What ``qmgen generate`` makes of ``words``; refuses here what it would refuse there."""
    # without the name and the config the words could hold another config
    with command("generate", generate).make_context("qmgen generate", [str(config), *words]) as context:
        given = {name: list(value) if isinstance(value, tuple) else value for name, value in context.params.items()}
    for name, reason in _NOT_FOR_RANKS.items():
        if given.get(name) not in (None, False):
            raise UsageError(f"--{name.replace('_', '-')} is not for ranks: {reason}")
    return given


def _job(config: Path, words: list[str], run: GenerateConfig, settings: SubmitConfig) -> ClusterJob:
    from qmgen.cluster.job import ClusterJob, absolute

    for name in run.molecules:
        if name == "-":
            raise UsageError("standard input cannot be shared by ranks: write the molecules to a file")
        if "://" not in name and not Path(name).is_file():
            raise UsageError(f"no such file: {name}")
    assert settings.ranks is not None  # or the settings would not have passed
    if settings.cpus is not None and settings.gpus is None and run.workers is None:
        words = [*words, "--workers", str(settings.cpus)]  # ranks may share a node that hides no cores from them
    return ClusterJob(Path(absolute(config)), absolute(run.out), settings.ranks, tuple(words), Path.cwd())


def _text(job: ClusterJob, settings: SubmitConfig) -> str:
    import shlex

    if settings.engine == "slurm":
        from qmgen.cluster.slurm import array_scripts, merge_script

        return "\n".join([*(text for _, text in array_scripts(job, settings)), merge_script(job, settings)])
    commands = [*(job.rank_command(rank) for rank in range(job.ranks)), job.merge_command()]
    return "".join(shlex.join(words) + "\n" for words in commands)


def _with_slurm(job: ClusterJob, settings: SubmitConfig, as_json: bool) -> int:
    from qmgen.cluster.slurm import submit as to_slurm

    done = to_slurm(job, settings)
    if as_json:
        job_array = {"engine": "slurm", "ranks": job.ranks, "array": done.arrays[0], "arrays": done.arrays}
        print_json({**job_array, "merge": done.merge, "logs": done.logs})
    jobs = f"array job{'s' if len(done.arrays) > 1 else ''} {', '.join(done.arrays)}"
    say(f"qmgen: {job.ranks} ranks are {jobs}, the merge is job {done.merge}; logs in {done.logs}")
    return 0


def _with_parsl(job: ClusterJob, settings: SubmitConfig, as_json: bool) -> int:
    from qmgen.cluster.parsl import submit as to_parsl

    outcome = to_parsl(job, settings, lambda line: say(f"qmgen: {line}"))
    if as_json:
        print_json({"engine": "parsl", **vars(outcome), "logs": job.logs})
    return outcome.exit_code
