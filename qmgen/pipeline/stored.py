"""The configuration that stands in a corpus, and the files of molecules that it names."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from qmgen.config.generate import PLAIN_GUESSES, GenerateConfig
from qmgen.config.sources import check
from qmgen.corpus.shard import digest
from qmgen.corpus.store import Store, place_of, read_small
from qmgen.documents import toml_of
from qmgen.errors import UsageError, first_line
from qmgen.pipeline.enumeration.as_source import NAME

CONFIG = "config.toml"


def stored_config(store: Store) -> GenerateConfig:
    """What config.toml of the corpus in ``store`` says. Raises ``UsageError`` where it is missing or damaged."""
    try:
        values = toml_of(read_small(store, CONFIG))
    except FileNotFoundError:
        raise UsageError(
            f"{store.place} has no {CONFIG}: give the directory of a corpus, or run its command again"
        ) from None
    except (OSError, ValueError) as error:
        raise UsageError(
            f"cannot read {store.place}/{CONFIG} ({first_line(error)}): run the corpus' own command again"
        ) from None
    found = {**values, "out": place_of(store)}
    if isinstance(names := values.get("molecules", []), list):  # else check says what is wrong with it
        found["molecules"] = [_beside(store.local, path) if isinstance(path, str) else path for path in names]
    guess = found.get("guess")
    if not isinstance(guess, str) or guess in PLAIN_GUESSES:
        return check(GenerateConfig, found)
    # a network is not looked for: it may be gone, and who goes on with the corpus need not have it
    plain = check(GenerateConfig, {**found, "guess": PLAIN_GUESSES[0]})
    return plain.model_copy(update={"guess": _beside(store.local, guess)})


def sources_of(config: GenerateConfig, store: Store) -> list[Path]:
    """The files that ``config`` reads its molecules from, as far as they can be read a second time and are there."""
    if config.enumerate is not None:
        kept = [] if store.local is None else [store.local / NAME]
    else:
        kept = [Path(name) for name in config.molecules if name != "-"]
    return [path for path in kept if path.is_file()]


def by_digest(paths: Iterable[Path]) -> Mapping[str, Path]:
    """Files by the SHA-256 of their contents."""
    return {digest(path): path for path in paths}


def _beside(directory: Path | None, path: str) -> str:
    if path == "-" or "://" in path or directory is None:
        return path
    return os.path.normpath(directory / path)
