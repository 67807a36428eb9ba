"""The keys that say how a check connects: TLS, address family, proxy, kept connections and credentials."""

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    SecretStr,
    ValidationInfo,
    field_validator,
    model_validator,
)

from sidecar.checks.tls_files import ClientFiles, tls_context
from sidecar.config.fields import one_of
from sidecar.config.variables import secret_in
from sidecar.wire import Family, Route

IDLE_SECONDS = 120.0  # how long a kept connection waits for the next look
_FROM_FILE = "file:"


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """How a check connects to the origin that it names (`home`), and to where a redirect leads beyond that (`away`).

    A route without `tls` trusts whom the process trusts. Nothing that tells who we are goes along `away`.
    """

    home: Route = field(default_factory=Route)
    away: Route = field(default_factory=lambda: Route(shows_trace=False))
    remarks: tuple[str, ...] = ()


def folder_of(info: ValidationInfo) -> Path:
    """Return where relative paths begin: beside the configuration."""
    folder = info.context.get("folder") if isinstance(info.context, dict) else None
    return folder if isinstance(folder, Path) else Path()


def _secret(value: SecretStr, info: ValidationInfo) -> SecretStr:
    text = value.get_secret_value()
    return (
        SecretStr(secret_in(folder_of(info) / text.removeprefix(_FROM_FILE))) if text.startswith(_FROM_FILE) else value
    )


def _filled(value: SecretStr) -> SecretStr:
    if not value.get_secret_value():
        raise ValueError("must not be empty")
    return value


def _readable(text: str, info: ValidationInfo) -> str:
    file = folder_of(info) / text
    try:
        with file.open("rb") as opened:
            opened.read(1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a usable path"
        message = f"the file cannot be read: {reason}"
        raise ValueError(message) from None
    return str(file)


def no_repeats(names: Sequence[str]) -> None:
    """Refuse a name that stands there twice."""
    for position, name in enumerate(names):
        if name in names[:position]:
            message = f"names {name} twice"
            raise ValueError(message)


# Written as it is, or as file:PATH, which is read when the configuration is.
SecretText = Annotated[SecretStr, AfterValidator(_secret)]
FilledSecret = Annotated[SecretText, AfterValidator(_filled)]
FileText = Annotated[str, AfterValidator(_readable)]


class Keys(BaseModel):
    """A mapping of a check whose every key is known."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, hide_input_in_errors=True)


class TlsKeys(Keys):
    """Whom to trust, and what to show."""

    verify: bool = True
    ca_file: FileText | None = None
    client_certificate_file: FileText | None = None
    client_key_file: FileText | None = None
    server_name: str | None = None

    @field_validator("ca_file")
    @classmethod
    def _authorities(cls, ca_file: str | None, info: ValidationInfo) -> str | None:
        if ca_file is not None and info.data.get("verify") is False:
            raise ValueError("means nothing with verify: false")
        if ca_file is not None:
            tls_context(verify=True, ca_file=ca_file)
        return ca_file

    @field_validator("client_key_file")
    @classmethod
    def _of_a_certificate(cls, key_file: str | None, info: ValidationInfo) -> str | None:
        if key_file is not None and info.data.get("client_certificate_file", "") is None:
            raise ValueError("needs client_certificate_file")
        return key_file

    @field_validator("server_name")
    @classmethod
    def _host(cls, server_name: str | None) -> str | None:
        if server_name is not None and not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?", server_name):
            raise ValueError("must be a host name")
        return server_name

    @model_validator(mode="after")
    def _usable(self) -> "TlsKeys":
        tls_context(verify=self.verify, ca_file=self.ca_file, client=self.client)
        return self

    @property
    def client(self) -> ClientFiles | None:
        """The certificate that we show, None for none."""
        if self.client_certificate_file is None:
            return None
        return ClientFiles(self.client_certificate_file, self.client_key_file)


def _user(value: SecretStr) -> SecretStr:
    if ":" in value.get_secret_value():
        raise ValueError("must hold no colon")
    return value


def _token(value: SecretStr) -> SecretStr:
    if not re.fullmatch(r"[!-~]+", value.get_secret_value()):
        raise ValueError("must be a token of printable ASCII without blanks, and without the word Bearer")
    return value


class BasicKeys(Keys):
    """A user with a password."""

    username: Annotated[FilledSecret, AfterValidator(_user)]
    password: FilledSecret


class AuthKeys(Keys):
    """Who asks: one of the two."""

    basic: BasicKeys | None = None
    bearer: Annotated[FilledSecret, AfterValidator(_token)] | None = None

    @model_validator(mode="after")
    def _one(self) -> "AuthKeys":
        if (self.basic is None) == (self.bearer is None):
            raise ValueError("must have either basic or bearer")
        return self

    @property
    def value(self) -> str:
        """What the header says."""
        if self.basic is None:
            return f"Bearer {self.bearer.get_secret_value() if self.bearer else ''}"
        user, password = self.basic.username.get_secret_value(), self.basic.password.get_secret_value()
        return f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"


def _proxy(value: SecretStr) -> SecretStr:
    text = value.get_secret_value()
    if not re.fullmatch(r"[!-~]+", text):
        raise ValueError("must be http://[user:password@]host[:port]")
    try:
        Route(proxy_url=text)
    except ValueError:
        raise ValueError("must be http://[user:password@]host[:port]") from None
    return value


class ConnectionKeys(Keys):
    """The keys that everything with requests of its own has."""

    tls: TlsKeys | None = None
    family: Annotated[Family, one_of(Family)] = Family.ANY
    proxy: Annotated[SecretText, AfterValidator(_proxy)] | None = None
    keep_alive: bool = False
    auth: AuthKeys | None = None

    @field_validator("keep_alive")
    @classmethod
    def _kept_plainly(cls, keep_alive: bool, info: ValidationInfo) -> bool:  # noqa: FBT001  # pydantic's
        if keep_alive and (info.data.get("proxy") is not None or info.data.get("family", Family.ANY) is not Family.ANY):
            raise ValueError("goes neither with proxy nor with family")
        return keep_alive

    def to_connection(self) -> Connection:
        """Return how to connect. Contexts of TLS are made here, once."""
        tls = self.tls
        ours = None if tls is None else tls_context(verify=tls.verify, ca_file=tls.ca_file, client=tls.client)
        theirs = None if tls is None else tls_context(verify=tls.verify, ca_file=tls.ca_file)
        away = Route(family=self.family, proxy_url=self._proxy_url, tls=theirs, shows_trace=False)
        home = replace(
            away,
            tls=ours,
            keep_alive=self.keep_alive,
            idle_seconds=IDLE_SECONDS,
            server_name=tls.server_name if tls else None,
            shows_trace=True,
        )
        unsure = (
            () if tls is None or tls.verify else ("tls.verify is false, so anybody may answer in its target's name",)
        )
        return Connection(home=home, away=away, remarks=unsure)

    def authorization(self) -> dict[str, str]:
        """Return the header that says who asks, empty without one."""
        return {} if self.auth is None else {"Authorization": self.auth.value}

    def secrets(self) -> tuple[str, ...]:
        """Return what nobody may see beside the header itself."""
        if self.auth is None or self.auth.basic is None:
            return ()
        return (self.auth.basic.password.get_secret_value(),)

    @property
    def _proxy_url(self) -> str | None:
        return None if self.proxy is None else self.proxy.get_secret_value()
