"""Memory and devices of a language model: its memory, counted before it is run, the plan of a preset (``qmgen train lm
--plan``), and its division among devices.

Training keeps float32 master weights, their gradients and AdamW's two moments (16 bytes a parameter), the copies of the
linear weights that a step multiplies with, and of each token

    for each block     the inputs of the linear layers, in the type they are multiplied in; the stream before each norm,
                       queries, keys and values, and what the nonlinearity takes, in the type between layers
    with ``remat``     the stream before each block, and the above of one block at a time
    once               scores of attention of the block at hand, as float32 and three more arrays of that size (the
                       backward pass computes them again); logits and their gradient, float32

Small models on a CPU are written out block by block (``stored.unrolled``) and keep the scores of all, and what is
between the layers one and a half times.

A linear layer without FP8 shares its input with those beside it, one with FP8 keeps an eight-bit copy of its own. A CPU
has no 16 and 8 bit arithmetic: XLA widens bfloat16 to float32 there, and eight bits to 16. Serving keeps the weights
and the keys and values of all tokens. What XLA needs to work in comes on top: a tenth of a device is left free for it.

Checked in tests/learning/lm/test_memory.py: against what ``jax.vjp`` keeps, and against XLA's own count.

On several devices batches are shared out (data parallel) and linear layers cut up (tensor parallel):

>>> mesh = mesh_of(data=2, tensor=4)
>>> params = placed(params, mesh)              # XLA adds the communication between devices

Weights that begin a branch are cut by their outputs, those that end one by their inputs (Shoeybi et al.,
arXiv 1909.08053), so that a branch takes one sum over devices. A tensor's amax is taken over all devices, hence the
same scales and, but for the order of sums, the same numbers on any number of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from qmgen import machine
from qmgen.errors import UsageError
from qmgen.learning.lm.model import LmShape
from qmgen.learning.lm.stored import activations_of, unrolled
from qmgen.tables import aligned

if TYPE_CHECKING:
    from qmgen.config.train import TrainLmConfig


ENDS = ("out", "down")


def divides(shape: LmShape, tensor: int) -> bool:
    """Whether ``tensor`` devices can share each layer."""
    return not (shape.heads % tensor or shape.kv_heads % tensor or shape.inner % tensor)


def check_layout(data: int, tensor: int, shape: LmShape, batch: int, sharded: bool = False) -> None:
    """Raises ``UsageError`` where the devices do not divide the heads, the batch, or the width."""
    if not divides(shape, tensor):
        raise UsageError(
            f"--tensor-parallel {tensor} must divide {shape.heads} heads, {shape.kv_heads} of keys and values, and "
            f"{shape.inner} inner features"
        )
    if batch % data:
        raise UsageError(f"--data-parallel {data} must divide the batch of {batch} rows")
    if sharded and shape.width % data:
        raise UsageError(f"--fully-sharded: --data-parallel {data} must divide the width of {shape.width}")


def mesh_of(data: int | None, tensor: int, shape: LmShape, batch: int, sharded: bool = False) -> Mesh | None:
    """The devices as (data, tensor); None for a single one. ``data`` None takes as many as there are and divide the
    batch and, where weights are ``sharded``, the width.

    Raises ``UsageError`` where there are too few, or they do not divide the heads, the batch, or the width.
    """
    there = jax.device_count()
    if tensor > there:
        raise UsageError(f"--tensor-parallel {tensor} needs as many devices, and here are {there}")
    check_layout(1, tensor, shape, batch)
    if data is None:
        parts = range(1, there // tensor + 1)
        data = max(part for part in parts if batch % part == 0 and not (sharded and shape.width % part))
    if data * tensor > there:
        raise UsageError(f"--data-parallel {data} times {tensor} needs as many devices, and here are {there}")
    check_layout(data, tensor, shape, batch, sharded)
    if data * tensor == 1:
        return None
    return Mesh(np.array(jax.devices()[: data * tensor]).reshape(data, tensor), ("data", "tensor"))


def spec_of(path: Any, sharded: bool = False) -> PartitionSpec:
    """Which axes of a parameter are cut, by its place in {"weights", "probes"}; with ``sharded`` linear weights are cut
    over the data parallel devices too, along the other axis (Rajbhandari et al., arXiv 1910.02054)."""
    names = [str(getattr(key, "key", key)) for key in path]
    if "blocks" not in names or len(names) < 4 or names[0] != "weights" or names[-2].startswith("norm"):
        return PartitionSpec()
    layer, kind = names[-2:]
    other = "data" if sharded else None
    if kind == "weight":
        return PartitionSpec(None, "tensor", other) if layer in ENDS else PartitionSpec(None, other, "tensor")
    return PartitionSpec() if layer in ENDS else PartitionSpec(None, "tensor")


def placed(params: Any, mesh: Mesh | None, sharded: bool = False) -> Any:
    """``params`` ({"weights", "probes"}) on the devices of ``mesh``."""
    if mesh is None:
        return params
    return jax.tree_util.tree_map_with_path(
        lambda path, leaf: jax.device_put(leaf, NamedSharding(mesh, spec_of(path, sharded))), params
    )


def batch_put(mesh: Mesh | None) -> Any:
    """What moves a batch to the devices: its rows shared out."""
    if mesh is None:
        return jax.device_put
    sharding = NamedSharding(mesh, PartitionSpec("data"))
    return lambda batch: jax.device_put(batch, sharding)


class Sizes(NamedTuple):
    """Bytes of the copy of a linear weight, of an input of a linear layer, of other activations; ``own`` whether linear
    layers with the same input keep a copy each."""

    copy: int
    linear: int
    other: int
    own: bool


#: by precision, on a device with 16 and 8 bit arithmetic
SIZES: Final = {
    "f32": Sizes(0, 4, 4, False),
    "bf16": Sizes(2, 2, 2, False),
    "fp8": Sizes(1, 1, 2, True),
    "fp8-block": Sizes(4, 4, 2, True),  # scaled values, which are kept in float32
}
#: of a parameter: weight, gradient, two moments
STATE: Final = {"weights": 4, "gradients": 4, "optimiser": 8}
#: float32 arrays of the scores of one block that are there at once
SCORES: Final = 4
#: share of a device that a training may fill
FULL: Final = 0.9
GB: Final = 1e9


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


def sizes_of(settings: TrainLmConfig, on_cpu: bool = False) -> Sizes:
    """Those of a training on the device at hand."""
    word = settings.precision
    kind = word if word in SIZES else "fp8" if word.startswith("fp8") else "bf16"
    sizes = SIZES[kind]
    other = 4 if on_cpu or activations_of(settings) == "float32" else 2
    if kind in ("f32", "bf16"):  # the product is in the type between layers
        return Sizes(0 if other == 4 else 2, other, other, False)
    least = 2 if on_cpu else 1
    return Sizes(max(sizes.copy, least), max(sizes.linear, least), other, True)


def per_token(shape: LmShape, sizes: Sizes) -> tuple[int, int]:
    """Bytes that a block keeps of a token: what is cut with the heads or inner features, and what is whole."""
    kv = shape.kv_heads * shape.head_width
    gpt = shape.arch == "gpt"
    begin_a_branch = 2 if gpt or not sizes.own else 5
    cut = sizes.linear * (shape.width + shape.inner)  # inputs of what ends a branch
    cut += sizes.other * (shape.width + 2 * kv + (1 if gpt else 2) * shape.inner)
    return cut, (sizes.linear * begin_a_branch + sizes.other * 2) * shape.width


def training_memory(
    shape: LmShape, sizes: Sizes, rows: int, remat: bool = False, unrolled: bool = False
) -> dict[str, int]:
    """Bytes by part for steps of ``rows`` rows of ``shape.context`` tokens, on one device."""
    tokens, block = rows * shape.context, sum(per_token(shape, sizes))
    kept = shape.layers * sizes.other * shape.width + block if remat else shape.layers * block
    if unrolled:
        kept = 3 * kept // 2
    return {
        **{part: size * shape.total() for part, size in STATE.items()},
        "copies": sizes.copy * shape.parameters()["linear"],
        "activations": tokens * kept,
        "attention": SCORES * 4 * tokens * shape.heads * shape.context * (shape.layers if unrolled else 1),
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


def each_device(shape: LmShape, sizes: Sizes, rows: int, remat: bool, tensor: int, data: int, sharded: bool) -> float:
    """Bytes on one device of ``tensor`` × ``data``: linear weights cut by ``tensor``, by both where ``sharded``, all
    else of the parameters whole; rows shared out over ``data``."""
    parts, linear = training_memory(shape, sizes, rows, remat), shape.parameters()["linear"]
    state = sum(STATE.values())
    cut_by = tensor * (data if sharded else 1)
    weights = state * linear / cut_by + state * (shape.total() - linear) + parts["copies"] / tensor
    cut, whole = per_token(shape, sizes)
    share = (cut / tensor + whole) / (cut + whole)
    stream = shape.layers * sizes.other * shape.width * rows * shape.context if remat else 0
    activations = stream + (parts["activations"] - stream) * share
    return weights + (activations + parts["attention"] / tensor + parts["logits"]) / data


def devices_needed(shape: LmShape, sizes: Sizes, rows: int, remat: bool, bytes_each: float) -> Devices | None:
    """The fewest devices of ``bytes_each`` that hold a training; of equally few the ones cut least. None where a single
    row, with everything cut, is too much."""
    room = FULL * bytes_each
    layouts: list[tuple[int, int, int, bool, float]] = []
    for tensor in (number for number in range(1, shape.kv_heads + 1) if divides(shape, number)):
        for data in (d for d in range(1, rows + 1) if rows % d == 0):
            for sharded in (False, True) if data > 1 and shape.width % data == 0 else (False,):
                need = each_device(shape, sizes, rows, remat, tensor, data, sharded)
                if need <= room:
                    layouts.append((tensor * data, int(sharded), tensor, sharded, need))
    if not layouts:
        return None
    total, _, tensor, sharded, need = min(layouts)
    return Devices(tensor, total // tensor, sharded, need)


def device_bytes(settings: TrainLmConfig) -> float | None:
    """Memory of a device: as set, as the device says, or the machine's. None where it is unknown."""
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
    sizes = sizes_of(settings, on_cpu=jax.default_backend() == "cpu")
    given = shape, sizes, settings.batch_size, settings.remat
    if unrolled(shape, settings.batch_size, settings.remat):  # on one device
        need = float(sum(training_memory(*given, unrolled=True).values()))
    else:
        need = each_device(*given, tensor, data, settings.fully_sharded and data > 1)
    if there is None or need <= FULL * there:
        return
    same = f"--preset {preset} --arch {shape.arch} --context {shape.context} --batch-size {settings.batch_size}"
    raise UsageError(
        f"{preset} needs {need / GB:.3g} GB on each device and there are {there / GB:.3g}: take a smaller --preset or "
        f"--batch-size, --remat, or more devices; `qmgen train lm {same} --plan` with the same --data counts them"
    )


