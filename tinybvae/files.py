"""Files that survive: written whole or not at all, one process at a time, and known by their digest to be undamaged.

The first 512 bytes of an HDF5 file written here hold, as text, the SHA-256 of the rest, which is plain HDF5 (a "user
block": any HDF5 tool opens the file). HDF5 itself neither notices flipped bits nor survives all of them.
"""

import errno
import hashlib
import os
import secrets
import sys
import warnings
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    import msvcrt
    fcntl = None

USER_BLOCK = 512  # bytes
OPEN = USER_BLOCK + 20  # where HDF5 marks a file that somebody has open for writing, or had when he was killed


def user_block(title, content):
    """The USER_BLOCK bytes that stand before `content` in a file: a line of what it is, and a digest of it."""
    text = f"{title}\nsha256 of all after byte {USER_BLOCK}: {hashlib.sha256(content).hexdigest()}\n"
    return text.encode().ljust(USER_BLOCK, b"\0")


def intact(title, data):
    """The bytes of a file, or None if they are not those whose digest its user block has.

    That somebody has it open for writing changes nothing, as long as he has not written.
    """
    if data[OPEN:OPEN + 1] == b"\1":
        data = data[:OPEN] + b"\0" + data[OPEN + 1:]
    return data if data[:USER_BLOCK] == user_block(title, data[USER_BLOCK:]) else None


def write_atomically(path, data, keep=None):
    """Put bytes into a file so that, killed at any moment, it holds either what it held before or all of `data`.

    What it held before goes to the file `keep`, if there is one. Writers of one file do not disturb each other: the
    last one wins. What a killed one leaves behind, `locked` removes.
    """
    path = Path(path)
    temporary = _beside(path)
    try:
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            _sync(file.fileno())
        if keep and path.exists():
            _link(path, keep)
        os.replace(temporary, path)
    except OSError as error:
        error.filename = error.filename or os.fspath(path)  # no room, a limit: the system does not say for what
        raise
    finally:
        temporary.unlink(missing_ok=True)
    if os.name == "posix":  # the rename itself is on disk once the folder is
        with suppress(OSError), ExitStack() as opened:  # where folders cannot be asked, the file is there all the same
            folder = os.open(path.parent, os.O_RDONLY)
            opened.callback(os.close, folder)
            os.fsync(folder)


def _sync(file):
    """Wait until the disk has it, where the file system can tell: some of networks and virtual machines cannot."""
    try:
        os.fsync(file)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EBADF):
            raise


def _beside(path):
    """A new name for a file that will take this one's place."""
    return path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")


def _link(path, other):
    """Give a file a second name, `other`, whatever had that before; or only that one, where a file cannot have two."""
    second = _beside(other)
    try:
        os.link(path, second)
        os.replace(second, other)
    except OSError:
        with suppress(FileNotFoundError):  # another writer was faster
            os.replace(path, other)
    finally:
        second.unlink(missing_ok=True)  # it is still there if `other` was a name of the same file already


@contextmanager
def locked(folder):
    """Keep other processes out meanwhile: there it raises ValueError. A process that dies leaves no lock behind, but
    perhaps half a file, which is removed here."""
    ways = [(folder, os.O_RDONLY), (Path(folder) / ".lock", os.O_RDWR | os.O_CREAT)]  # NFS locks what is open to write
    with ExitStack() as opened:
        for path, how in ways if fcntl else ways[1:]:
            file = os.open(path, how)
            opened.callback(os.close, file)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB) if fcntl else msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
                break
            except OSError as error:
                if error.errno in (errno.EACCES, errno.EAGAIN, errno.EDEADLK):
                    raise ValueError(f"{folder}: another run is at work there: give another folder, or wait") from error
        else:
            try:
                warnings.warn(f"{folder}: this file system knows no locks: see that no second run is at work there")
            except UserWarning as warning:  # whoever makes errors of warnings does not mean this one
                print(warning, file=sys.stderr)
        for left in Path(folder).glob(f".*.{16 * '[0-9a-f]'}.tmp"):
            left.unlink()
        yield
