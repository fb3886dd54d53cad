"""Settings of the commands that look at a corpus (``validate``, ``status``, ``verify``, ``merge``), that run it on a
cluster (``submit``), and that measure this machine (``bench``)."""

from __future__ import annotations

import re
from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import Field, field_validator, model_validator

from qmgen.config.base import (
    GRID_HELP,
    CommandConfig,
    Corpus,
    Count,
    Files,
    Folder,
    GridLevel,
    Lines,
    NotNegative,
    Positive,
    Seed,
    Setting,
)  # fmt: skip
from qmgen.config.generate import TheoryConfig


class ValidateConfig(CommandConfig):
    """``qmgen validate``: a seeded sample of a corpus against PySCF. Tolerances in Hartree and Debye."""

    path_fields: ClassVar[frozenset[str]] = frozenset({"directory", "out"})

    directory: Corpus
    sample: Annotated[Count, Setting("Number of rows to recompute.")] = 50
    seed: Annotated[Seed, Setting("Random seed of the sample.")] = 0
    tol_energy: Annotated[Positive, Setting("Tolerance of the total energy (Hartree).")] = 1e-6
    tol_orbital: Annotated[Positive, Setting("Tolerance of HOMO, LUMO and gap (Hartree).")] = 1e-5
    tol_dipole: Annotated[Positive, Setting("Tolerance of the dipole moment (Debye).")] = 1e-3
    workers: Annotated[Count | None, Setting("Number of PySCF processes.", unset="one per core")] = None
    out: Annotated[
        Folder | None,
        Setting("Directory for the JSON file and the figure, or the .json file.", unset="the corpus", metavar="DIR"),
    ] = None


class InspectConfig(CommandConfig):
    """``qmgen verify`` and ``qmgen merge``: ``workers`` files are read at once."""

    path_fields: ClassVar[frozenset[str]] = frozenset({"directory"})

    directory: Corpus
    workers: Annotated[Count, Setting("Number of files that are read at the same time.")] = 8


class StatusConfig(CommandConfig):
    """``qmgen status``: ``every`` seconds between two looks with ``--watch``."""

    path_fields: ClassVar[frozenset[str]] = frozenset({"directory"})

    directory: Corpus
    every: Annotated[Positive, Setting("Time between two reports of --watch.", metavar="SECONDS")] = 5.0


class BenchConfig(TheoryConfig):
    """``qmgen bench``: the same molecules through qmgen and PySCF, at one grid level after another.

    No ``molecules`` means the list that ships.
    """

    path_fields: ClassVar[frozenset[str]] = frozenset({"molecules", "out"})
    listed_first: ClassVar[tuple[str, ...]] = ("molecules", "count", "conformers", "seed")

    grid_levels: Annotated[list[GridLevel], Setting(GRID_HELP, flags=("--grid-level",)), Field(min_length=1)] = Field(
        default=[0, 1, 3]
    )
    molecules: Annotated[
        Files, Setting("File with molecules.", unset="a list that comes with qmgen", metavar="FILE")
    ] = Field(default_factory=list)
    count: Annotated[Count, Setting("Number of molecules to draw from the file.")] = 16
    conformers: Annotated[Count, Setting("Number of conformers of each molecule.")] = 1
    seed: Annotated[Seed, Setting("Random seed of the draw and of the conformers.")] = 0
    repeats: Annotated[
        Count, Setting("Number of timed passes at each grid level after the first; the median is reported.")
    ] = 3
    workers: Annotated[Count | None, Setting("Number of worker processes.", unset="one per core")] = None
    out: Annotated[Folder | None, Setting("JSON file to write.", metavar="FILE")] = None

    @field_validator("grid_levels")
    @classmethod
    def _each_once(cls, levels: list[int]) -> list[int]:
        if twice := sorted({level for level in levels if levels.count(level) > 1}):
            raise ValueError(f"level {twice[0]} is given more than once")
        return levels


#: sbatch options on which the survival of the run depends
OURS: Final = frozenset({"array", "signal", "requeue", "no-requeue", "open-mode", "parsable", "wrap", "test-only"})

_TIME = re.compile(r"(?:(?P<days>\d+)-)?(?P<a>\d+)(?::(?P<b>\d+))?(?::(?P<c>\d+))?", re.ASCII)


def seconds_of(text: str) -> int:
    """Slurm's notation of a time in seconds: ``90`` (minutes), ``mm:ss``, ``hh:mm:ss``, ``d-hh``, ``d-hh:mm:ss``.

    Raises ``ValueError`` for anything else, and for no time at all.
    """
    match = _TIME.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is no time: give minutes, hh:mm:ss or d-hh:mm:ss")
    first, second, third = (int(match[name] or 0) for name in "abc")
    if match["days"] is not None:
        seconds = int(match["days"]) * 86400 + first * 3600 + second * 60 + third
    elif match["c"] is not None:
        seconds = first * 3600 + second * 60 + third
    else:
        seconds = first * 60 + second
    if not seconds:
        raise ValueError(f"{text!r} is no time at all")
    return seconds


