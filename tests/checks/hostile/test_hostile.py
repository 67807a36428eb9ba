import asyncio

import pytest

from sidecar.domain.check import Verdict
from tests.checks.cast import context, look_http
from tests.checks.hostile.cases import CASES, SHORT, Case
from tests.checks.hostile.left import nothing_left
from tests.scripted import reply, scripted

OTHERS = 200


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
async def test_a_hostile_target_gets_its_reason_within_the_deadline_and_leaves_nothing(case: Case) -> None:
    async with nothing_left():
        seen = await asyncio.wait_for(case.look(), 25)
    assert seen.reason == case.reason, seen
    assert sum(seen.phases.values()) <= seen.duration_seconds
    if case.deadline_seconds == SHORT:
        assert seen.duration_seconds < SHORT + 2
    assert "secret" not in repr(seen)


async def test_hostile_targets_harm_none_of_200_other_checks() -> None:
    ended = asyncio.Event()

    async def other(url: str) -> int:
        looks = 0
        while looks == 0 or not ended.is_set():
            seen = await look_http(context(url), {"url": "/", "expect": ["body.status == 'healthy'"]}, 20)
            assert seen.verdict is Verdict.HEALTHY, seen
            looks += 1
        return looks

    async def hostile() -> list[str]:
        try:
            return [seen.reason for seen in await asyncio.gather(*(case.look() for case in CASES))]
        finally:
            ended.set()

    async with (
        nothing_left(growth_mb=150),
        scripted(lambda _: reply(200, {"status": "healthy"})) as server,
        asyncio.TaskGroup() as group,
    ):
        reasons = group.create_task(hostile())
        looks = [group.create_task(other(server.url)) for _ in range(OTHERS)]
    assert dict(zip((case.name for case in CASES), reasons.result(), strict=True)) == {
        case.name: case.reason for case in CASES
    }
    assert sum(task.result() for task in looks) >= OTHERS
