"""Settings of the commands that look at a corpus: ``qmgen status``, ``verify`` and ``merge``."""

from __future__ import annotations

from typing import ClassVar

from qmgen.config.models import CommandConfig, Count, Place, Positive


class InspectConfig(CommandConfig):
    """``qmgen verify`` and ``qmgen merge``: ``workers`` files are read at once."""

    path_fields: ClassVar[frozenset[str]] = frozenset({"directory"})

    directory: Place
    workers: Count = 8


class StatusConfig(CommandConfig):
    """``qmgen status``: ``every`` seconds between two looks with ``--watch``."""

    path_fields: ClassVar[frozenset[str]] = frozenset({"directory"})

    directory: Place
    every: Positive = 5.0
