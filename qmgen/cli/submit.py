"""``qmgen submit``: the same run on a cluster, by Slurm or Parsl."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from qmgen.cli.generate import check_source, generate
from qmgen.cli.talk import print_json, say

if TYPE_CHECKING:
    from qmgen.cluster.job import Job
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
    config: Annotated[Path, typer.Argument(help="TOML file of the run, as for qmgen generate.", show_default=False)],
    extra: Annotated[
        list[str] | None,
        typer.Argument(help="More flags of qmgen generate, after --", metavar="[-- FLAGS...]", show_default=False),
    ] = None,
    engine: Annotated[str | None, typer.Option(help="slurm or parsl. [default: slurm]")] = None,
    ranks: Annotated[int | None, typer.Option(help="Processes that share the work units.")] = None,
    cluster: Annotated[
        Path | None, typer.Option(help="TOML file with any of these settings.", show_default=False)
    ] = None,
    cpus: Annotated[int | None, typer.Option(help="Cores of a rank, and so its --workers.")] = None,
    gpus: Annotated[int | None, typer.Option(help="GPUs of a rank; with Parsl, of a node.")] = None,
    setup: Annotated[
        list[str] | None, typer.Option(help="A line of shell before the run, as module load cuda; may be repeated.")
    ] = None,
    max_requeues: Annotated[int | None, typer.Option(help="Most restarts of a rank. [default: 100]")] = None,
    time: Annotated[str | None, typer.Option(help="Slurm: time limit of a job, as 4:00:00 or 2-00.")] = None,
    partition: Annotated[str | None, typer.Option(help="Slurm: partition.")] = None,
    account: Annotated[str | None, typer.Option(help="Slurm: account.")] = None,
    qos: Annotated[str | None, typer.Option(help="Slurm: quality of service.")] = None,
    constraint: Annotated[str | None, typer.Option(help="Slurm: features of the nodes.")] = None,
    memory: Annotated[str | None, typer.Option(help="Slurm: memory of a rank, as 8G.")] = None,
    sbatch: Annotated[
        list[str] | None, typer.Option(help="Slurm: any other option, as --sbatch=--exclusive; may be repeated.")
    ] = None,
    grace: Annotated[
        int | None, typer.Option(help="Slurm: seconds before its end at which a rank is told. [default: 120]")
    ] = None,
    merge_time: Annotated[str | None, typer.Option(help="Slurm: time limit of the merge. [default: 0:10:00]")] = None,
    provider: Annotated[
        str | None, typer.Option(help="Parsl: where, as slurm, kubernetes, pbspro, lsf. [default: local]")
    ] = None,
    provider_options: Annotated[
        list[str] | None, typer.Option("--provider-option", help="Parsl: key=value for it; may be repeated.")
    ] = None,
    workers_per_node: Annotated[int | None, typer.Option(help="Parsl: ranks at once on a node. [default: 1]")] = None,
    address: Annotated[
        str | None, typer.Option(help="Parsl: this machine's address as workers see it. [default: found out]")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would be submitted, submit nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="What was submitted as JSON on standard output.")] = False,
) -> int:
    """Run qmgen generate as many ranks on a cluster.

    Slurm: one array job, or several where Slurm's largest array does not hold all ranks. Ranks are warned before they
    must leave, stop where they can go on and are queued again; a job merges when all are done. Parsl: the same ranks
    on any of its providers, until they are done.
    """
    given = dict(locals())
    from qmgen.config import GenerateConfig, resolve
    from qmgen.config.corpus import SubmitConfig

    flags = {name: given[name] for name in SubmitConfig.model_fields if name in given}
    settings = resolve(SubmitConfig, cluster, flags)
    words = list(extra or [])
    more = {name: value for name, value in _checked(config, words).items() if name in GenerateConfig.model_fields}
    run = resolve(GenerateConfig, config, more)
    check_source(run, more)
    job = _job(config, words, run, settings)
    if dry_run:
        print(_text(job, settings), end="")
        return 0
    return _with_slurm(job, settings, as_json) if settings.engine == "slurm" else _with_parsl(job, settings, as_json)


def _checked(config: Path, words: list[str]) -> dict[str, Any]:
    """What ``qmgen generate`` makes of ``words``; refuses here what it would refuse there."""
    from typer.main import get_command

    from qmgen.errors import UsageError

    app = typer.Typer(add_completion=False)
    app.command()(generate)
    # without the name and the config the words could hold another config
    with get_command(app).make_context("qmgen generate", [str(config), *words]) as context:
        given = {name: list(value) if isinstance(value, tuple) else value for name, value in context.params.items()}
    for name, reason in _NOT_FOR_RANKS.items():
        if given.get(name) not in (None, False):
            raise UsageError(f"--{name.replace('_', '-')} is not for ranks: {reason}")
    return given


def _job(config: Path, words: list[str], run: GenerateConfig, settings: SubmitConfig) -> Job:
    from qmgen.cluster.job import Job, absolute
    from qmgen.errors import UsageError

    for name in run.molecules:
        if name == "-":
            raise UsageError("standard input cannot be shared by ranks: write the molecules to a file")
        if "://" not in name and not Path(name).is_file():
            raise UsageError(f"no such file: {name}")
    assert settings.ranks is not None  # or the settings would not have passed
    if settings.cpus is not None and settings.gpus is None and run.workers is None:
        words = [*words, "--workers", str(settings.cpus)]  # ranks may share a node that hides no cores from them
    return Job(Path(absolute(config)), absolute(run.out), settings.ranks, tuple(words), Path.cwd())


def _text(job: Job, settings: SubmitConfig) -> str:
    import shlex

    if settings.engine == "slurm":
        from qmgen.cluster.slurm import array_scripts
        from qmgen.cluster.slurm_script import merge_script

        return "\n".join([*(text for _, text in array_scripts(job, settings)), merge_script(job, settings)])
    commands = [*(job.rank_command(rank) for rank in range(job.ranks)), job.merge_command()]
    return "".join(shlex.join(words) + "\n" for words in commands)


def _with_slurm(job: Job, settings: SubmitConfig, as_json: bool) -> int:
    from qmgen.cluster.slurm import submit as to_slurm

    done = to_slurm(job, settings)
    if as_json:
        found = {"engine": "slurm", "ranks": job.ranks, "array": done.arrays[0], "arrays": done.arrays}
        print_json({**found, "merge": done.merge, "logs": done.logs})
    jobs = f"array job{'s' if len(done.arrays) > 1 else ''} {', '.join(done.arrays)}"
    say(f"qmgen: {job.ranks} ranks are {jobs}, the merge is job {done.merge}; logs in {done.logs}")
    return 0


def _with_parsl(job: Job, settings: SubmitConfig, as_json: bool) -> int:
    from qmgen.cluster.parsl_run import submit as to_parsl

    outcome = to_parsl(job, settings, lambda line: say(f"qmgen: {line}"))
    if as_json:
        print_json({"engine": "parsl", **vars(outcome), "logs": job.logs})
    return outcome.exit_code
