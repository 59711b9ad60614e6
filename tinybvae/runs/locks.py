"""Locks: only one process at a time may work in a folder."""

import errno
import os
import sys
import warnings
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tinybvae.data.files import remove_halves

try:
    import fcntl
except ImportError:  # Windows
    import msvcrt
    fcntl = None


@contextmanager
def locked(folder):
    """Keep other processes out of a folder meanwhile: in them this raises ValueError. A process that dies leaves no
    lock behind, but perhaps half a file, which is removed here."""
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
            except UserWarning as warning:  # where warnings are made errors, this one is just printed
                print(warning, file=sys.stderr)
        remove_halves(folder)
        yield
