"""The two paths to the data: PostgreSQL itself where `database.url` is given, else REST with the service key alone."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from urllib.parse import urlsplit

from sidecar.afterwards import Direct
from sidecar.checks.service_key_keys import ServiceKeySpec
from sidecar.config.settings import Config
from sidecar.config.variables import Secret
from sidecar.data.canary import Canary
from sidecar.data.direct.aftermath import Aftermath
from sidecar.data.postgres import PostgresData
from sidecar.data.rest import Rest
from sidecar.data.supabase import SupabaseData
from sidecar.data.surveys_direct import DirectSurveys
from sidecar.data.surveys_rest import RestSurveys
from sidecar.ports import Data, Surveys
from sidecar.sessions import Sessions
from sidecar.wire import key_headers, open_client

REQUEST_SECONDS = 30.0  # for one request about data; PostgREST itself gives up after 8 s by default


@dataclass(frozen=True, slots=True, kw_only=True)
class Path:
    """The adapters of one path. `direct` is None over REST, where written rows can be neither corrected nor undone."""

    data: Data
    surveys: Surveys
    direct: Direct | None


@contextlib.asynccontextmanager
async def open_path(config: Config) -> AsyncIterator[Path]:
    """Open the path that the configuration names, and close it. Nothing connects before the first use."""
    opened = _direct(config.database_url, _canary(config)) if config.database_url else _rest(config)
    async with opened as path:
        yield path


@contextlib.asynccontextmanager
async def _direct(url: Secret, canary: Canary | None) -> AsyncIterator[Path]:
    sessions = Sessions(url.reveal())
    try:
        yield Path(
            data=PostgresData(sessions, canary=canary),
            surveys=DirectSurveys(sessions, canary=canary),
            direct=Aftermath(sessions),
        )
    finally:
        await sessions.close()


@contextlib.asynccontextmanager
async def _rest(config: Config) -> AsyncIterator[Path]:
    key = config.supabase.service_key.reveal().strip()  # as the service_key check sends it
    headers = key_headers(key) if key.isascii() and key.isprintable() and key else {}
    project, canary = urlsplit(config.supabase.url).netloc, _canary(config)
    async with open_client(config.supabase.url, headers=headers, keep_alive=True) as client:
        rest = Rest(client, timeout_seconds=REQUEST_SECONDS)
        yield Path(
            data=SupabaseData(rest, database=project, canary=canary),
            surveys=RestSurveys(rest, database=project, canary=canary),
            direct=None,
        )


def _canary(config: Config) -> Canary | None:
    """Take the row that must be visible from the first service_key check that names one."""
    for check in config.checks:
        spec = check.spec
        if isinstance(spec, ServiceKeySpec) and (row := spec.canary or spec.witness) is not None:
            return Canary(table=row.table, key=row.key, value=str(row.value))
    return None
