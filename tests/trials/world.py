"""A world for trials: the embedded stack, and Sidecars on its direct path, in this process or in ones to be killed."""

import contextlib
import os
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from sidecar.app import App, open_app
from sidecar.checks.kinds import KINDS
from sidecar.config.load import load
from sidecar.config.settings import Config
from sidecar.demo.shipped import shipped_files
from sidecar.demo.stack import Stack, StackSpec, stack
from sidecar.domain.rule import Rule
from tests.fakes import RecordingReporter

RULE = "credits_without_profile"
RESTORED = """
    select id, email, full_name, credits_balance, metadata - 'plan', avatar_url, is_active, current_plan
    from public.users where metadata ->> 'restored_by' = 'sidecar' order by id
"""


@dataclass(frozen=True, slots=True)
class World:
    """A stack and a folder with a configuration of the direct path."""

    served: Stack
    folder: Path
    orphans: int

    @property
    def environment(self) -> Mapping[str, str]:
        served = self.served
        return {
            "SUPABASE_URL": served.supabase_url,
            "SUPABASE_SERVICE_ROLE_KEY": served.service_key,
            "SUPABASE_ANON_KEY": served.anon_key,
            "BACKEND_URL": served.backend_url,
            "SIDECAR_CANARY_NONCE": served.canary_nonce,
            "SIDECAR_DATABASE_URL": served.login_url,
        }

    def config(self, pieces: Mapping[str, str] | None = None) -> Config:
        """Write the shipped configuration with caps that let every orphan through, bent by `pieces`, and load it."""
        main, rules = shipped_files()
        text = rules[f"{RULE}.yaml"]
        roomy = {
            "mode: approve": "mode: auto",
            "confirmations: 2": "confirmations: 1",
            "max_rows: 500": "max_rows: 1000000",
            "max_percent: 0.5": "max_percent: 100",
            "max_rows_per_day: 5000": "max_rows_per_day: 1000000",
            "again_after: [1m, 10m]": "again_after: []",
        }
        for piece, by in {**roomy, **(pieces or {})}.items():
            assert piece in text, piece
            text = text.replace(piece, by, 1)
        (self.folder / "rules").mkdir(parents=True, exist_ok=True)
        (self.folder / "rules" / f"{RULE}.yaml").write_text(text)
        (self.folder / "sidecar.yaml").write_text(main)
        return load_config(self.folder, self.environment)

    async def sql(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        """Run SQL as superuser; return the rows, where there are any."""
        async with await psycopg.AsyncConnection.connect(self.served.database_url, autocommit=True) as connection:
            done = await connection.execute(statement.encode(), values or None)
            return await done.fetchall() if done.description else []

    async def forget(self) -> None:
        """Harm the users again, and let Sidecar forget that it ever looked."""
        await self.sql("delete from public.users where metadata ->> 'restored_by' = 'sidecar'")
        await self.sql("drop schema if exists sidecar cascade")
        await self.sql("create schema sidecar authorization sidecar")
        await self.sql("grant usage on schema sidecar to sidecar_detector, sidecar_fixer, sidecar_operator")

    async def restored(self) -> list[tuple[Any, ...]]:
        """Return everything that was written but clock values and plan ids."""
        return await self.sql(RESTORED)


def load_config(folder: Path, environment: Mapping[str, str]) -> Config:
    """Load the configuration of a folder."""
    return load(folder / "sidecar.yaml", {name: kind.model for name, kind in KINDS.items()}, environment)


@contextlib.asynccontextmanager
async def a_world(folder: Path, *, orphans: int, users: int) -> AsyncIterator[World]:
    """Start the stack. Nobody in it is too young to be judged, now or later."""
    async with stack(StackSpec(users=users, orphans=orphans, seed=7)) as served:
        world = World(served, folder, orphans)
        await world.sql("delete from public.credit_transactions where created_at > now() - interval '20 minutes'")
        yield world


@contextlib.asynccontextmanager
async def a_replica(config: Config, *, lease_seconds: float) -> AsyncIterator[tuple[App, Rule]]:
    """Open one Sidecar in this process."""
    async with open_app(config, RecordingReporter(), stopping=lambda: False, lease_seconds=lease_seconds) as app:
        yield app, app.rule(RULE)


def quiet() -> None:
    """Keep a child that will be killed from writing to the terminal."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.dup2(null, 2)
