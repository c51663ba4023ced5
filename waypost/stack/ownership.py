"""Whom PostgreSQL runs as, and where it can live.

PostgreSQL refuses to run as root. When we are root (containers, CI) it runs as `postgres` or `nobody`, which must be
able to reach its programs and its data. A clone below /root is out of reach for them, so both then live in
`/var/lib/waypost/`; nobody's permissions are widened.
"""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from waypost.stack.errors import NoServerUserError

SHARED_HOME = Path("/var/lib/waypost")
_CANDIDATES = ("postgres", "nobody")


@dataclass(frozen=True, kw_only=True)
class ServerUser:
    """The operating system user a server runs as, given only where it is not ourselves."""

    name: str
    uid: int
    gid: int

    def process_options(self) -> Mapping[str, Any]:
        """Keyword arguments for subprocess.Popen and asyncio.create_subprocess_exec."""
        return {"user": self.uid, "group": self.gid, "extra_groups": []}


def server_user(existing_data: Path | None = None) -> ServerUser | None:
    """None when we are not root; else the owner of the existing data, or the first candidate there is.

    Raises NoServerUserError.
    """
    if os.geteuid() != 0:
        return None
    entries = [_owner(existing_data)] if existing_data and existing_data.exists() else []
    entries += [_entry(name) for name in _CANDIDATES]
    for entry in entries:
        if entry is not None and entry.pw_uid != 0:
            return ServerUser(name=entry.pw_name, uid=entry.pw_uid, gid=entry.pw_gid)
    raise NoServerUserError


def reachable_data(wanted: Path, user: ServerUser | None) -> Path:
    """`wanted`; or, where `user` cannot reach it, a folder below /var/lib/waypost that `wanted` then links to.

    The link goes with the folder it is in: moving that away begins afresh.
    """
    if wanted.is_symlink():
        return wanted.readlink()
    if user is None or wanted.exists() or can_traverse(wanted.parent, user):
        return wanted.absolute()
    target = SHARED_HOME / f"data-{secrets.token_hex(6)}" / wanted.name
    wanted.symlink_to(target)
    return target


def reachable_programs(folder: Path, user: ServerUser | None, *, label: str) -> Path:
    """`folder` (with bin, lib and share), or a copy below /var/lib/waypost where `user` cannot reach it."""
    if user is None or can_traverse(folder / "bin", user):
        return folder
    target = SHARED_HOME / f"postgresql-{label}"
    package = folder.parent
    if not target.exists():
        staging = SHARED_HOME / f".postgresql-{label}.{os.getpid()}"
        for part in ("bin", "lib", "share"):
            shutil.copytree(folder / part, staging / package.name / folder.name / part, symlinks=True)
        # A repaired wheel keeps the libraries its programs need beside the package.
        libraries = package.with_name(f"{package.name}.libs")
        if libraries.exists():
            shutil.copytree(libraries, staging / libraries.name, symlinks=True)
        _publish(staging, target)
    return target / package.name / folder.name


def make_private(folder: Path, user: ServerUser | None) -> None:
    """Makes `folder` with mode 0700, owned by `user`; folders above it are made traversable only where we make them."""
    missing = [parent for parent in folder.parents if not parent.exists()]
    for parent in reversed(missing):
        parent.mkdir(mode=0o755, exist_ok=True)
    folder.mkdir(mode=0o700, exist_ok=True)
    if user is not None:
        os.chown(folder, user.uid, user.gid)


def can_traverse(folder: Path, user: ServerUser) -> bool:
    """Whether `user` may enter `folder` and everything above it; what does not exist yet is not in the way."""
    resolved = folder.resolve()
    return all(_may_enter(path.stat(), user) for path in (resolved, *resolved.parents) if path.exists())


def _may_enter(status: os.stat_result, user: ServerUser) -> bool:
    if status.st_uid == user.uid:
        return bool(status.st_mode & stat.S_IXUSR)
    if status.st_gid == user.gid:
        return bool(status.st_mode & stat.S_IXGRP)
    return bool(status.st_mode & stat.S_IXOTH)


def _publish(staging: Path, target: Path) -> None:
    """Renames into place; when another stack was faster, its copy is as good."""
    try:
        staging.rename(target)
    except OSError:
        shutil.rmtree(staging)
        if not target.exists():
            raise


def _owner(path: Path) -> pwd.struct_passwd | None:
    try:
        return pwd.getpwuid(path.stat().st_uid)
    except KeyError:
        return None


def _entry(name: str) -> pwd.struct_passwd | None:
    try:
        return pwd.getpwnam(name)
    except KeyError:
        return None
