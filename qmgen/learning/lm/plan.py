"""What a model takes before it is run: parameters, memory by part and precision, devices.

Training keeps float32 master weights, their gradients and AdamW's two moments (16 bytes a parameter), the copies of the
linear weights that a step multiplies with (f32 none, 16 bit 2, FP8 1 byte), and what the backward pass needs:

    per token and block    inputs of the linear layers (FP8: a byte each), inputs of the two norms, queries, keys and
                           values, shares of attention (heads · context), what the nonlinearity takes
    with ``remat``         only a block's input, and all of the above for one block at a time
    per token              logits and their gradients, float32

Serving keeps the weights (16 bit; of linear layers in FP8 one byte) and keys and values of all tokens (16 bit). What
XLA needs to work in comes on top: a tenth of a device is left free for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import jax

from qmgen import machine
from qmgen.errors import UsageError
from qmgen.learning.lm.shape import LmShape

if TYPE_CHECKING:  # a borrowed machine has no pydantic
    from qmgen.config.train_lm import TrainLmConfig

#: bytes of a copy of a linear weight, of an input of a linear layer, of other activations, by precision
SIZES: Final = {"f32": (0, 4, 4), "bf16": (2, 2, 2), "fp8": (1, 1, 2)}
#: of a parameter: weight, gradient, two moments
STATE: Final = {"weights": 4, "gradients": 4, "optimiser": 8}
#: share of a device that a plan may fill
FULL: Final = 0.9
GB: Final = 1e9
#: GB of a device, where none is named: an H100
DEVICE: Final = 80.0


@dataclass(frozen=True)
class Devices:
    """``tensor`` × ``data`` of them; ``sharded`` whether weights are cut over both; ``bytes_each`` on one."""

    tensor: int
    data: int
    sharded: bool
    bytes_each: float

    @property
    def total(self) -> int:
        return self.tensor * self.data


def per_token(shape: LmShape, precision: str) -> tuple[int, int]:
    """Bytes that a block keeps of a token: what is cut with the heads or inner features, and what is whole."""
    _, linear, other = SIZES[precision]
    kv = shape.kv_heads * shape.head_width
    inner_inputs = shape.inner if shape.arch == "gpt" else 2 * shape.inner
    cut = linear * (shape.width + shape.inner)  # of what ends a branch
    cut += other * (shape.width + 2 * kv + shape.heads * shape.context + inner_inputs)
    whole = linear * 2 * shape.width + other * 2 * shape.width
    return cut, whole


def training_memory(shape: LmShape, precision: str, rows: int, remat: bool = False) -> dict[str, int]:
    """Bytes by part for steps of ``rows`` rows of ``shape.context`` tokens, on one device; f32, bf16 or fp8."""
    copy, _, other = SIZES[precision]
    tokens, block = rows * shape.context, sum(per_token(shape, precision))
    kept = shape.layers * other * shape.width + block if remat else shape.layers * block
    return {
        **{part: size * shape.total() for part, size in STATE.items()},
        "copies": copy * shape.parameters()["linear"],
        "activations": tokens * kept,
        "logits": 2 * 4 * tokens * shape.vocabulary,
    }


def serving_memory(shape: LmShape, precision: str, rows: int) -> dict[str, int]:
    """Bytes by part for ``rows`` texts of ``shape.context`` tokens at once; bf16 or fp8."""
    linear = shape.parameters()["linear"]
    kv = 2 * shape.layers * shape.kv_heads * shape.head_width
    return {
        "weights": (1 if precision == "fp8" else 2) * linear + 2 * (shape.total() - linear),
        "keys and values": 2 * kv * rows * shape.context,
    }


def each_device(shape: LmShape, precision: str, rows: int, remat: bool, tensor: int, data: int, sharded: bool) -> float:
    """Bytes on one device of ``tensor`` × ``data``: linear weights cut by ``tensor``, by both where ``sharded``, all
    else of the parameters whole; rows shared out over ``data``."""
    parts, linear = training_memory(shape, precision, rows, remat), shape.parameters()["linear"]
    state = sum(STATE.values())
    cut_by = tensor * (data if sharded else 1)
    weights = state * linear / cut_by + state * (shape.total() - linear) + parts["copies"] / tensor
    cut, whole = per_token(shape, precision)
    share = (cut / tensor + whole) / (cut + whole)
    stream = shape.layers * SIZES[precision][2] * shape.width * rows * shape.context if remat else 0
    activations = stream + (parts["activations"] - stream) * share
    return weights + (activations + parts["logits"]) / data


def devices_needed(shape: LmShape, precision: str, rows: int, remat: bool, bytes_each: float) -> Devices | None:
    """The fewest devices of ``bytes_each`` that hold a training; of equally few the ones cut least. None where a single
    row, with everything cut, is too much."""
    room = FULL * bytes_each
    tensors = [t for t in range(1, shape.kv_heads + 1) if shape.kv_heads % t == 0 and shape.inner % t == 0]
    found: list[tuple[int, int, int, bool, float]] = []
    for tensor in tensors:
        for data in (d for d in range(1, rows + 1) if rows % d == 0):
            for sharded in (False, True) if data > 1 else (False,):
                need = each_device(shape, precision, rows, remat, tensor, data, sharded)
                if need <= room:
                    found.append((tensor * data, int(sharded), tensor, sharded, need))
    if not found:
        return None
    total, _, tensor, sharded, need = min(found)
    return Devices(tensor, total // tensor, sharded, need)


def precision_of(word: str) -> str:
    """f32, bf16 or fp8, of a ``--precision``."""
    return "fp8" if word.startswith("fp8") else "f32" if word == "f32" else "bf16"


def device_bytes(settings: TrainLmConfig) -> float | None:
    """Memory of a device: as set, as the device says, or the machine's. None where nobody says."""
    if settings.device_memory is not None:
        return settings.device_memory * GB
    if jax.default_backend() != "cpu":
        stats = jax.devices()[0].memory_stats() or {}
        return float(stats["bytes_limit"]) if "bytes_limit" in stats else None
    there = min((size for size in (machine.memory(), machine.memory_limit()) if size is not None), default=None)
    return None if there is None else float(there) / max(jax.local_device_count(), 1)


