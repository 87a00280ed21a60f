"""Files that survive a crash, and locks that do not: what the run folder and the unit store stand on."""

from __future__ import annotations

import contextlib
import os
import pathlib
import secrets

from .errors import InUse, RunFolderError

TEMPORARY_SUFFIX = ".bitplan-tmp"

# POSIX forgets a process's lock on a file as soon as the process closes any descriptor of it, and never refuses a
# process its own lock; so what this process holds is noted here, and a held file is never opened twice.
_held: set[pathlib.Path] = set()


def atomic_write(path: str | os.PathLike[str], data: bytes | str) -> None:
    """Writes a file so that a reader, or a crash, sees the old contents or the new, never a part.

    Args:
      path: In a folder that exists.
      data: Text is written as UTF-8, its newlines as they are.

    Raises:
      RunFolderError: The file system refuses.
    """
    target = pathlib.Path(path)
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}{TEMPORARY_SUFFIX}")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        try:
            try:
                write_all(descriptor, data.encode("utf-8") if isinstance(data, str) else data)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            temporary.replace(target)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        _sync_folder(target.parent)
    except OSError as error:
        raise RunFolderError(
            f"cannot write {target}: {error.strerror}", "choose another --out, or make room"
        ) from error


def lock_file(path: pathlib.Path, flags: int, busy: pathlib.Path) -> int:
    """Opens, or creates, a file that nobody else may hold at the same time.

    The lock belongs to this process alone: worker processes do not inherit it, so those that outlive a killed parent do
    not keep it, and the system releases it however the process ends.

    Args:
      path: The file.
      flags: For `os.open`; it must be open for writing.
      busy: What is in use, for the message.

    Returns:
      A descriptor for `unlock_file`.

    Raises:
      InUse: Somebody holds it.
      RunFolderError: It cannot be opened or locked.
    """
    import fcntl

    path = path.absolute()
    if path in _held:
        raise _in_use(busy, os.getpid())
    try:
        descriptor = os.open(path, flags | os.O_CREAT, 0o666)
    except OSError as error:
        raise RunFolderError(f"cannot open {path}: {error.strerror}", "check the folder and its permissions") from error
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        if isinstance(error, BlockingIOError | PermissionError):  # POSIX allows either
            raise _in_use(busy, _holder(path)) from error
        raise RunFolderError(f"cannot lock {path}: {error.strerror}", "choose a folder on a local disk") from error
    if os.fstat(descriptor).st_nlink == 0:  # its last holder removed it between the opening and the lock
        os.close(descriptor)
        return lock_file(path, flags, busy)
    _held.add(path)
    return descriptor


def is_held(path: pathlib.Path) -> bool:
    """Whether this process holds a file; opening and closing it once more would let its lock go."""
    return path.absolute() in _held


def unlock_file(path: pathlib.Path, descriptor: int) -> None:
    """Closes what `lock_file` opened, which lets it go."""
    _held.discard(path.absolute())
    os.close(descriptor)


def write_all(descriptor: int, data: bytes) -> None:
    """Writes all of `data`; `os.write` may stop short."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _in_use(busy: pathlib.Path, process: int | None) -> InUse:
    holder = "another process" if process is None else f"process {process}"
    return InUse(f"{busy} is in use by {holder}", "wait until it ends, or choose another --out")


def _holder(lock: pathlib.Path) -> int | None:
    """The process id in a lock file; None where there is none, as in files that hold something else."""
    with lock.open("rb") as file:
        text = file.read(20)
    return int(text) if text.endswith(b"\n") and text.strip().isdigit() else None


def _sync_folder(folder: pathlib.Path) -> None:
    with contextlib.suppress(OSError):  # not every file system can; the file itself is safe already
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
