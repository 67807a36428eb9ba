"""One PostgreSQL database as Sidecar's roles use it: short transactions, nothing set beyond them, errors that are ours.

Behind a transaction-mode pooler a connection belongs to us for one transaction only. So everything is `SET LOCAL`, no
statement is prepared on the server, and nothing is asked for in the startup packet.
"""

import contextlib
from collections.abc import AsyncIterator, Iterator
from enum import StrEnum

import psycopg
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from sidecar.errors import (
    AccessDenied,
    AnswerMalformed,
    SchemaMismatch,
    SidecarError,
    TargetUnreachable,
    TransientError,
    Unreached,
    WriteRejected,
)

CONNECTIONS_AT_MOST = 8
CONNECT_SECONDS = 5
LOCK_SECONDS = 2.0  # a row that somebody else holds longer is tried again later
WRITE_SECONDS = 5.0  # for each statement, and for each pause between two: a stopped process holds its locks no longer
READ_SECONDS = 120.0  # one statement over a table of ten million rows

# The classes of SQLSTATE that say nothing about the rows: connection, resources, rollback, operator, and in 55 and 25
# the lock that was not had and the standby that takes no writes.
PASSING = ("08", "40", "53", "57", "55P03", "25006", "25P03")
NO_SUCH = frozenset({"42P01", "42703", "42883", "3F000", "42704", "42804"})
BARRED = ("28", "42501")


class Role(StrEnum):
    """Who Sidecar is for the time of one transaction. Source of the three: `sidecar schema --fixture`."""

    DETECTOR = "sidecar_detector"  # reads every row, writes nothing
    FIXER = "sidecar_fixer"  # inserts named columns, corrects one, keeps the memory
    OPERATOR = "sidecar_operator"  # undoes


class Sessions:
    """Transactions on one database."""

    def __init__(self, url: str) -> None:
        """Use the database at `url` (`postgresql://…`). Nothing connects before the first transaction."""
        self._engine = _engine(url)

    @contextlib.asynccontextmanager
    async def reading(self, role: Role, *, seconds: float = READ_SECONDS) -> AsyncIterator[AsyncConnection]:
        """Open a transaction that sees one state of the database and cannot write.

        Row level security that would filter is an error in it. Raises: what `translated` raises.
        """
        async with self._begun("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY") as connection:
            await _settle_in(connection, role, seconds, row_security="off")
            yield connection

    @contextlib.asynccontextmanager
    async def writing(self, role: Role, *, seconds: float = WRITE_SECONDS) -> AsyncIterator[AsyncConnection]:
        """Open a transaction that may write; leaving the block commits. Raises: what `translated` raises."""
        async with self._begun("SET TRANSACTION ISOLATION LEVEL READ COMMITTED, READ WRITE") as connection:
            await _settle_in(connection, role, seconds, row_security="on")
            yield connection

    @contextlib.asynccontextmanager
    async def owning(self, *, seconds: float = READ_SECONDS) -> AsyncIterator[AsyncConnection]:
        """Open a transaction as the login itself, which owns schema `sidecar`: for its migrations, and nothing else."""
        async with self._begun("SET TRANSACTION ISOLATION LEVEL READ COMMITTED, READ WRITE") as connection:
            await _settle_in(connection, None, seconds, row_security="on")
            yield connection

    @contextlib.asynccontextmanager
    async def _begun(self, first: str) -> AsyncIterator[AsyncConnection]:
        with translated():
            async with self._engine.begin() as connection:
                await connection.exec_driver_sql(first)
                yield connection

    async def close(self) -> None:
        """Close every connection."""
        await self._engine.dispose()


def _engine(url: str) -> AsyncEngine:
    target = sa.make_url(url).set(drivername="postgresql+psycopg")
    return create_async_engine(
        target,
        pool_size=CONNECTIONS_AT_MOST,
        max_overflow=0,
        pool_pre_ping=True,  # a pooler, or a restart, closes idle connections without a word
        connect_args={"prepare_threshold": None, "connect_timeout": CONNECT_SECONDS},
        hide_parameters=True,  # errors are logged; values are not
        skip_autocommit_rollback=True,
    )


async def _settle_in(connection: AsyncConnection, role: Role | None, seconds: float, *, row_security: str) -> None:
    """Bind role, time limits and name resolution to this transaction, in one statement."""
    settings = {
        **({} if role is None else {"role": str(role)}),
        "statement_timeout": _milliseconds(seconds),
        "lock_timeout": _milliseconds(LOCK_SECONDS),
        "idle_in_transaction_session_timeout": _milliseconds(seconds),
        "row_security": row_security,
        "search_path": "",
        "timezone": "UTC",
    }
    bound = [sa.func.set_config(name, value, sa.true()) for name, value in settings.items()]
    await connection.execute(sa.select(*bound))


def _milliseconds(seconds: float) -> str:
    return f"{max(1, round(seconds * 1000))}ms"  # PostgreSQL reads 0 as no limit at all


@contextlib.contextmanager
def translated() -> Iterator[None]:
    """Turn what the driver raises into our errors. Texts name tables and SQLSTATEs, never values.

    Raises: TargetUnreachable, TransientError, AccessDenied, SchemaMismatch, WriteRejected, AnswerMalformed.
    """
    try:
        yield
    except sa.exc.DBAPIError as error:
        raise error_of(error) from error
    except psycopg.Error as error:  # from a statement that was streamed past SQLAlchemy
        raise _of_driver(error, lost=isinstance(error, psycopg.OperationalError)) from error
    except sa.exc.TimeoutError as error:
        raise TransientError("too many of our own tasks wait for the database") from error
    except OSError as error:
        raise TargetUnreachable(Unreached.CONNECT_FAILED, type(error).__name__) from error


def error_of(error: sa.exc.DBAPIError) -> SidecarError:
    """Translate one error of the driver."""
    return _of_driver(error.orig, lost=error.connection_invalidated)


def _of_driver(error: BaseException | None, *, lost: bool) -> SidecarError:
    """Most specific first."""
    state = getattr(error, "sqlstate", None) or ""
    if not state:
        cause = Unreached.CUT_OFF if lost else Unreached.CONNECT_FAILED
        return TargetUnreachable(cause, "the database did not answer")
    if state.startswith(BARRED):
        return AccessDenied(f"the database refused with {state}: {_primary(error)}")
    if state.startswith(PASSING):
        return TransientError(f"the database answered {state}")
    if state in NO_SUCH:
        return SchemaMismatch(f"the database answered {state}: {_primary(error)}")
    if state.startswith(("22", "23", "44", "P0", "09", "27")):
        return WriteRejected(f"the database refused with {state}", state, 0, _said(error, "constraint_name"))
    return AnswerMalformed(f"the database answered {state}")


def _primary(error: BaseException | None) -> str:
    """Return the message of classes that name tables, columns and types, and never a row's value.

    Inside a function of the user's, which the context tells, a message of any class may say anything.
    """
    return "a function's own words" if _said(error, "context") else _said(error, "message_primary")


def _said(error: BaseException | None, field: str) -> str:
    return str(getattr(getattr(error, "diag", None), field, "") or "")
