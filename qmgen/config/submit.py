"""``qmgen submit``: how many ranks, on which engine, with what each of them asks of it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from qmgen.config.models import CommandConfig, Count

#: sbatch options on which the survival of the run depends
OURS: Final = frozenset({"array", "signal", "requeue", "no-requeue", "open-mode", "parsable", "wrap", "test-only"})

_TIME = re.compile(r"(?:(?P<days>\d+)-)?(?P<a>\d+)(?::(?P<b>\d+))?(?::(?P<c>\d+))?", re.ASCII)


def _lines(value: Any) -> Any:
    """One text or several as a tuple. Not ``list[str]``: from the environment that would be cut at its colons."""
    if isinstance(value, str):
        return (value,)
    return tuple(value) if isinstance(value, list) else value


Lines = Annotated[tuple[str, ...], BeforeValidator(_lines)]


def seconds_of(text: str) -> int:
    """Slurm's notation of a time in seconds: ``90`` (minutes), ``mm:ss``, ``hh:mm:ss``, ``d-hh``, ``d-hh:mm:ss``.

    Raises ``ValueError`` for anything else, and for no time at all.
    """
    found = _TIME.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"{text!r} is no time: give minutes, hh:mm:ss or d-hh:mm:ss")
    first, second, third = (int(found[name] or 0) for name in "abc")
    if found["days"] is not None:
        seconds = int(found["days"]) * 86400 + first * 3600 + second * 60 + third
    elif found["c"] is not None:
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

    flag_names: ClassVar[Mapping[str, str]] = {"provider_options": "provider-option"}

    engine: Literal["slurm", "parsl"] = "slurm"
    ranks: Count | None = None
    cpus: Count | None = None
    gpus: Count | None = None
    setup: Lines = ()
    max_requeues: int = Field(default=100, ge=0)

    # Slurm
    time: str | None = None
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    memory: str | None = None
    sbatch: Lines = ()
    grace: Count = 120
    merge_time: str = "0:10:00"

    # Parsl
    provider: str = "local"
    provider_options: Lines = ()
    workers_per_node: Count = 1
    address: str | None = None

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
            found = re.fullmatch(r"--([a-z][a-z-]*)(=.*)?", text)
            if found is None:
                raise ValueError(f"{text!r} is no long option of sbatch: write it as --option=value")
            if found[1] in OURS:
                raise ValueError(f"--{found[1]} is set by qmgen itself")
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
