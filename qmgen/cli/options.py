"""Commands made from functions: the options for settings follow from the model of the command in ``qmgen.config``.

    def validate(settings: ValidateConfig, as_json: AsJson = False) -> int: ...

``settings`` is annotated with the model; each of its settings becomes an argument or a flag, with the help, default and
bounds that the model declares. The other parameters are options of the command line alone. A command is made when it
is called or its help is asked for: ``qmgen --help`` needs no pydantic.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer
from typer.core import TyperGroup
from typer.main import get_command

if TYPE_CHECKING:
    from qmgen.config import CommandConfig

Function = Callable[..., int]

AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON to standard output.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Show neither progress nor a summary.")]

_PRECEDENCE = "Flags take precedence over QMGEN_* variables, these over the TOML file, the file over the defaults."
#: a longer list of choices stands below the help and not beside the flag
_LONGEST_METAVAR = 32


def group(functions: Mapping[str, Function | typer.Typer], help: str) -> typer.Typer:
    """A command with subcommands: each a function, or a group again."""

    class LazyGroup(TyperGroup):
        def list_commands(self, context: Any) -> list[str]:
            return list(functions)

        def get_command(self, context: Any, name: str) -> Any:
            return command(name, functions[name]) if name in functions else None

        def format_commands(self, context: Any, formatter: Any) -> None:
            with formatter.section("Commands"):
                formatter.write_dl([(name, _summary(one)) for name, one in functions.items()])

    app = typer.Typer(
        cls=LazyGroup, add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False, help=help,
        context_settings={"help_option_names": ["-h", "--help"]},
    )  # fmt: skip
    app.callback()(lambda: None)
    return app


@cache
def command(name: str, function: Function | typer.Typer) -> Any:
    """The command that parses its words, resolves its settings and calls ``function`` with them."""
    if isinstance(function, typer.Typer):
        return get_command(function)
    app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
    app.command(name)(_with_settings(function))
    return get_command(app)


def _summary(function: Function | typer.Typer) -> str:
    if isinstance(function, typer.Typer):
        return str(function.info.help)
    return (inspect.getdoc(function) or "").partition("\n")[0]


def _with_settings(function: Function) -> Function:
    """``function`` as typer understands it: with a parameter for each setting in the place of ``settings``."""
    from qmgen import config

    hints = get_type_hints(function, localns=vars(config), include_extras=True)
    own = {name: one.replace(annotation=hints[name]) for name, one in inspect.signature(function).parameters.items()}
    if "settings" not in own:
        return function
    del own["settings"]
    model: type[CommandConfig] = hints["settings"]
    file = model.file_parameter

    def run(**given: Any) -> int:
        flags = {name: given.pop(name) for name in model.model_fields}
        path = given.pop(file) if file else None
        return function(config.resolve(model, path, flags), **given)

    parameters = [*_file_parameter(model), *_setting_parameters(model), *own.values()]
    run.__doc__ = f"{inspect.getdoc(function)}\n\n{_PRECEDENCE if file else ''}".rstrip()
    run.__name__ = function.__name__
    run.__annotations__ = {one.name: one.annotation for one in parameters}
    signature = inspect.Signature([one.replace(kind=one.KEYWORD_ONLY) for one in parameters])
    run.__signature__ = signature  # type: ignore[attr-defined]
    return run


def _file_parameter(model: type[CommandConfig]) -> Iterable[inspect.Parameter]:
    """The TOML file of a command that takes one: its first argument, or a flag."""
    from pathlib import Path

    if name := model.file_parameter:
        help = "TOML file with any of the settings below."
        info = typer.Argument(help=help) if name == "config" else typer.Option(help=help, metavar="FILE")
        yield _parameter(name, Annotated[Path | None, info], None)


def _setting_parameters(model: type[CommandConfig]) -> Iterable[inspect.Parameter]:
    from qmgen.config.base import shape_of

    for name, setting in model.settings().items():
        kind, repeated, choices, bounds = shape_of(model.model_fields[name])
        if setting.argument:
            info = typer.Argument(help=setting.help, metavar=setting.metavar, show_default=False)
            yield _parameter(name, Annotated[str, info], inspect.Parameter.empty)
            continue
        words = [setting.help]
        listed = "|".join(choices)
        metavar = setting.metavar or (listed if 0 < len(listed) <= _LONGEST_METAVAR else None)
        if listed and metavar is None:
            words.append(f"One of {', '.join(choices)}.")
        if repeated:
            metavar = metavar or f"<{kind.__name__}>"
            words.append("May be repeated.")
        notes = [bounds] if " to " in bounds else []
        if (default := model.default_text(name)) is not None:
            notes.append(f"default: {default}")
        if notes:
            words.append(f"[{'; '.join(notes)}]")
        info = typer.Option(*model.flags_of(name), help=" ".join(words), metavar=metavar, show_default=False)
        value = str if kind not in (int, float, bool) else kind
        yield _parameter(name, Annotated[(list[value] if repeated else value) | None, info], None)  # type: ignore[valid-type]


def _parameter(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
