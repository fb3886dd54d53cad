"""A corpus in an object store (S3, and what speaks like it), by pyarrow's own file systems.

An object appears when its upload is complete, and never in part; so files are made locally and uploaded in one piece.
There are no locks: two processes with the same rank do some work twice, and put the same bytes.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit, urlunsplit

import pyarrow as pa
import pyarrow.fs as pafs

from qmgen.errors import UsageError

SCHEMES: Final = ("s3", "gs")


class ObjectStore:
    """The prefix ``url``: ``s3://bucket/prefix``, with pyarrow's options as a query (``?region=...&scheme=http&
    endpoint_override=localhost:5000``), credentials from the usual variables and files.

    Raises ``UsageError`` on a scheme that is not known or a URL without a bucket.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in SCHEMES:
            raise UsageError(f"{parts.scheme}:// is not known: use {'://, '.join(SCHEMES)}:// or a directory")
        if not parts.hostname and not parts.netloc:
            raise UsageError(f"{url} names no bucket: write {parts.scheme}://bucket/prefix")
        bucket = parts.netloc.rsplit("@", 1)[-1]
        self.url = url
        self.place = urlunsplit((parts.scheme, bucket, parts.path.rstrip("/"), "", ""))
        self.local: Path | None = None
        try:
            self._system, self._root = pafs.FileSystem.from_uri(url)
        except (OSError, ValueError) as error:  # pyarrow's errors are ValueErrors
            raise UsageError(f"cannot use {self.place}: {_line(error)}") from error
        self._root = self._root.rstrip("/")

    def exists(self) -> bool:
        selector = pafs.FileSelector(self._root, allow_not_found=True)
        return bool(self._system.get_file_info(selector))

    def names(self, folder: str) -> dict[str, int]:
        top = f"{self._root}/{folder}" if folder else self._root
        found = self._system.get_file_info(pafs.FileSelector(top, allow_not_found=True))
        prefix = f"{folder}/" if folder else ""
        return {f"{prefix}{info.base_name}": info.size for info in found if info.type == pafs.FileType.File}

    def open(self, name: str) -> pa.NativeFile:
        return self._system.open_input_file(f"{self._root}/{name}")

    def read(self, name: str) -> bytes:
        with self._system.open_input_file(f"{self._root}/{name}") as stream:
            return bytes(stream.read())

    def write(self, name: str, data: bytes) -> None:
        path = f"{self._root}/{name}"
        # one write of the whole: an upload that is given up in the middle would be closed, and so completed, by pyarrow
        with self._system.open_output_stream(path) as stream:
            stream.write(data)
        size = self._system.get_file_info(path).size
        if size != len(data):
            self._system.delete_file(path)
            raise OSError(f"{name}: {size} of {len(data)} bytes arrived")

    def put(self, name: str, finished: Path) -> None:
        self.write(name, finished.read_bytes())
        finished.unlink()

    def remove(self, name: str) -> None:
        if self._system.get_file_info(f"{self._root}/{name}").type == pafs.FileType.File:
            self._system.delete_file(f"{self._root}/{name}")

    @contextmanager
    def workspace(self) -> Iterator[Path]:
        with tempfile.TemporaryDirectory(prefix="qmgen-") as folder:
            yield Path(folder)

    def clear(self) -> None:
        """Nothing: workspaces lie in the machine's own temporary directory, which the machine clears."""


def _line(error: BaseException) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
