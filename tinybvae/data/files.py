"""Files that survive: written whole or not at all, and known by their digest to be undamaged.

The first 512 bytes of an HDF5 file written here, a "user block", hold as text the SHA-256 of the rest. The rest is
plain HDF5, so any HDF5 tool opens the file. HDF5 itself neither notices flipped bits nor survives all of them.
"""

import errno
import hashlib
import os
import secrets
from contextlib import ExitStack, suppress
from pathlib import Path

USER_BLOCK = 512  # bytes
OPEN = USER_BLOCK + 20  # the byte where HDF5 marks a file that is open for writing, or was when its writer was killed


def user_block(title, content):
    """The USER_BLOCK bytes that stand before `content` in a file: a line that says what it is, and its digest."""
    text = f"{title}\nsha256 of all after byte {USER_BLOCK}: {hashlib.sha256(content).hexdigest()}\n"
    return text.encode().ljust(USER_BLOCK, b"\0")


def intact(title, data):
    """The bytes of a file, or None if their digest is not the one in its user block.

    A file that somebody has open for writing is still intact, as long as nothing has been written.
    """
    if data[OPEN:OPEN + 1] == b"\1":
        data = data[:OPEN] + b"\0" + data[OPEN + 1:]
    return data if data[:USER_BLOCK] == user_block(title, data[USER_BLOCK:]) else None


def write_atomically(path, data, keep=None, new=False):
    """Put `data` into a file so that, if the process is killed at any moment, the file holds the old bytes or all new.

    If `keep` is given, what the file held before goes to that file. If the file is to be `new` and exists already,
    FileExistsError is raised. Writers of one file do not disturb each other: the last one wins. `remove_halves` removes
    what a killed writer leaves behind.
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
        if new:
            _claim(path)
        os.replace(temporary, path)
    except OSError as error:
        error.filename = os.fspath(path)  # not the temporary one's
        raise
    finally:
        temporary.unlink(missing_ok=True)
    if os.name == "posix":  # the rename itself is on disk once the folder is
        with suppress(OSError), ExitStack() as opened:  # where folders cannot be synced, the file is there all the same
            folder = os.open(path.parent, os.O_RDONLY)
            opened.callback(os.close, folder)
            os.fsync(folder)


def _claim(path):
    """Raise FileExistsError if the name is taken; else take it."""
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL))


def _sync(file):
    """Wait until the file is on disk, if the file system can tell: some on networks and virtual machines cannot."""
    try:
        os.fsync(file)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EBADF):
            raise


def _beside(path):
    """A new name for a file that will take this one's place."""
    return path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")


def remove_halves(folder):
    """Remove what killed writers left there. To be called only while no writer is at work."""
    for left in Path(folder).glob(f".*.{16 * '[0-9a-f]'}.tmp"):
        left.unlink()


def _link(path, other):
    """Give a file a second name, `other`, whatever had that name; where it cannot have two, `other` is its only one."""
    second = _beside(other)
    try:
        os.link(path, second)
        os.replace(second, other)
    except OSError:
        with suppress(FileNotFoundError):  # another writer was faster
            os.replace(path, other)
    finally:
        second.unlink(missing_ok=True)  # it is still there if `other` was a name of the same file already
