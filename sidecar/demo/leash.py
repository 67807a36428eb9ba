"""Start a program as another user that ends when its parent ends, even when the parent is killed with -9.

Run as a script of its own, not as a `preexec_fn`: forking Python code is unsafe once there are threads, and warns
from 3.12 on. It must stay free of other imports of ours, since it runs isolated (`python -I`).
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def leashed(program: str, arguments: list[str], *, owner: tuple[int, int, str] | None) -> list[str]:
    """Return the command that runs `program` on a leash held by this process. `owner` is (uid, gid, name) to become."""
    uid, gid, _ = owner or (-1, -1, "")
    return [sys.executable, "-I", "-S", __file__, str(os.getpid()), str(uid), str(gid), program, *arguments]


def _main(parent: int, uid: int, gid: int, command: list[str]) -> None:
    if uid >= 0:
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    if sys.platform == "linux":
        # A change of user clears the setting (prctl(2)), so it comes after it; SIGINT is PostgreSQL's fast shutdown.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGINT)
    if os.getppid() != parent:  # the parent died before the leash was on
        sys.exit(1)
    os.execv(command[0], command)  # noqa: S606 - replacing this process is the point, and no shell is wanted


if __name__ == "__main__":
    _main(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4:])
