"""The figures as a Markdown table for people; the JSON has everything."""

from __future__ import annotations

from typing import Any

_UNITS = {"gflops": "GFLOP/s", "gb_s": "GB/s"}


def markdown(result: dict[str, Any]) -> str:
    """A line on the machine, and a row for each entry."""
    device, packages = result["device"], result["versions"]
    head = (
        f"{device['kind']} ({device['platform']}), {result['machine']['cpu']}; jax {packages['jax']}, {result['date']}"
    )
    lines = [head + (", toy" if result["toy"] else ""), "", "| measurement | | |", "|---|---|---|"]
    for name, one in result["measurements"].items():
        if "skipped" in one:
            lines.append(f"| {name} | | skipped: {one['skipped']} |")
        for key, entry in one["entries"].items():
            lines.append(f"| {name} | {key} | {words(entry)} |")
    return "\n".join(lines)


def words(entry: dict[str, Any]) -> str:
    """What one entry found, in a few words."""
    for word in ("error", "skipped"):
        if word in entry:
            return f"{word}: {entry[word]}".replace("|", "/")
    for name, unit in _UNITS.items():
        if name in entry:
            return f"{entry[name]:.1f} {unit}"
    if rates := entry.get("conformers_per_second"):
        spread = f"{rates['median']:.3g} conformers/s ({rates['least']:.3g}–{rates['largest']:.3g})"
        worst = entry["largest_energy_difference"]
        return spread + ("" if worst is None else f", energies within {worst:.1e} Ha of {entry['compared']} stored")
    if "seconds_per_conformer" in entry:
        floor = "" if entry["floor"] is None else f", floor {1e3 * entry['floor']:.3g} ms"
        return f"{1e3 * entry['seconds_per_conformer']:.3g} ms a conformer{floor}"
    if "reckoned" in entry:
        peak = entry["device_peak"]
        shown = "not told" if peak is None else f"{peak / 1e9:.2f} GB"
        return f"device peak {shown}, reckoned {entry['reckoned']['sum'] / 1e9:.2f} GB"
    if "empty_cache" in entry:
        empty, filled = entry["empty_cache"]["seconds"], entry["filled_cache"]["seconds"]
        return f"{empty} s with an empty cache, {filled} s with a filled one"
    if "geometries_per_second" in entry:
        return f"{entry['geometries_per_second']:.3g} geometries/s, compiled in {entry['compile_seconds']:.1f} s"
    if "fp8_product" in entry:
        return fp8_words(entry)
    if "reached" in entry:
        return energy_words(entry)
    if "passed" in entry:
        return f"{entry['passed']} passed, {entry['failed']} failed, {entry['skipped_tests']} skipped"
    return ", ".join(f"{name} {value}" for name, value in entry.items() if name != "seconds")


def fp8_words(entry: dict[str, Any]) -> str:
    """FP8 beside bfloat16."""
    times = ", ".join(
        f"{name} {1e3 * entry[f'{name}_seconds']:.3g} ms ({1e3 * entry[f'{name}_lowest']:.3g}–"
        f"{1e3 * entry[f'{name}_highest']:.3g}, {entry[f'{name}_tflops']:.3g} TFLOP/s)"
        for name in ("bf16", "fp8-amax")
    )
    note = "emulated" if entry["emulated"] else "with FP8 products" if entry["fp8_product"] else "without FP8 products"
    return f"{times}, ratio {entry['ratio']:.2f}, {note}"


def energy_words(entry: dict[str, Any]) -> str:
    """What a training by the energy has come to."""
    errors, plain = entry["excess_meV"], entry["excess_meV_without_correction"]
    step = entry["seconds_per_step"]
    speed = "no step timed" if step is None else f"{1e3 * step:.3g} ms a step of {entry['batch_size']}"
    parts = [f"step {entry['step']} of {entry['steps']}, {speed}, compiled in {entry['compile_seconds'] or 0:.1f} s"]
    for name in errors or {}:
        beside = f" (without a network {plain[name]:.3g})" if plain else ""
        parts.append(f"{errors[name]:.3g} meV{beside} at {name.replace('_', ' ')}")
    return "; ".join([*parts, f"{entry['target_meV']} meV: {entry['reached']}"])
