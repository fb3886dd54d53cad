"""Nothing happens at import, and --help needs nothing heavy."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = (
    "numpy",
    "scipy",
    "jax",
    "jaxlib",
    "pyscf",
    "rdkit",
    "pyarrow",
    "pydantic",
    "matplotlib",
    "rich",
    "tqdm",
    "optax",
)

#: runs some code, then prints which of the heavy modules it left behind
PROBE = """
import sys
{code}
print(" ".join(name for name in {heavy!r} if name in sys.modules), file=sys.stderr)
"""


def loaded(code: str, environment: dict[str, str]) -> str:
    """The heavy modules that ``code`` loads in a fresh interpreter."""
    script = PROBE.format(code=code, heavy=HEAVY)
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=60, check=True
    )
    return done.stderr.strip()


@pytest.mark.parametrize("words", [["--help"], ["--version"]])
def test_help_imports_nothing_heavy(words: list[str], bare_environment: dict[str, str]) -> None:
    code = f"from qmgen.cli.main import main\nassert main({words!r}) == 0"
    assert loaded(code, bare_environment) == ""


@pytest.mark.parametrize(
    "command",
    ["enumerate", "generate", "retry", "submit", "validate", "bench", "doctor", "train", "train schnet", "evaluate"],
)
def test_help_of_a_command_imports_nothing_heavy_either(command: str, bare_environment: dict[str, str]) -> None:
    code = f"from qmgen.cli.main import main\nassert main([*{command.split()!r}, '--help']) == 0"
    assert loaded(code, bare_environment) in ("", "pydantic")  # which declares the settings


def test_importing_qmgen_imports_nothing_heavy(bare_environment: dict[str, str]) -> None:
    assert loaded("import qmgen; assert qmgen.__version__", bare_environment) == ""


def test_importing_qmgen_sets_no_flag_and_touches_no_device(bare_environment: dict[str, str]) -> None:
    code = """
import jax
from jax._src import xla_bridge
before = dict(jax.config.values)
import importlib, pkgutil, qmgen
for room in pkgutil.walk_packages(qmgen.__path__, "qmgen."):
    if not room.name.endswith("__main__"):
        importlib.import_module(room.name)
changed = {key for key, value in jax.config.values.items() if before.get(key) != value}
assert not changed, changed
assert not xla_bridge.backends_are_initialized()
"""
    done = subprocess.run(
        [sys.executable, "-c", code], env=bare_environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr


def test_the_runtime_switches_float64_and_the_cache_on(bare_environment: dict[str, str], tmp_path) -> None:
    code = """
import sys, pathlib, jax
from qmgen.runtime import prepare
assert not jax.config.jax_enable_x64
assert prepare() == pathlib.Path(sys.argv[1])
assert jax.config.jax_enable_x64 and jax.config.jax_compilation_cache_dir == sys.argv[1]
assert prepare(pathlib.Path("/dev/null/no")) is None
"""
    environment = {**bare_environment, "QMGEN_CACHE": str(tmp_path / "cache")}
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "cache")],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "cache").is_dir()