#: GB of a device, where none is named: an H100
DEVICE: Final = 80.0
#: precisions that are always told
USUAL: Final = ("f32", "bf16", "fp8")


def plan(settings: TrainLmConfig, shape: LmShape, preset: str, ours: int) -> dict[str, Any]:
    """All of it as plain values: ``shape`` is the published one, ``ours`` the number of tokens of our vocabulary, with
    which memory is counted where the settings name molecules.

    Raises ``UsageError`` where the devices asked for do not divide the model or the rows.
    """
    context = settings.context or shape.context
    model, small = shape.of(shape.vocabulary, context), shape.of(ours, context)
    bytes_each = (settings.device_memory or DEVICE) * GB
    rows, counted = settings.batch_size, small if settings.data else model
    layout = _layout(settings, shape)
    training = {}
    for precision, sizes in _columns(settings).items():
        parts = training_memory(counted, sizes, rows, settings.remat)
        needed = devices_needed(counted, sizes, rows, settings.remat, bytes_each)
        training[precision] = {
            "bytes": parts,
            "total_bytes": sum(parts.values()),
            "bytes_each": each_device(counted, sizes, rows, settings.remat, *layout) if layout else None,
            "devices": None
            if needed is None
            else {
                "total": needed.total, "tensor_parallel": needed.tensor, "data_parallel": needed.data,
                "fully_sharded": needed.sharded, "bytes_each": needed.bytes_each,
            },
        }  # fmt: skip
    serving = {}
    for precision in ("bf16", "fp8"):
        parts = serving_memory(counted, precision, rows)
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
        "counted_vocabulary": counted.vocabulary,
        "layout": layout and {"tensor_parallel": layout[0], "data_parallel": layout[1], "fully_sharded": layout[2]},
        "parameters_over_smiles": small.total(),
        "training": training,
        "serving": serving,
    }


