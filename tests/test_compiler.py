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


@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="nothing is compiled")
def test_no_folder_can_be_written_to(tmp_path):
    shutil.copytree(Path(tinybvae.__file__).parent, tmp_path / "tinybvae", ignore=shutil.ignore_patterns("__pycache__"))
    for folder in (tmp_path / "tinybvae", tmp_path / "tinybvae" / "dsprites"):
        (folder / "__pycache__").touch()  # a file, so that it cannot be a folder
    environment = {**os.environ, "HOME": os.devnull, "XDG_CACHE_HOME": os.devnull, "PYTHONPATH": str(tmp_path)}
    environment.pop("NUMBA_CACHE_DIR", None)
    process = subprocess.run([sys.executable, "-B", "-c", MULTIPLY], cwd=tmp_path, env=environment, text=True,
                             capture_output=True)
    assert process.returncode == 0, process.stderr
    assert process.stdout.count("3.") == 9
    assert "no folder to keep compiled kernels in: this process compiles its own" in process.stderr
    assert process.stderr.count("RuntimeWarning") == 1
