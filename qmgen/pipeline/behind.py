"""The source of an extended corpus: the molecules that are there, and behind them those that are new.

Where the files of the old ones are still at hand, both are read; else the SMILES that the corpus holds stand in for
them, which is enough to number and to merge the new ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import chain
from typing import TYPE_CHECKING, Final

import pyarrow.parquet as pq

from qmgen.corpus.revisions import CorpusHistory
from qmgen.corpus.store import Store
from qmgen.errors import UsageError
from qmgen.molecules.entries import unlabelled
from qmgen.molecules.types import Failure, Molecule, Reason
from qmgen.pipeline.enumeration.as_source import NAME
from qmgen.pipeline.source import Entry, Source, open_source
from qmgen.pipeline.stored import by_digest, sources_of, stored_config

if TYPE_CHECKING:
    from qmgen.config.generate import GenerateConfig

#: sources that give SMILES alone, one a place: all of them is in the corpus. "-" is SMILES on standard input
_SMILES: Final = (".smi", ".csv", ".tsv", ".smi.gz", ".csv.gz", ".tsv.gz", "-")


@dataclass(frozen=True)
class Behind(Source):
    """``files`` behind the ``before.entries`` molecules that are in ``store``."""

    before: CorpusHistory | None = None
    store: Store | None = None

    def __iter__(self) -> Iterator[Entry]:
        assert self.before is not None and self.store is not None
        moved = (replace(one, molecule_id=one.molecule_id + self.before.entries) for one in super().__iter__())
        return chain(_stand_ins(self.before, self.store), moved)


def whole_source(
    config: GenerateConfig,
    source: Source,
    store: Store,
    before: CorpusHistory,
    digests: Sequence[str],
    grows: bool,
    stack: ExitStack,
) -> tuple[GenerateConfig, Source]:
    """The source with these ``digests``, out of ``source``, the files that the corpus was made from, and what is in it;
    and the configuration that names it.

    ``stack`` closes what is opened. Raises ``UsageError`` where the old molecules are needed and not to be had.
    """
    if list(source.digests) == list(digests):
        return config, source
    stored = stored_config(store)
    there = by_digest(sources_of(stored, store))
    typed = dict(zip(source.digests, config.molecules or [str(path) for path in source.files], strict=True))
    files = {name: str(path) for name, path in there.items()} | {
        name: str(path) for name, path in zip(source.digests, source.files, strict=True)
    }
    if all(name in files for name in digests):
        names = [typed.get(name, files[name]) for name in digests]
        opened = stack.enter_context(
            open_source([files[name] for name in digests], source.smiles_column, source.stages, keep=source.keep)
        )
        return _naming(config, names), opened
    new = [name for name in digests if name in files and name not in before.current["source"]]
    old = ["-"] if stored.enumerate is not None else list(stored.molecules)
    gone = f"the molecules that {store.place} was made from are not where its config.toml says"
    if grows:
        raise UsageError(f"{gone}: more conformers of them need them, give them with --molecules too")
    if stored.enumerate is not None and store.local is None:
        raise UsageError(f"{store.place} holds an enumeration in an object store: add to it with the same --enumerate")
    if config.stereo == "enumerate" or not all(name.endswith(_SMILES) for name in old):
        raise UsageError(f"{gone}, and its rows do not say all of them: give them with --molecules, the new ones last")
    if [*before.current["source"], *new] != list(digests):
        raise UsageError(f"{gone}: give them with --molecules, the new ones last")
    added = stack.enter_context(
        open_source([files[name] for name in new], source.smiles_column, source.stages, keep=source.keep)
    )
    behind = Behind(
        added.files,
        added.smiles_column,
        added.stages,
        before.entries + added.entries,
        tuple(digests),
        added.held,
        added.keep,
        None,  # of what is there already too
        before,
        store,
    )
    return _naming(config, [*old, *(typed[name] for name in new)]), behind


def refuse_other_enumeration(config: GenerateConfig, store: Store) -> None:
    """Raise ``UsageError`` when ``config`` would enumerate other molecules than those of the corpus in ``store``."""
    if config.enumerate is None:
        return
    stored = stored_config(store)
    names = ("enumerate", "elements", "rules", "max_hydrogens", "sample", "sample_parts", "seed")
    same = all(getattr(stored, name) == getattr(config, name) for name in names)
    kept = stored.enumerate is None and store.local is not None and (store.local / NAME).exists()
    if not same and not kept:
        raise UsageError(
            f"{store.place} is not extended by another enumeration: write the new molecules to a file with `qmgen "
            "enumerate --out FILE.smi`, and add that with --extend --molecules FILE.smi"
        )


def _naming(config: GenerateConfig, names: list[str]) -> GenerateConfig:
    """``config`` with these files as its source."""
    return config.model_copy(update={"molecules": names, "enumerate": None, "sample": None, "sample_parts": None})


def _stand_ins(before: CorpusHistory, store: Store) -> Iterator[Entry]:
    """One entry for each that the corpus was made from: with its SMILES, where it was no duplicate."""
    done = 0
    for planned in (before.plan, *(one.plan for one in before.extensions())):
        for unit in planned:
            if unit.stop > done:
                smiles = _smiles_of(store, unit.files())
                for place in range(max(unit.start, done), unit.stop):
                    known = smiles.get(place)
                    yield (
                        Molecule(place, "", unlabelled(known))
                        if known
                        else Failure(place, -1, "", "", Reason.UNREADABLE, "")
                    )
                done = unit.stop


def _smiles_of(store: Store, files: dict[str, str]) -> dict[int, str]:
    found: dict[int, str] = {}
    for name in files.values():
        table = pq.ParquetFile(store.open(name)).read(columns=["molecule_id", "smile"])
        found.update(zip(table["molecule_id"].to_pylist(), table["smile"].to_pylist(), strict=True))
    return found
