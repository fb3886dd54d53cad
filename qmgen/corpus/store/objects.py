"""A corpus in an object store (S3, and what speaks like it), by pyarrow's own file systems.

An object appears when its upload is complete, and never in part; so files are made locally and uploaded in one piece.
There are no locks: two processes with the same rank do some work twice, and put the same bytes.
"""

from __future__ import annotations

import errno
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit, urlunsplit

import pyarrow as pa
import pyarrow.fs as pafs

from qmgen.errors import QmgenError, UsageError, first_line

#: options of pyarrow that a URL gets where its query does not say otherwise. S3: a file of a few MB is one request and
#: not three. Google: give up after a minute, not after a quarter of an hour.
DEFAULTS: Final = {"s3": ("allow_delayed_open", "true"), "gs": ("retry_limit_seconds", "60")}
SCHEMES: Final = tuple(DEFAULTS)
_AWS: Final = re.compile(r"AWS Error (?P<code>\w+) during \w+ operation: (?P<text>.*?)( \(Request ID: [^)]*\))?$")


class StoreRefused(QmgenError, OSError):
    """The object store refuses, or cannot be reached: a line that also does for the person at the shell."""


class ObjectStore:
    """The prefix ``url``: ``s3://bucket/prefix``, with pyarrow's options as a query (``?region=...&scheme=http&
    endpoint_override=localhost:5000``), credentials from the usual variables and files.

    Raises ``UsageError`` on a scheme that is not known, a URL without a bucket or with credentials in it, and where the
    store does not answer, has no such bucket, or does not let us in.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in SCHEMES:
            raise UsageError(f"{parts.scheme}:// is not known: use {'://, '.join(SCHEMES)}:// or a directory")
        user, _, bucket = parts.netloc.rpartition("@")
        if "@" in url.partition("?")[0] and user != "anonymous":  # a secret with a / in it makes it part of the path
            raise UsageError(
                f"a {parts.scheme}:// URL with credentials would show them to everybody: set AWS_ACCESS_KEY_ID and "
                "AWS_SECRET_ACCESS_KEY instead"
            )
        if not bucket:
            raise UsageError(f"{parts.scheme}:// names no bucket: write {parts.scheme}://bucket/prefix")
        self.url = url
        self.place = urlunsplit((parts.scheme, bucket, parts.path.rstrip("/"), "", ""))
        self.local: Path | None = None
        self._system, self._root = _connected(url, self.place)

    def exists(self) -> bool:
        return bool(self._list(self._root))

    def names(self, folder: str) -> dict[str, int]:
        prefix = f"{folder}/" if folder else ""
        found = self._list(f"{self._root}/{folder}" if folder else self._root)
        return {f"{prefix}{info.base_name}": info.size for info in found if info.type == pafs.FileType.File}

    def open(self, name: str) -> pa.NativeFile:
        with _said(name):
            return self._system.open_input_file(f"{self._root}/{name}")

    def read(self, name: str, most: int | None = None) -> bytes:
        with _said(name), self._system.open_input_file(f"{self._root}/{name}") as stream:
            if most is not None and stream.size() > most:
                raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), name)
            return bytes(stream.read())

    def write(self, name: str, data: bytes) -> None:
        path = f"{self._root}/{name}"
        # one write of the whole: an upload that is given up in the middle would be closed, and so completed, by pyarrow
        with _said(name), self._system.open_output_stream(path) as stream:
            stream.write(data)
        with _said(name):
            size = self._system.get_file_info(path).size
            if size != len(data):
                self._system.delete_file(path)
                raise StoreRefused(f"{name}: {size} of {len(data)} bytes arrived")

    def put(self, name: str, finished: Path) -> None:
        self.write(name, finished.read_bytes())
        finished.unlink()

    def remove(self, name: str) -> None:
        with _said(name):
            if self._system.get_file_info(f"{self._root}/{name}").type == pafs.FileType.File:
                self._system.delete_file(f"{self._root}/{name}")

    @contextmanager
    def workspace(self) -> Iterator[Path]:
        with tempfile.TemporaryDirectory(prefix="qmgen-") as folder:
            yield Path(folder)

    def clear(self) -> None:
        """Nothing: workspaces lie in the machine's own temporary directory, which the machine clears."""

    def _list(self, path: str) -> list[Any]:
        with _said(path):
            found: list[Any] = self._system.get_file_info(pafs.FileSelector(path, allow_not_found=True))
            return found


@cache
def _connected(url: str, place: str) -> tuple[pafs.FileSystem, str]:
    """pyarrow's file system and the path in it, once the store has answered; ``UsageError`` where it does not."""
    parts = urlsplit(url)
    option, value = DEFAULTS[parts.scheme]
    if option not in parse_qs(parts.query):
        url += f"{'&' if parts.query else '?'}{option}={value}"
    try:
        system, root = pafs.FileSystem.from_uri(url)
        with _said(""):
            # without allow_not_found: with it, a bucket that is not there looks like one that is empty
            system.get_file_info(pafs.FileSelector(root.rstrip("/")))
    except FileNotFoundError:
        pass  # nothing is there yet
    except (OSError, ValueError) as error:  # pyarrow's errors are ValueErrors
        raise UsageError(f"cannot use {place}: {_reason(error).replace(url, place)}") from error
    return system, root.rstrip("/")


@contextmanager
def _said(what: str) -> Iterator[None]:
    """pyarrow's long errors as ``Refused``, a line about ``what``; files that are not there stay what they are."""
    try:
        yield
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{what} is not there") from error
    except StoreRefused:
        raise
    except OSError as error:
        raise StoreRefused(f"{what}: {_reason(error)}" if what else _reason(error)) from error


def _reason(error: BaseException) -> str:
    """One line: of AWS' own errors the text and the code, without the number of the request."""
    line = first_line(error)
    if match := _AWS.search(line):
        text = match["text"].rpartition("Details: ")[2].rstrip(".")
        return match["code"] if text == "No response body" else f"{text} ({match['code']})"
    return line
