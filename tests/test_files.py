"""Files are written whole or not at all, whoever else writes them, and a folder is one process's at a time."""

import errno
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from tinybvae.data.files import write_atomically
from tinybvae.runs.locks import locked


@pytest.mark.parametrize("moment", ["write", "fsync", "replace"])
def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch, moment):
    path = tmp_path / "a"
    write_atomically(path, b"old")

    def fail(*_):
        raise OSError("no space left on device")

    with monkeypatch.context() as patch:
        if moment == "write":
            patch.setattr("builtins.open", fail)
        else:
            patch.setattr(os, moment, fail)
        with pytest.raises(OSError):
            write_atomically(path, b"new")
    assert path.read_bytes() == b"old" and [*tmp_path.iterdir()] == [path]
    write_atomically(path, b"new")
    assert path.read_bytes() == b"new" and [*tmp_path.iterdir()] == [path]


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS])
def test_a_file_system_that_cannot_tell_when_it_has_written(tmp_path, monkeypatch, number):
    def unknown(file):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", unknown)
    write_atomically(tmp_path / "a", b"new")
    assert (tmp_path / "a").read_bytes() == b"new"


@pytest.mark.skipif(os.name != "posix", reason="another kind of locks")
def test_locks_as_nfs_has_them(tmp_path, monkeypatch):
    """An exclusive one is of what is open for writing."""
    import fcntl
    flock = fcntl.flock

    def of_nfs(file, how):
        if fcntl.fcntl(file, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        flock(file, how)

    monkeypatch.setattr(fcntl, "flock", of_nfs)
    for _ in range(2):
        with locked(tmp_path), pytest.raises(ValueError, match="another run is at work"), locked(tmp_path):
            pass


@pytest.mark.skipif(os.name != "posix", reason="another kind of locks")
def test_a_file_system_without_locks(tmp_path, monkeypatch):
    def none(file, how):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("fcntl.flock", none)
    with pytest.warns(UserWarning, match="knows no locks: see that no second run"), locked(tmp_path):
        pass


def test_no_room_says_for_what(tmp_path, monkeypatch):
    def full(file):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left on device: .*a.h5'"):
        write_atomically(tmp_path / "a.h5", b"data")
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize("links", [True, False])
def test_the_one_before_is_kept(tmp_path, monkeypatch, links):
    path, keep = tmp_path / "a.h5", tmp_path / "a.before.h5"
    if not links:
        monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(OSError("not on this file system")))
    for data in (b"1", b"2", b"3"):
        write_atomically(path, data, keep)
    assert path.read_bytes() == b"3" and keep.read_bytes() == b"2"
    assert {file.name for file in tmp_path.iterdir()} == {"a.h5", "a.before.h5"}


def test_writers_of_one_file_do_not_disturb_each_other(tmp_path):
    path = tmp_path / "a"
    texts = [bytes([i]) * 100_000 for i in range(40)]
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda data: write_atomically(path, data, tmp_path / "b"), texts))
    assert path.read_bytes() in texts and (tmp_path / "b").read_bytes() in texts
    assert {file.name for file in tmp_path.iterdir()} == {"a", "b"}


def test_a_lock_keeps_others_out_and_dies_with_its_process(tmp_path):
    hold = ("import sys, time; from tinybvae.runs.locks import locked\n"
            "with locked(sys.argv[1]): print(1, flush=True); time.sleep(99)")
    process = subprocess.Popen([sys.executable, "-c", hold, str(tmp_path)], stdout=subprocess.PIPE)
    process.stdout.readline()
    with pytest.raises(ValueError, match="another run is at work there"), locked(tmp_path):
        pass
    process.kill()
    process.wait()
    with locked(tmp_path), pytest.raises(ValueError, match="another run"), locked(tmp_path):
        pass
    with locked(tmp_path):
        pass


def test_what_a_killed_writer_left_is_removed(tmp_path):
    (tmp_path / ".mine.tmp").write_text("mine")
    kill = ("import os, sys; from tinybvae.data import files\n"
            "os.fsync = lambda _: os._exit(9)\nfiles.write_atomically(sys.argv[1], b'half')")
    subprocess.run([sys.executable, "-c", kill, str(tmp_path / "a")])
    assert len([*tmp_path.iterdir()]) == 2
    with locked(tmp_path):
        assert [file.name for file in tmp_path.iterdir()] == [".mine.tmp"]


def test_a_new_file_takes_no_others_place(tmp_path):
    path = tmp_path / "a"
    write_atomically(path, b"mine", new=True)
    (tmp_path / "b").symlink_to(tmp_path / "nowhere")
    for taken in path, tmp_path / "b":
        with pytest.raises(FileExistsError):
            write_atomically(taken, b"another's", new=True)
    assert path.read_bytes() == b"mine" and {file.name for file in tmp_path.iterdir()} == {"a", "b"}
