"""What a look and a write would send, shown to people: statements without values, and PostgreSQL's own plan."""

from sidecar.data.describing import describe_requests
from sidecar.domain.rule import Rule
from sidecar.ports import Describes
from tests.direct.cast import Project


async def test_the_statements_are_shown_with_their_parameters_not_filled_in(project: Project, rule: Rule) -> None:
    async with project.data() as data:
        assert isinstance(data, Describes)
        told = await data.describe(rule)

    look, write = told.sql
    assert ("not exists" in look, "%(until)s" in look) == (True, True)
    assert ("on conflict" in write, "%(rows)s" in write) == (True, True)
    assert "Anti" in told.explain


def test_over_rest_the_requests_are_listed_and_nothing_is_explained(rule: Rule) -> None:
    told = describe_requests(rule)

    assert told.explain == ""
    assert any(line.startswith("POST /rest/v1/users?columns=") for line in told.sql)
    assert all("@" not in line and "eyJ" not in line for line in told.sql)
