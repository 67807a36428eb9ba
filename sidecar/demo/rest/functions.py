"""Choose the function that a call means, by its name and the names of its arguments."""

from collections.abc import Collection

from sidecar.demo.rest.catalogue import Catalogue, Function
from sidecar.demo.rest.errors import RestError
from sidecar.demo.rest.hints import nearest

_PARAMETERS_ALIKE_AT_LEAST = 0.33  # PostgREST src/PostgREST/Error.hs, getFuzzyHint


async def choose(catalogue: Catalogue, name: str, given: Collection[str], *, posted: bool) -> Function:
    """Return the function that takes the arguments `given`. Raises: RestError with PGRST202 or PGRST203."""
    fitting = _fitting(catalogue, name, given)
    if not fitting:
        await catalogue.refresh()
        fitting = _fitting(catalogue, name, given)
    if not fitting:
        raise _not_found(catalogue, name, sorted(given), posted=posted)
    if len(fitting) > 1:
        candidates = ", ".join(f"{catalogue.schema}.{_signature(function)}" for function in fitting)
        message = f"Could not choose the best candidate function between: {candidates}"
        hint = (
            "Try renaming the parameters or the function itself in the database so function overloading can be resolved"
        )
        raise RestError(300, "PGRST203", message, hint=hint)
    return fitting[0]


def _fitting(catalogue: Catalogue, name: str, given: Collection[str]) -> list[Function]:
    asked = set(given)
    return [
        function
        for function in catalogue.functions.get(name, [])
        if asked <= {known.name for known in function.parameters}
        and asked >= {known.name for known in function.parameters if known.required}
    ]


def _signature(function: Function) -> str:
    return f"{function.name}({', '.join(f'{known.name} => {known.type}' for known in function.parameters)})"


def _not_found(catalogue: Catalogue, name: str, given: list[str], *, posted: bool) -> RestError:
    qualified = f"{catalogue.schema}.{name}"
    listed = ", ".join(given)
    shown = f"({listed})" if given else " without parameters"
    searched = f" with parameter{'s' if len(given) > 1 else ''} {listed}" if given else " without parameters"
    unnamed = " or with a single unnamed json/jsonb parameter" if posted else ""
    return RestError(
        404,
        "PGRST202",
        f"Could not find the function {qualified}{shown} in the schema cache",
        details=f"Searched for the function {qualified}{searched}{unnamed},"
        " but no matches were found in the schema cache.",
        hint=_hint(catalogue, name, listed),
    )


def _hint(catalogue: Catalogue, name: str, listed: str) -> str | None:
    overloads = catalogue.functions.get(name)
    if overloads:
        known = [f"({', '.join(sorted(known.name for known in function.parameters))})" for function in overloads]
        alike = nearest(f"({listed})", known, _PARAMETERS_ALIKE_AT_LEAST)
        meant = None if alike is None else f"{name}{alike}"
    else:
        meant = nearest(name, catalogue.functions)
    return None if meant is None else f"Perhaps you meant to call the function {catalogue.schema}.{meant}"