def check_memory(settings: TrainLmConfig, preset: str, shape: LmShape, mesh: Any) -> None:
    """Raises ``UsageError`` where the training does not fit the devices at hand."""
    there = device_bytes(settings)
    tensor, data = (1, 1) if mesh is None else (mesh.shape["tensor"], mesh.shape["data"])
    precision = precision_of(settings.precision)
    given = shape, precision, settings.batch_size, settings.remat
    need = each_device(*given, tensor, data, settings.fully_sharded and data > 1)
    if there is None or need <= FULL * there:
        return
    raise UsageError(
        f"{preset} needs {need / GB:.3g} GB on each device and there are {there / GB:.3g}: take a smaller --preset or "
        f"--batch-size, --remat, or more devices; `qmgen train lm --preset {preset} --plan` counts them"
    )


def plan(settings: TrainLmConfig, shape: LmShape, preset: str, ours: int) -> dict[str, Any]:
    """All of it as plain values: ``shape`` is the published one, ``ours`` the number of tokens of our vocabulary."""
    context = settings.context or shape.context
    model, small = shape.of(shape.vocabulary, context), shape.of(ours, context)
    bytes_each = (settings.device_memory or DEVICE) * GB
    rows = settings.batch_size
    training = {}
    for precision in SIZES:
        parts = training_memory(model, precision, rows, settings.remat)
        needed = devices_needed(model, precision, rows, settings.remat, bytes_each)
        training[precision] = {
            "bytes": parts,
            "total_bytes": sum(parts.values()),
            "devices": None
            if needed is None
            else {
                "total": needed.total, "tensor_parallel": needed.tensor, "data_parallel": needed.data,
                "fully_sharded": needed.sharded, "bytes_each": needed.bytes_each,
            },
        }  # fmt: skip
    serving = {}
    for precision in ("bf16", "fp8"):
        parts = serving_memory(model, precision, rows)
        serving[precision] = {"bytes": parts, "total_bytes": sum(parts.values())}
    return {
        "preset": preset,
        "arch": shape.arch,
        "width": shape.width,
        "layers": shape.layers,
        "heads": shape.heads,
        "kv_heads": shape.kv_heads,
        "context": context,
        "rows": rows,
        "remat": settings.remat,
        "device_bytes": bytes_each,
        "published_vocabulary": shape.vocabulary,
        "parameters": model.total(),
        "parameters_by_part": model.parameters(),
        "our_vocabulary": ours,
        "parameters_over_smiles": small.total(),
        "training": training,
        "serving": serving,
    }


def text(found: dict[str, Any]) -> str:
    """The plan as a table for people."""
    heads = f"{found['heads']} heads" + (
        f" ({found['kv_heads']} of keys and values)" if found["kv_heads"] != found["heads"] else ""
    )
    lines = [
        f"{found['preset']}: {found['arch']}, width {found['width']}, {found['layers']} layers, {heads}",
        f"parameters {found['parameters']:,} with the published vocabulary of {found['published_vocabulary']:,} and "
        f"{found['context']} positions",
        f"           {found['parameters_over_smiles']:,} with {found['our_vocabulary']} tokens of SMILES",
        "",
        f"memory in GB, {found['rows']} rows of {found['context']} tokens"
        + (", activations computed again" if found["remat"] else ""),
    ]
    for title, kinds in (("training", found["training"]), ("serving", found["serving"])):
        lines.append(f"{title:<18}" + "".join(f"{kind:>10}" for kind in kinds))
        for part in next(iter(kinds.values()))["bytes"]:
            lines.append(f"  {part:<16}" + "".join(f"{kind['bytes'][part] / GB:>10.2f}" for kind in kinds.values()))
        lines.append(f"  {'total':<16}" + "".join(f"{kind['total_bytes'] / GB:>10.2f}" for kind in kinds.values()))
        if title == "training":
            lines.append(f"  {'devices':<16}" + "".join(f"{_devices(kind['devices']):>10}" for kind in kinds.values()))
    each = [kind["devices"] for kind in found["training"].values() if kind["devices"]]
    lines.append("")
    lines.append(
        f"devices are of {found['device_bytes'] / GB:.0f} GB, as tensor × data parallel, filled to nine tenths"
    )
    if any(one["fully_sharded"] for one in each):
        lines.append("* with --fully-sharded: weights cut over the data parallel devices too")
    return "\n".join(lines)


def _devices(found: dict[str, Any] | None) -> str:
    if found is None:
        return "too big"
    return f"{found['tensor_parallel']}×{found['data_parallel']}{'*' if found['fully_sharded'] else ''}"
