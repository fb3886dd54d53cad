"""``qmgen train lm --plan``: what a preset takes: parameters, memory by part and precision, devices."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from qmgen.learning.lm.network.shape import LmShape
from qmgen.learning.lm.training.memory import (
    GB,
    SIZES,
    Sizes,
    devices_needed,
    each_device,
    serving_memory,
    sizes_of,
    training_memory,
)
from qmgen.learning.lm.training.sharding import check_layout

if TYPE_CHECKING:  # a borrowed machine has no pydantic
    from qmgen.config.train import TrainLmConfig

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
        f"memory in GB, {found['rows']} rows of {found['context']} tokens, a vocabulary of "
        f"{found['counted_vocabulary']:,}" + (", activations computed again" if found["remat"] else ""),
    ]
    for title, kinds in (("training", found["training"]), ("serving", found["serving"])):
        lines.append(f"{title:<18}" + "".join(f"{kind:>10}" for kind in kinds))
        for part in next(iter(kinds.values()))["bytes"]:
            lines.append(f"  {part:<16}" + "".join(f"{kind['bytes'][part] / GB:>10.4g}" for kind in kinds.values()))
        lines.append(f"  {'total':<16}" + "".join(f"{kind['total_bytes'] / GB:>10.4g}" for kind in kinds.values()))
        if title == "training" and found["layout"]:
            tensor, data, sharded = found["layout"].values()
            name = f"each of {tensor}×{data}{'*' if sharded else ''}"
            lines.append(f"  {name:<16}" + "".join(f"{kind['bytes_each'] / GB:>10.4g}" for kind in kinds.values()))
        if title == "training":
            lines.append(f"  {'devices':<16}" + "".join(f"{_devices(kind['devices']):>10}" for kind in kinds.values()))
    each = [kind["devices"] for kind in found["training"].values() if kind["devices"]]
    lines.append("")
    lines.append(f"devices are of {found['device_bytes'] / GB:g} GB, as tensor × data parallel, filled to nine tenths")
    if any(one["fully_sharded"] for one in [*each, found["layout"] or {"fully_sharded": False}]):
        lines.append("* with --fully-sharded: weights cut over the data parallel devices too")
    return "\n".join(lines)


def _devices(found: dict[str, Any] | None) -> str:
    if found is None:
        return "too big"
    return f"{found['tensor_parallel']}×{found['data_parallel']}{'*' if found['fully_sharded'] else ''}"
