"""A corpus and all that was added to it: which settings and which molecules it has come to, and whether it is whole."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from qmgen.corpus.books import Damaged, book_of
from qmgen.corpus.expected import plan_of, sound_manifest_of
from qmgen.corpus.generations import EXTEND, Generation, generations
from qmgen.corpus.identity import stored_recipe
from qmgen.corpus.listing import Listing
from qmgen.corpus.plan import Plan, plan_of_parts
from qmgen.corpus.store import Store

#: what a recipe says without which nothing can be added to the corpus
_NEEDED: Final = frozenset({"conformers", "source"})


@dataclass(frozen=True)
class History:
    """``recipe`` and ``plan`` of generation 0, and the ``generations`` after it."""

    recipe: Mapping[str, Any]
    plan: Plan
    generations: tuple[Generation, ...] = ()

    def plans(self) -> Iterator[Plan]:
        """Of generation 0, then of the later ones."""
        yield self.plan
        yield from (one.plan for one in self.generations)

    def below(self, number: int) -> History:
        """What there was before generation ``number``."""
        return History(self.recipe, self.plan, tuple(one for one in self.generations if one.number < number))

    def extensions(self) -> list[Generation]:
        """The generations that are no retries."""
        return [one for one in self.generations if one.kind == EXTEND]

    @property
    def current(self) -> Mapping[str, Any]:
        """The recipe of the corpus as it has been extended; retries do not change it."""
        return self.extensions()[-1].recipe if self.extensions() else self.recipe

    @property
    def entries(self) -> int:
        """Entries of its source, as extended."""
        ends = [one.plan.begin + one.plan.entries for one in self.extensions()]
        return ends[-1] if ends else self.plan.entries

    @property
    def wanted(self) -> int:
        """Entries to be done in all: fewer than ``entries`` where there is a limit."""
        return self.entries - self.plan.entries + self.plan.wanted

    def unfinished(self, listing: Listing) -> Generation | Plan | None:
        """The first part that is not whole: a generation, or the plan of generation 0; None where all are."""
        if not whole(self.plan, listing):
            return self.plan
        return next((one for one in self.generations if not whole(one.plan, listing)), None)


def whole(plan: Plan, listing: Listing) -> bool:
    """Whether all units of ``plan`` are done."""
    return all(listing.done(unit) for unit in plan)


def history_of(store: Store, listing: Listing) -> History | None:
    """The history of the corpus in ``store``; None where there is none, or none with all of its first files."""
    recipe = stored_recipe(store)
    if recipe is None or not recipe.keys() >= _NEEDED:
        return None
    added = tuple(one for one in generations(store, listing) if one.recipe.keys() >= _NEEDED)
    if isinstance(recipe.get("source"), Mapping):  # the parts of an enumeration
        return History(recipe, plan_of_parts(recipe["source"]["units"]), added)
    planned = plan_of(sound_manifest_of(store).get("plan")) or _plan_of_files(store, listing)
    return None if planned is None else History(recipe, planned, added)


def _plan_of_files(store: Store, listing: Listing) -> Plan | None:
    """The plan of generation 0 without a manifest, from the books of its units, if all are there."""
    first = [(key, name) for key, name in listing.units() if not key[0]]
    counts = {count for (_, count, _), _ in first}
    if len(counts) != 1 or len(first) != (count := counts.pop()) or any(".first-" in name for _, name in first):
        return None
    try:
        return Plan(sum(book_of(store, name).entries for _, name in first), count)
    except (Damaged, OSError):
        return None
