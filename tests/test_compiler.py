"""Compiled kernels are kept where they can be, and made where they cannot."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numba
import pytest

import tinybvae

MULTIPLY = "import numpy as np, tinybvae; print(tinybvae.kernels.matmul(*np.ones((2, 3, 3), np.float32)))"


pytestmark = pytest.mark.skipif(numba.config.DISABLE_JIT, reason="nothing is compiled")


def multiply(folder, **environment):
    """What MULTIPLY prints and complains of with the package in `folder`."""
    process = subprocess.run([sys.executable, "-B", "-c", MULTIPLY], cwd=folder, text=True, capture_output=True,
                             env={**os.environ, "PYTHONPATH": str(folder), **environment})
    assert process.returncode == 0, process.stderr
    return process.stdout, process.stderr


@pytest.fixture
def folder(tmp_path):
    """A copy of the package, nothing of it compiled yet."""
    shutil.copytree(Path(tinybvae.__file__).parent, tmp_path / "tinybvae", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def test_kernels_are_kept_until_a_part_of_them_changes(folder):
    gemm, cache = folder / "tinybvae/kernels/gemm.py", folder / "cache"
    assert multiply(folder, NUMBA_CACHE_DIR=str(cache))[0].count("3.") == 9
    kept = sorted(cache.rglob("*.nbi"))
    assert kept and multiply(folder, NUMBA_CACHE_DIR=str(cache))[0].count("3.") == 9
    assert sorted(cache.rglob("*.nbi")) == kept
    gemm.write_text(gemm.read_text().replace("for k in range(K):", "for k in range(K - 1):"))
    assert multiply(folder, NUMBA_CACHE_DIR=str(cache))[0].count("2.") == 9


def test_no_folder_can_be_written_to(folder):
    for place in (folder / "tinybvae", folder / "tinybvae/kernels", folder / "tinybvae/dsprites"):
        (place / "__pycache__").touch()  # a file, so that it cannot be a folder
    output, complaints = multiply(folder, HOME=os.devnull, XDG_CACHE_HOME=os.devnull, NUMBA_CACHE_DIR="")
    assert output.count("3.") == 9 and complaints.count("RuntimeWarning") == 1
    assert "no folder to keep compiled kernels in: this process compiles its own" in complaints
