"""An analysis' options dataclass as command-line options, so that both are the same thing."""

from dataclasses import MISSING, Field, fields
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import click


def click_options(options: type) -> list[click.Option]:
    """One option for each field: its name with dashes, its type, its default, its help from the metadata.

    `bool` is a pair of flags, `Literal` a choice, `tuple[x, ...]` an option to repeat, `x | None` an x left out.

    Raises:
        TypeError: a field of a type that no option can have, or without default.
    """
    hints = get_type_hints(options)
    return [_option(field, hints[field.name]) for field in fields(options)]


def _option(field: Field[Any], hint: Any) -> click.Option:
    name = field.name.replace("_", "-")
    default = field.default if field.default_factory is MISSING else field.default_factory()
    if default is MISSING:
        raise TypeError(f"the option {field.name!r} has no default")
    flag = hint is bool
    declaration = f"--{name}/--no-{name}" if flag else f"--{name}"
    repeated = get_origin(hint) is tuple
    return click.Option(
        [declaration, field.name],
        type=None if flag else _type(field.name, get_args(hint)[0] if repeated else hint),
        default=default,
        multiple=repeated,
        show_default=default is not None,
        help=field.metadata.get("help"),
    )


def _type(name: str, hint: Any) -> click.ParamType:
    if get_origin(hint) in (Union, UnionType):
        members = [member for member in get_args(hint) if member is not NoneType]
        if len(members) == 1:
            return _type(name, members[0])
    if get_origin(hint) is Literal:
        return click.Choice(get_args(hint))
    known: dict[Any, click.ParamType] = {int: click.INT, float: click.FLOAT, str: click.STRING}
    if hint not in known:
        raise TypeError(f"the option {name!r} has the type {hint}, which no command-line option can have")
    return known[hint]
