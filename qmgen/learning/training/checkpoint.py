"""Pytrees of arrays as safetensors files that are either whole or not there.

>>> save(path, {"state": state, "best": best}, {"step": 400})
>>> tree, about = restore(path, like={"state": state, "best": best})

A file is written under another name, synchronized and renamed. ``keep`` lets the one before it stay under a second
name, so that a damaged file costs a minute of work and not the run.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, TypeVar, get_origin, get_type_hints

import jax
import ml_dtypes  # JAX's own
import numpy as np

from qmgen import files
from qmgen.documents import table_of
from qmgen.errors import QmgenError, UsageError, first_line

#: the key of qmgen's metadata, JSON, in that of the file
KEY: Final = "qmgen"
NAME: Final = "checkpoint.safetensors"
PREVIOUS: Final = "checkpoint.previous.safetensors"

#: types of tensors by their names in a file
_TYPES: Final = {
    "F64": np.dtype(np.float64),
    "F32": np.dtype(np.float32),
    "F16": np.dtype(np.float16),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "F8_E4M3": np.dtype(ml_dtypes.float8_e4m3fn),
    "F8_E5M2": np.dtype(ml_dtypes.float8_e5m2),
    "F8_E4M3FNUZ": np.dtype(ml_dtypes.float8_e4m3fnuz),
    "F8_E5M2FNUZ": np.dtype(ml_dtypes.float8_e5m2fnuz),
    "I64": np.dtype(np.int64),
    "I32": np.dtype(np.int32),
    "I16": np.dtype(np.int16),
    "I8": np.dtype(np.int8),
    "U64": np.dtype(np.uint64),
    "U32": np.dtype(np.uint32),
    "U16": np.dtype(np.uint16),
    "U8": np.dtype(np.uint8),
    "BOOL": np.dtype(bool),
}


class DamagedCheckpoint(QmgenError):
    """A file that is not whole, or holds something else than was asked for."""


def names_of(tree: Any) -> dict[str, Any]:
    """The leaves of ``tree`` by name: the keys on the way to each, joined by dots."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {".".join(_word(key) for key in path): leaf for path, leaf in leaves}


def save(path: Path, tree: Any, metadata: Mapping[str, Any], keep: Path | None = None) -> None:
    """Write the arrays of ``tree`` and ``metadata`` (plain values) to ``path``; ``keep`` names what was there before.

    Raises ``QmgenError`` where the file cannot be written; what was there is then untouched.
    """
    from safetensors.numpy import save as to_bytes

    arrays = {name: np.ascontiguousarray(np.asarray(leaf)) for name, leaf in names_of(tree).items()}
    # ascontiguousarray makes (1,) of ()
    arrays = {name: array.reshape(np.shape(leaf)) for (name, array), leaf in zip(arrays.items(), jax.tree.leaves(tree))}
    text = json.dumps({**metadata, "crc32": _checksum(arrays)}, sort_keys=True)
    write(path, to_bytes(arrays, {KEY: text}), keep)


def write(path: Path, data: bytes, keep: Path | None = None) -> None:
    """``data`` as the file ``path``, whole or not at all; ``keep``, in the same folder, as of ``save``. Raises
    ``QmgenError`` where that cannot be done."""
    try:
        files.write(path.parent, path.name, data, None if keep is None else keep.name)
    except OSError as error:
        raise QmgenError(f"cannot write {path}: {error.strerror or error}; the same command continues") from error