class SubmitConfig(CommandConfig):
    """Settings of ``qmgen submit``. Times in Slurm's notation, ``grace`` in seconds.

    ``grace`` is how long before the end of its time a rank is told; ``max_requeues`` how often one is started again.
    """

    file_parameter: ClassVar[str | None] = "cluster"

    engine: Annotated[Literal["slurm", "parsl"], Setting("What runs the ranks.")] = "slurm"
    ranks: Annotated[Count | None, Setting("Number of processes (ranks) that share the work units.")] = None
    cpus: Annotated[Count | None, Setting("Number of cores of a rank; also its number of worker processes.")] = None
    gpus: Annotated[Count | None, Setting("Number of GPUs of a rank (with Parsl: of a node).")] = None
    setup: Annotated[
        Lines, Setting("Shell line to run before the rank, such as 'module load cuda'.", metavar="LINE")
    ] = ()
    max_requeues: Annotated[NotNegative, Setting("Largest number of restarts of a rank.")] = 100

    # Slurm
    time: Annotated[str | None, Setting("Slurm: time limit of a job, such as 4:00:00 or 2-00.", metavar="TIME")] = None
    partition: Annotated[str | None, Setting("Slurm: partition.", metavar="NAME")] = None
    account: Annotated[str | None, Setting("Slurm: account.", metavar="NAME")] = None
    qos: Annotated[str | None, Setting("Slurm: quality of service.", metavar="NAME")] = None
    constraint: Annotated[str | None, Setting("Slurm: required features of the nodes.", metavar="FEATURES")] = None
    memory: Annotated[str | None, Setting("Slurm: memory of a rank, such as 8G.", metavar="SIZE")] = None
    sbatch: Annotated[
        Lines, Setting("Slurm: any other option of sbatch, such as --sbatch=--exclusive.", metavar="OPTION")
    ] = ()
    grace: Annotated[
        Count,
        Setting("Slurm: seconds before its time limit at which a rank is asked to stop.", metavar="SECONDS"),
    ] = 120
    merge_time: Annotated[str, Setting("Slurm: time limit of the job that merges.", metavar="TIME")] = "0:10:00"

    # Parsl
    provider: Annotated[
        str,
        Setting("Parsl: provider of the nodes, such as local, slurm, kubernetes, pbspro or lsf.", metavar="NAME"),
    ] = "local"
    provider_options: Annotated[
        Lines, Setting("Parsl: option of the provider.", metavar="KEY=VALUE", flags=("--provider-option",))
    ] = ()
    workers_per_node: Annotated[Count, Setting("Parsl: number of ranks that run on a node at the same time.")] = 1
    address: Annotated[
        str | None,
        Setting("Parsl: address of this machine as the nodes see it.", unset="found by Parsl", metavar="HOST"),
    ] = None

    @field_validator("time", "merge_time")
    @classmethod
    def _times(cls, value: str | None) -> str | None:
        if value is not None:
            seconds_of(value)
        return value

    @field_validator("time", "partition", "account", "qos", "constraint", "memory", "sbatch")
    @classmethod
    def _on_one_line(cls, value: Any) -> Any:
        for text in (value,) if isinstance(value, str) else value or ():
            if not text.strip() or not text.isprintable():
                raise ValueError("should be one line of text")
        return value

    @field_validator("sbatch")
    @classmethod
    def _options_of_sbatch(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for text in value:
            match = re.fullmatch(r"--([a-z][a-z-]*)(=.*)?", text)
            if match is None:
                raise ValueError(f"{text!r} is no long option of sbatch: write it as --option=value")
            if match[1] in OURS:
                raise ValueError(f"--{match[1]} is set by qmgen itself")
        return value

    @field_validator("provider_options")
    @classmethod
    def _pairs(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for text in value:
            if re.fullmatch(r"[A-Za-z_]\w*=.*", text, re.DOTALL) is None:
                raise ValueError(f"{text!r} is no option of a provider: write it as key=value")
        return value

    @model_validator(mode="after")
    def _ranks_and_times(self) -> SubmitConfig:
        if self.ranks is None:
            raise ValueError("how many ranks? give --ranks N, at most as many as there are work units")
        if self.time is not None and seconds_of(self.time) <= 2 * self.grace:
            raise ValueError(
                f"time = {self.time!r} leaves nothing to compute: a rank is told {self.grace} seconds before its end; "
                "give more --time, or less --grace"
            )
        return self
