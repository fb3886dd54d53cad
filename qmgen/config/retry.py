"""The settings of ``qmgen retry``: what is to be harder than when the failures failed."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from qmgen.config.models import CommandConfig, Count, Place, Positive

#: all attempts of one conformer together must fit the column ``cycles``, which ends at 32767
MOST_CYCLES = 6000


class RetryConfig(CommandConfig):
    """A corpus, and settings for its failures; those that are not given follow from what the failures are."""

    path_fields: ClassVar[frozenset[str]] = frozenset({"directory"})

    directory: Place
    max_cycles: Annotated[int, Field(ge=1, le=MOST_CYCLES)] | None = None
    embed_time_limit: Positive | None = None
    guess: Literal["atoms", "core"] | None = None
    batch_size: Count | None = None
    workers: Count | None = None
    time_limit: Positive | None = None
    max_failures: int | None = Field(default=None, ge=0)