def read(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The arrays by name, and the metadata. Raises ``FileNotFoundError``; ``Damaged`` where the file is not whole."""
    from safetensors import SafetensorError, deserialize, safe_open

    if not path.exists():
        raise FileNotFoundError(path)
    try:
        files.refuse_odd(path.stat(), path)  # a pipe would be waited for
        with safe_open(path, framework="numpy") as stream:
            text = (stream.metadata() or {}).get(KEY)
        arrays = {name: _array(**tensor) for name, tensor in deserialize(path.read_bytes())}
        about = None if text is None else table_of(text, finite=False)  # there may be no best loss yet
    except (SafetensorError, OSError, ValueError) as error:
        raise DamagedCheckpoint(f"{path} is damaged ({first_line(error)})") from error
    if about is None:
        raise DamagedCheckpoint(f"{path} was not written by qmgen")
    if about.pop("crc32", None) != _checksum(arrays):
        raise DamagedCheckpoint(f"{path} is damaged (its checksum is not that of its arrays)")
    return arrays, about


def _array(dtype: str, shape: list[int], data: bytes) -> np.ndarray:
    """A tensor of a file; of the types that NumPy lacks too, which safetensors' own reader does not know."""
    known = _TYPES.get(dtype)
    if known is None:
        raise ValueError(f"a tensor of the unknown type {dtype}")
    return np.frombuffer(bytearray(data), known).reshape(shape)


def restore(path: Path, like: Any) -> tuple[Any, dict[str, Any]]:
    """A pytree of the structure, shapes and dtypes of ``like``, and the metadata. Raises as ``read`` does."""
    arrays, about = read(path)
    return unflatten(arrays, like, str(path)), about


def unflatten(arrays: Mapping[str, np.ndarray], like: Any, place: str) -> Any:
    """``arrays`` by name as a pytree of the structure of ``like``. Raises ``Damaged`` where they are not its arrays."""
    wanted = names_of(like)
    if wanted.keys() != arrays.keys():
        odd = sorted(wanted.keys() ^ arrays.keys())[0]
        raise DamagedCheckpoint(f"{place} holds other arrays than this training has ({odd}, for one)")
    for name, leaf in wanted.items():
        if arrays[name].shape != np.shape(leaf) or arrays[name].dtype != leaf.dtype:
            shape = f"{arrays[name].dtype}{arrays[name].shape} and not {leaf.dtype}{np.shape(leaf)}"
            raise DamagedCheckpoint(f"{place} holds another {name} than this training has: {shape}")
    return jax.tree.unflatten(jax.tree.structure(like), [jax.numpy.asarray(arrays[name]) for name in wanted])


def latest(folder: Path, like: Any) -> tuple[Any, dict[str, Any], list[str]] | None:
    """The newest whole checkpoint in ``folder``, its metadata, and a line for each damaged one that was passed over.

    None where there is none at all. Raises ``Damaged`` where all there are is damaged.
    """
    said: list[str] = []
    for name in (NAME, PREVIOUS):
        try:
            tree, about = restore(folder / name, like)
        except FileNotFoundError:
            continue
        except DamagedCheckpoint as error:
            said.append(str(error))
            continue
        return tree, about, said
    if said:
        raise DamagedCheckpoint(f"{said[0]}, and there is no other: remove {folder} to train it anew")
    return None


def keep(folder: Path, tree: Any, metadata: Mapping[str, Any]) -> None:
    """Write the next checkpoint of ``folder``; the one before it stays beside it."""
    save(folder / NAME, tree, metadata, keep=folder / PREVIOUS)


def discard(folder: Path) -> None:
    """Remove the checkpoints of a training that is over."""
    for name in (NAME, PREVIOUS):
        (folder / name).unlink(missing_ok=True)


def _word(key: Any) -> str:
    for attribute in ("key", "name", "idx"):
        if hasattr(key, attribute):
            return str(getattr(key, attribute))
    return str(key)


def _checksum(arrays: Mapping[str, np.ndarray]) -> int:
    total = 0
    for name in sorted(arrays):
        total = zlib.crc32(arrays[name].tobytes(), zlib.crc32(name.encode(), total))
    return total


MODEL: Final = "model.safetensors"
#: bounds of what a file may state; the largest preset has 80 layers, and 50 257 tokens
MOST_LAYERS: Final = 1024
LARGEST_SIZE: Final = 2**20
_DEPTHS: Final = ("layers", "interactions")

Shape = TypeVar("Shape")


@dataclass(frozen=True)
class ModelFile:
    """Arrays by name, metadata (plain values), and the SHA-256 of the file at ``path``."""

    path: Path
    arrays: dict[str, np.ndarray]
    about: dict[str, Any]
    checksum: str


def read_model(file: Path, kind: str, noun: str, command: str) -> ModelFile:
    """What ``command`` wrote to ``file``, whose metadata say that it is a ``kind``: ``noun`` for people.

    Raises ``UsageError`` with one line where it is damaged, cannot be read, or is something else.
    """
    try:
        arrays, about = read(file)
        checksum = sha256(file.read_bytes()).hexdigest()
    except DamagedCheckpoint as error:
        raise UsageError(f"{error}: give a {MODEL} that `{command}` wrote") from error
    except OSError as error:
        raise UsageError(f"cannot read {file}: {error.strerror}") from error
    if (stated := about.get("kind")) != kind:
        stated = stated or "checkpoint of a training"
        raise UsageError(f"{file} is no {noun} (it is a {stated}): give a {MODEL} that `{command}` wrote")
    return ModelFile(file, arrays, about, checksum)


def shape_of(kind: type[Shape], stated: Any) -> Shape:
    """The sizes of a network as ``stated`` in its file. Raises ``TypeError`` or ``ValueError`` for what no network has:
    the numbers are bounded before anything is made of them."""
    if not isinstance(stated, dict):
        raise TypeError("its sizes are no table")
    hints = get_type_hints(kind)
    for name, value in stated.items():
        if name not in hints:
            raise ValueError(f"it states {name}")
        if hints[name] is int:
            most = MOST_LAYERS if name in _DEPTHS else LARGEST_SIZE
            if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= most:
                raise ValueError(f"it states {name} = {str(value)[:40]}, and a network has at most {most}")
        elif hints[name] is float:
            if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value < LARGEST_SIZE:
                raise ValueError(f"it states {name} = {str(value)[:40]}")
        elif not isinstance(value, get_origin(hints[name]) or hints[name]):
            raise TypeError(f"it states {name} = {str(value)[:40]}")
    return kind(**stated)


def require(about: dict[str, Any], **kinds: type | tuple[type, ...]) -> None:
    """Raise ``KeyError`` or ``TypeError`` where metadata lack one of the names, or hold another type of value."""
    for name, kind in kinds.items():
        if not isinstance(about[name], kind):
            raise TypeError(f"its {name} is a {type(about[name]).__name__}")


@contextmanager
def of_this_version(file: Path) -> Iterator[None]:
    """Turns what is missing or odd in a file's contents into one line. Raises ``UsageError``."""
    try:
        yield
    except (DamagedCheckpoint, LookupError, TypeError, ValueError, ArithmeticError, AttributeError) as error:
        said = f"no {error}" if isinstance(error, KeyError) else first_line(error)
        raise UsageError(f"{file} is of another version of qmgen ({said}): train it anew") from error
