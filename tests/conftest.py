"""What all tests share: float64 and one compilation cache, set by environment so that no test imports JAX in vain."""

from __future__ import annotations

import gc
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

# Before anything imports jax. Workers of pytest-xdist are children of this process and inherit the cache.
os.environ.setdefault("JAX_ENABLE_X64", "1")
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(ROOT / ".cache" / "tests-xla"))
# every program is kept: tests compile thousands of small ones, which are read four times as fast as they are compiled
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")


# tracing makes millions of objects that stay: the collector's usual looks at them cost a fifth of its time
gc.set_threshold(100_000, 50, 50)


@pytest.fixture(scope="module", autouse=True)
def few_memory_maps() -> Iterator[None]:
    """Hundreds of programs compiled in one test process use up its memory maps, and the next compilation aborts."""
    yield
    if "jax" in sys.modules:
        from qmgen.labeling.compiling import leave_room

        leave_room(0.25)


@pytest.fixture
def bare_environment() -> dict[str, str]:
    """The environment of a user's shell for a child process: none of the switches above, no settings of qmgen."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("JAX_", "QMGEN_"))}
    return {**kept, "QMGEN_CACHE": os.environ["JAX_COMPILATION_CACHE_DIR"], "PYTHONPATH": str(ROOT)}


@dataclass(frozen=True)
class ObjectServer:
    """moto's S3 server on this machine, a process of its own; ``address`` is ``127.0.0.1:port``."""

    address: str

    def url(self, prefix: str = "", bucket: str = "bucket") -> str:
        """``s3://bucket/prefix`` on this server."""
        place = f"s3://{bucket}/{prefix}" if prefix else f"s3://{bucket}"
        return f"{place}?endpoint_override={self.address}&scheme=http"

    def make_bucket(self, bucket: str = "bucket") -> None:
        urllib.request.urlopen(urllib.request.Request(f"http://{self.address}/{bucket}", method="PUT"), timeout=30)


@contextmanager
def serving_objects(**environment: str) -> Iterator[ObjectServer]:
    """A fresh server with the bucket ``bucket``. MOTO_PYTHON names another interpreter that has moto."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [os.environ.get("MOTO_PYTHON", sys.executable), "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=os.environ | environment)
        server = ObjectServer(f"127.0.0.1:{port}")
        try:
            deadline = time.monotonic() + 60
            while True:
                try:
                    server.make_bucket()
                    break
                except OSError:
                    if process.poll() is not None or time.monotonic() > deadline:
                        log.seek(0)
                        pytest.fail(f"moto's server did not start: {log.read().decode(errors='replace')[-2000:]}")
                    time.sleep(0.1)
            yield server
        finally:
            process.kill()
            process.wait()


@pytest.fixture(scope="session")
def serve_objects() -> Callable[..., AbstractContextManager[ObjectServer]]:
    """``with serve_objects(VARIABLE="value") as server``: a server of one's own."""
    return serving_objects


@pytest.fixture(scope="session")
def object_server() -> Iterator[ObjectServer]:
    with serving_objects() as server:
        yield server


@pytest.fixture
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some for the server on this machine, which takes any; nothing of the user's own."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIATESTKEY")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "topsecret/key")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
