"""The recorded answers of a real PostgREST are the stand-in's answers."""

import asyncio

from tests.standin.conftest import Project
from tests.standin.recorded import answer, exchanges


async def test_every_recorded_exchange_gets_the_recorded_answer(project: Project) -> None:
    recorded = exchanges()
    differing = []
    for exchange in recorded:
        got = await asyncio.to_thread(answer, project.served.rest_url, exchange)
        if got != exchange["answer"]:
            differing.append(f"{exchange['name']}: got {got}, want {exchange['answer']}")

    print(f"{len(recorded) - len(differing)} of {len(recorded)} exchanges agree")

    assert differing == []
    assert len(recorded) == 137


async def test_an_answer_says_the_server_s_time(project: Project) -> None:
    answered = await project.get("/users?select=id")

    assert answered.headers["date"].endswith("GMT")
