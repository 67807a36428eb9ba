"""The keys of the kind `service_key` as they are written, and as its probe uses them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated

from pydantic import Field, SecretStr, model_validator

from sidecar.checks.tables import Identifier, Keys, TableName, to_table
from sidecar.config.fields import duration
from sidecar.domain.rule import Table


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownRow:
    """A row that must exist, that the service key must see and anon must not. `nonce` is the canary's, None without."""

    table: Table
    key: str
    value: int | str = field(repr=False)
    nonce: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class UserSpec:
    """S7: who signs in, and in which tables which column names the owner of a row."""

    email: str = field(repr=False)
    password: str = field(repr=False)
    owned: Mapping[Table, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteSpec:
    """S8: which timestamp column of the canary is written, and how often in seconds."""

    column: str
    every_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceKeySpec:
    """Parameters of one `service_key` check. `keys` names the key column of tables where it is not `id`."""

    tables: tuple[Table, ...]
    public_tables: tuple[Table, ...] = ()
    keys: Mapping[Table, str] = field(default_factory=dict)
    canary: KnownRow | None = None
    witness: KnownRow | None = None
    profiles: Table | None = None
    probe_rpc: str | None = "sidecar_rls_probe"
    expiring_days: int = 30
    user: UserSpec | None = None
    write: WriteSpec | None = None


class CanaryKeys(Keys):
    """The fixture's canary row. An empty nonce is none."""

    table: TableName = "public.sidecar_canary"
    key: Identifier = "id"
    value: int | str = 1
    nonce: SecretStr | None = None


class WitnessKeys(Keys):
    """A row of the product's own that must exist, where there is no fixture."""

    table: TableName
    key: Identifier = "id"
    value: int | str


class UserKeys(Keys):
    """A canary user of the product's own. Without e-mail and password the step is not made."""

    email: SecretStr = SecretStr("")
    password: SecretStr = SecretStr("")
    owned: dict[TableName, Identifier] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _whole(self) -> "UserKeys":
        if bool(self.email.get_secret_value()) != bool(self.password.get_secret_value()):
            raise ValueError("must have both an email and a password, or neither")
        return self


class WriteKeys(Keys):
    """The write canary. Having it at all switches it on."""

    column: Identifier = "touched_at"
    every: Annotated[float, duration("1d")] = 600.0


class ServiceKeyKeys(Keys):
    """The keys of a `service_key` check beside the common ones."""

    tables: Annotated[list[TableName], Field(min_length=1)]
    public_tables: list[TableName] = Field(default_factory=list)
    keys: dict[TableName, Identifier] = Field(default_factory=dict)
    canary: CanaryKeys | None = None
    witness: WitnessKeys | None = None
    profiles: TableName = "public.users"
    probe_rpc: Identifier | None = "sidecar_rls_probe"
    expiring_days: Annotated[int, Field(ge=0, le=3650)] = 30
    user: UserKeys | None = None
    write: WriteKeys | None = None

    @model_validator(mode="after")
    def _fits(self) -> "ServiceKeyKeys":
        every = [*self.tables, *self.public_tables]
        if len(set(every)) != len(every):
            raise ValueError("tables and public_tables must name each table once")
        if self.canary is not None and self.witness is not None:
            raise ValueError("must have a canary or a witness, not both")
        row = self.canary or self.witness
        if row is not None and row.table in self.public_tables:
            raise ValueError("the canary or witness must not stand in a table that anon may read")
        if self.write is not None and self.canary is None:
            raise ValueError("write needs a canary: a row of the product's own is never written")
        if self.write is not None and self.canary is not None and self.canary.table in {*every, self.profiles}:
            raise ValueError("write needs a canary in a table of its own, not one that holds the product's rows")
        return self

    def to_spec(self) -> ServiceKeySpec:
        """Return the frozen parameters."""
        canary, witness = self.canary, self.witness
        nonce = canary.nonce.get_secret_value() if canary is not None and canary.nonce is not None else None
        return ServiceKeySpec(
            tables=tuple(map(to_table, self.tables)),
            public_tables=tuple(map(to_table, self.public_tables)),
            keys={to_table(name): column for name, column in self.keys.items()},
            canary=KnownRow(table=to_table(canary.table), key=canary.key, value=canary.value, nonce=nonce or None)
            if canary
            else None,
            witness=KnownRow(table=to_table(witness.table), key=witness.key, value=witness.value) if witness else None,
            profiles=to_table(self.profiles),
            probe_rpc=self.probe_rpc,
            expiring_days=self.expiring_days,
            user=self._user_spec(),
            write=WriteSpec(column=self.write.column, every_seconds=self.write.every) if self.write else None,
        )

    def _user_spec(self) -> UserSpec | None:
        if self.user is None or not self.user.email.get_secret_value():
            return None
        return UserSpec(
            email=self.user.email.get_secret_value(),
            password=self.user.password.get_secret_value(),
            owned={to_table(name): column for name, column in self.user.owned.items()},
        )
