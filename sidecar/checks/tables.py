"""Tables of the product as checks name them, and where PostgREST serves them."""

import re
from typing import Annotated
from urllib.parse import quote

from pydantic import AfterValidator, BaseModel, ConfigDict

from sidecar.domain.rule import Table

IDENTIFIER = r"[A-Za-z_][A-Za-z0-9_$]{0,62}"


class Keys(BaseModel):
    """What every mapping of keys has in common. Shape: strict, closed, and silent about what was given."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, hide_input_in_errors=True)


def matching(pattern: str, message: str) -> AfterValidator:
    """Return what refuses a text that a pattern does not match whole."""

    def check(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise ValueError(message)
        return text

    return AfterValidator(check)


TableName = Annotated[
    str, matching(rf"{IDENTIFIER}\.{IDENTIFIER}", "must be a table with its schema, such as public.users")
]
Identifier = Annotated[str, matching(IDENTIFIER, "must be the name of a column or function")]


def to_table(text: str) -> Table:
    """Return a table whose name was validated."""
    schema, _, name = text.partition(".")
    return Table(schema=schema, name=name)


def path_of(table: Table) -> str:
    """Return where PostgREST serves a table."""
    return f"/rest/v1/{quote(table.name, safe='')}"


def read_profile(table: Table) -> dict[str, str]:
    """Return the header that names a schema other than the first one exposed."""
    return {} if table.schema == "public" else {"Accept-Profile": table.schema}
