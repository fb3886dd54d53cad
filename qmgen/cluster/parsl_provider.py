"""Parsl's providers by name, with their options as ``key=value``: the only place that looks into Parsl's classes."""

from __future__ import annotations

import inspect
import shlex
import sysconfig
import tomllib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from qmgen.config.corpus import SubmitConfig
from qmgen.config.sources import nearest
from qmgen.errors import UsageError

MISSING = "Parsl is not installed: pip install 'qmgen[cluster]'"


def executor_of(settings: SubmitConfig) -> Any:
    """Parsl's executor for ``settings``. Raises ``UsageError`` without Parsl, and for what Parsl does not have."""
    try:
        import parsl.providers
        from parsl.executors import HighThroughputExecutor
    except ImportError:
        raise UsageError(MISSING) from None
    provider = _provider(parsl.providers, settings)
    # on this machine alone: do not listen on its other addresses
    address = settings.address or ("127.0.0.1" if settings.provider.lower() == "local" else None)
    accelerators: Any = settings.gpus or ()
    executor = HighThroughputExecutor(
        label="qmgen",
        provider=provider,
        address=address,
        max_workers_per_node=settings.workers_per_node,
        cores_per_worker=1e-3,  # as many workers as asked for, on any number of cores
        available_accelerators=accelerators,
    )
    # Parsl looks for its own programs on the PATH, where those of an environment that is not activated are not
    scripts = Path(sysconfig.get_path("scripts"))
    if (scripts / "interchange.py").exists():
        # a terminal's Ctrl-C goes to Parsl's programs too, of which this one would die before the ranks have ended
        executor.interchange_launch_cmd = ["sh", "-c", "trap '' INT; exec \"$0\"", str(scripts / "interchange.py")]
        executor.launch_cmd = f"{shlex.quote(str(scripts))}/{executor.launch_cmd}"
    return executor


def options_of(pairs: Sequence[str]) -> dict[str, Any]:
    """``key=value`` with values as TOML writes them; what is no TOML is text: ``walltime=1:00:00``, ``nodes=2``."""
    options: dict[str, Any] = {}
    for pair in pairs:
        key, _, text = pair.partition("=")
        try:
            found = tomllib.loads(f"value = {text}")
        except tomllib.TOMLDecodeError:
            found = {"value": text}
        options[key] = found["value"] if found.keys() == {"value"} else text
        if not isinstance(options[key], str | int | float | bool | list | dict):  # a date or time of day
            options[key] = text
    return options


def _provider(providers: Any, settings: SubmitConfig) -> Any:
    kind = _named(providers, settings.provider, "Provider", "provider")
    known = [name for name in inspect.signature(kind.__init__).parameters if name != "self"]
    options = options_of(settings.provider_options)
    for key in options:
        if key not in known:
            raise UsageError(f"Parsl's {kind.__name__} has no option {key!r}{nearest(key, known)}")
    if isinstance(options.get("launcher"), str):
        import parsl.launchers

        options["launcher"] = _named(parsl.launchers, options["launcher"], "Launcher", "launcher")()
    if settings.setup:
        if "worker_init" not in known:
            raise UsageError(f"Parsl's {kind.__name__} runs no shell lines first: it goes without --setup")
        options["worker_init"] = "\n".join([*settings.setup, *filter(None, [options.get("worker_init")])])
    try:
        return kind(**options)
    except Exception as error:  # each provider has errors of its own: a missing package, a key of the wrong type
        words = " ".join(str(error).split()) or type(error).__name__
        raise UsageError(f"Parsl's {kind.__name__} will not do: {words}") from error


def _named(module: Any, name: str, ending: str, what: str) -> Any:
    """The class of ``module`` that is called ``name``, in any case, with or without ``ending``."""
    kinds = {kind.removesuffix(ending).lower(): kind for kind in _public(module, ending)}
    wanted = name.lower().removesuffix(ending.lower())
    if wanted not in kinds:
        raise UsageError(f"Parsl has no {what} {name!r}{nearest(wanted, kinds)}")
    return getattr(module, kinds[wanted])


def _public(module: Any, ending: str) -> Iterable[str]:
    return (name for name in module.__all__ if name.endswith(ending))
