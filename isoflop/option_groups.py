"""Options of the command line in groups, each declared once, as the fields of a dataclass.

    from dataclasses import dataclass

    @dataclass(frozen=True)
    class Output:
        as_json: Annotated[bool, "Print one JSON document", "--json"] = False

    @expand
    def status(folder: str, output: Output) -> None:
        print(folder, output.as_json)

    status(folder="runs", as_json=True)         # runs True; Typer sees the options FOLDER and --json

The first text of an annotation is the help, further ones are the option's names; without any the name is the field's.
"""

import inspect
from collections.abc import Callable
from dataclasses import MISSING, fields, is_dataclass
from typing import Annotated, Any, TypeVar, get_args, get_origin, get_type_hints

import typer

T = TypeVar("T")


def expand(command: Callable[..., T]) -> Callable[..., T]:
    """Give a Typer command an option for each field of those of its parameters that are dataclasses."""
    given = inspect.signature(command, eval_str=True).parameters.values()
    groups: dict[str, Any] = {one.name: one.annotation for one in given if is_dataclass(one.annotation)}

    def flat(**values: Any) -> T:
        for name, group in groups.items():
            values[name] = group(**{field.name: values.pop(field.name) for field in fields(group)})
        return command(**values)

    parameters: list[inspect.Parameter] = []
    for parameter in given:
        if group := groups.get(parameter.name):
            hints, panel = get_type_hints(group, include_extras=True), (group.__doc__ or "").rstrip(".")
            for f in fields(group):
                default = f.default if f.default_factory is MISSING else f.default_factory()
                parameters.append(_parameter(f.name, hints[f.name], default, panel))
        else:
            parameters.append(_parameter(parameter.name, parameter.annotation, parameter.default))
    flat.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    flat.__annotations__ = {one.name: one.annotation for one in parameters}
    flat.__name__, flat.__doc__ = command.__name__, command.__doc__
    return flat


def _parameter(name: str, annotation: Any, default: Any, panel: str | None = None) -> inspect.Parameter:
    if get_origin(annotation) is Annotated and isinstance(get_args(annotation)[1], str):
        kind, sentence, *names = get_args(annotation)
        if kind is bool and not names:
            names = ["--" + name.replace("_", "-")]  # without it Typer adds --no-NAME
        shown = default not in ("", None, [], MISSING, inspect.Parameter.empty)
        option = typer.Option(*names, help=sentence, show_default=shown, rich_help_panel=panel)
        annotation = Annotated[kind, option]
    default = inspect.Parameter.empty if default is MISSING else default
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
