"""``qmgen train lm --plan``: what a preset takes: parameters, memory by part and precision, devices."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from qmgen.learning.lm.network.shape import LmShape
from qmgen.learning.lm.training.memory import GB, SIZES, devices_needed, serving_memory, training_memory

if TYPE_CHECKING:  # a borrowed machine has no pydantic
    from qmgen.config.train_lm import TrainLmConfig

#: GB of a device, where none is named: an H100
DEVICE: Final = 80.0
#: precisions that are always told
USUAL: Final = ("f32", "bf16", "fp8")


def plan(settings: TrainLmConfig, shape: LmShape, preset: str, ours: int) -> dict[str, Any]:
    """All of it as plain values: ``shape`` is the published one, ``ours`` the number of tokens of our vocabulary."""
    context = settings.context or shape.context
    model, small = shape.of(shape.vocabulary, context), shape.of(ours, context)
    bytes_each = (settings.device_memory or DEVICE) * GB
    rows = settings.batch_size
    training = {}
    chosen = {settings.precision} & SIZES.keys() - set(USUAL)
    for precision in (*USUAL, *chosen):
        parts = training_memory(model, SIZES[precision], rows, settings.remat)
        needed = devices_needed(model, SIZES[precision], rows, settings.remat, bytes_each)
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
