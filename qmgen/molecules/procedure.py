"""How conformers are made: the settings that the embedding, and what comes after it, understand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

Embedder = Literal["etkdg3", "qm1b"]
Relaxation = Literal["none", "mmff"]
Stereo = Literal["as-given", "enumerate"]


@dataclass(frozen=True)
class Procedure:
    """The way from a SMILES to its conformers; the defaults are ETKDGv3 and nothing after it.

    ``embed`` chooses the embedding (``embedding.etkdg3``, ``embedding.qm1b``). ``relax`` "mmff" minimises each geometry
    in MMFF94, in at most ``relax_steps`` steps. ``energy_window`` (kcal/mol) prunes what lies higher above the lowest
    MMFF94 energy of the same isomer; ``prune_rms`` (Angstrom) what is nearer than that to an earlier conformer.
    ``stereo`` "enumerate" makes up to ``max_stereo_isomers`` isomers of a molecule whose SMILES leaves some open.
    """

    embed: Embedder = "etkdg3"
    relax: Relaxation = "none"
    relax_steps: int = 1000
    prune_rms: float | None = None
    energy_window: float | None = None
    stereo: Stereo = "as-given"
    max_stereo_isomers: int = 32

    @property
    def needs_force_field(self) -> bool:
        """Whether a molecule without MMFF94 parameters cannot be done."""
        return self.relax == "mmff" or self.energy_window is not None

    @property
    def prunes(self) -> bool:
        """Whether fewer conformers than asked for may be left."""
        return self.prune_rms is not None or self.energy_window is not None


#: ETKDGv3 and nothing after it
PLAIN: Final = Procedure()
