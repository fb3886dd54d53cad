"""A network of random weights as a file: what it predicts is of no use, and must come out the same on every way."""

from __future__ import annotations

from pathlib import Path

import jax
import pytest

from qmgen.learning.data.packed import fit
from qmgen.learning.data.source import open_rows
from qmgen.learning.schnet import model
from qmgen.learning.schnet.model import SchNetShape, StoredSchnet, load_model, outputs_of, save_model
from qmgen.learning.targets import targets_of


def write_model(path: Path, corpus: Path) -> StoredSchnet:
    """A network of all kinds of target, normalized by the training rows of ``corpus``."""
    targets = targets_of(["y", "energy", "dipole", "forces"])
    source = open_rows(corpus, targets)
    shape = SchNetShape(16, 16, 2, 16, 10.0, outputs_of(targets))
    about = {"level_of_theory": source.level_of_theory, "digest": source.digest, "rows": 200, "seed": 0}
    params = model.init(jax.random.key(1), shape)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_model(path, StoredSchnet(params, shape, targets, fit(targets, source.read("train")), about))
    return load_model(path)


@pytest.fixture(scope="session")
def stored(toy: Path, tmp_path_factory: pytest.TempPathFactory) -> StoredSchnet:
    return write_model(tmp_path_factory.mktemp("model") / "model.safetensors", toy)