def _columns(settings: TrainLmConfig) -> dict[str, Sizes]:
    """The usual precisions, and that of the settings where it takes other memory."""
    columns = {name: SIZES[name] for name in USUAL}
    if settings.activations is None:
        return columns | {name: SIZES[name] for name in {settings.precision} & SIZES.keys()}
    sizes = sizes_of(settings)
    return columns if sizes in columns.values() else columns | {"as given": sizes}


def _layout(settings: TrainLmConfig, shape: LmShape) -> tuple[int, int, bool] | None:
    """The devices that the settings ask for; None where they leave it open. Raises ``UsageError``."""
    tensor, data, sharded = settings.tensor_parallel, settings.data_parallel or 1, settings.fully_sharded
    check_layout(data, tensor, shape, settings.batch_size, sharded)
    return (tensor, data, sharded) if tensor > 1 or settings.data_parallel else None


def plan_text(needs: dict[str, Any]) -> str:
    """The plan as a table for people."""
    heads = f"{needs['heads']} heads" + (
        f" ({needs['kv_heads']} of keys and values)" if needs["kv_heads"] != needs["heads"] else ""
    )
    lines = [
        f"{needs['preset']}: {needs['arch']}, width {needs['width']}, {needs['layers']} layers, {heads}",
        f"parameters {needs['parameters']:,} with the published vocabulary of {needs['published_vocabulary']:,} and "
        f"{needs['context']} positions",
        f"           {needs['parameters_over_smiles']:,} with {needs['our_vocabulary']} tokens of SMILES",
        "",
        f"memory in GB, {needs['rows']} rows of {needs['context']} tokens, a vocabulary of "
        f"{needs['counted_vocabulary']:,}" + (", activations computed again" if needs["remat"] else ""),
    ]
    for title, kinds in (("training", needs["training"]), ("serving", needs["serving"])):
        rows = [[title, *kinds]]
        for part in next(iter(kinds.values()))["bytes"]:
            rows.append([f"  {part}", *(_gigabytes(kind["bytes"][part]) for kind in kinds.values())])
        rows.append(["  total", *(_gigabytes(kind["total_bytes"]) for kind in kinds.values())])
        if title == "training" and needs["layout"]:
            tensor, data, sharded = needs["layout"].values()
            name = f"  each of {tensor}×{data}{'*' if sharded else ''}"
            rows.append([name, *(_gigabytes(kind["bytes_each"]) for kind in kinds.values())])
        if title == "training":
            rows.append(["  devices", *(_devices(kind["devices"]) for kind in kinds.values())])
        lines.append(aligned(rows))
    each = [kind["devices"] for kind in needs["training"].values() if kind["devices"]]
    lines.append("")
    lines.append(f"devices are of {needs['device_bytes'] / GB:g} GB, as tensor × data parallel, filled to nine tenths")
    if any(one["fully_sharded"] for one in [*each, needs["layout"] or {"fully_sharded": False}]):
        lines.append("* with --fully-sharded: weights cut over the data parallel devices too")
    return "\n".join(lines)


def _gigabytes(count: float) -> str:
    return f"{count / GB:.4g}"


def _devices(layout: dict[str, Any] | None) -> str:
    if layout is None:
        return "too big"
    return f"{layout['tensor_parallel']}×{layout['data_parallel']}{'*' if layout['fully_sharded'] else ''}"
