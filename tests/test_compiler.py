"""Compiled kernels are kept where they can be, and made where they cannot."""

import os
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import numba
import pytest

import tinybvae

try:
    import pty
except ImportError:  # on Windows
    pty = None

# What compiles fastest: nine sums, 3 each.
SUM = "import numpy as np, tinybvae; print(tinybvae.kernels.sum_pixels(np.ones((1, 3, 1, 9), np.float32)))"


pytestmark = pytest.mark.skipif(numba.config.DISABLE_JIT, reason="nothing is compiled")


def run(code, folder=None, **environment):
    """What a program prints and complains of."""
    process = subprocess.run([sys.executable, "-B", "-c", code], cwd=folder, text=True, capture_output=True,
                             env={**os.environ, **environment}, timeout=300)
    assert process.returncode == 0, process.stderr
    return process.stdout, process.stderr


def add(folder, **environment):
    """What SUM prints and complains of with the package in `folder`."""
    return run(SUM, folder, PYTHONPATH=str(folder), **environment)


@pytest.fixture
def folder(tmp_path):
    """A copy of the package, nothing of it compiled yet."""
    shutil.copytree(Path(tinybvae.__file__).parent, tmp_path / "tinybvae", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def test_kernels_are_kept_until_they_change_or_are_damaged(folder):
    threads, cache = folder / "tinybvae/kernels/threads.py", folder / "cache"  # whose slices the kernel takes
    output, complaints = add(folder, NUMBA_CACHE_DIR=str(cache))
    assert output.count("3.") == 9 and not complaints
    kept = sorted([*cache.rglob("*.nbi"), *cache.rglob("*.nbc")])
    for i, file in enumerate(kept):
        data = bytearray(file.read_bytes())
        flipped = data[:-1000] + bytes(~byte & 255 for byte in data[-1000:])  # machine code, in an .nbc
        file.write_bytes([b"", b"\x80\x04garbage", data[:-100]][i % 3] if file.suffix == ".nbi" else
                         [flipped, data[:-100]][i % 2])
    output, complaints = add(folder, NUMBA_CACHE_DIR=str(cache))
    assert kept and output.count("3.") == 9 and "compiling them again" in complaints
    assert add(folder, NUMBA_CACHE_DIR=str(cache), PYTHONOPTIMIZE="2") == (output, "")
    assert sorted([*cache.rglob("*.nbi"), *cache.rglob("*.nbc")]) == kept
    threads.write_text(threads.read_text().replace("range(n * s //", "range(1 + n * s //"))
    assert add(folder, NUMBA_CACHE_DIR=str(cache))[0].count("0.") == 9


def test_no_folder_can_be_written_to(folder):
    for place in (folder / "tinybvae", folder / "tinybvae/kernels", folder / "tinybvae/data"):
        (place / "__pycache__").touch()  # a file, so that it cannot be a folder
    output, complaints = add(folder, HOME=os.devnull, XDG_CACHE_HOME=os.devnull, NUMBA_CACHE_DIR="")
    assert output.count("3.") == 9 and complaints.count(": RuntimeWarning:") == 1
    assert "no folder to keep compiled kernels in: this process compiles its own" in complaints


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no limits on a process")
def test_no_room_to_keep_more(folder):
    full = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000)); {SUM}"
    output, complaints = run(full, folder, PYTHONPATH=str(folder), NUMBA_CACHE_DIR=str(folder / "cache"))
    assert output.count("3.") == 9 and "cannot be kept" in complaints


def test_a_first_call_says_that_it_compiles(folder):
    """In a terminal, once; not where programs read what is said (above), and not if all is there."""
    if pty is None:
        pytest.skip("no pseudo-terminals")

    def seen(code):
        here, there = pty.openpty()
        process = subprocess.Popen([sys.executable, "-B", "-c", code], stderr=there, stdout=subprocess.DEVNULL,
                                   env={**os.environ, "PYTHONPATH": str(folder),
                                        "NUMBA_CACHE_DIR": str(folder / "cache")})
        os.close(there)
        text = b""
        with suppress(OSError):  # the other end is closed
            while part := os.read(here, 1000):
                text += part
        os.close(here)
        assert process.wait() == 0, text
        return text.decode()

    both = f"{SUM}; print(tinybvae.kernels.sum_pixels(np.ones((1, 3, 1, 9))))"
    assert seen(both).count("compiling, once") == 1 and not seen(both)
