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


def run(code, folder=None, **environment):
    """What a program prints and complains of."""
    process = subprocess.run([sys.executable, "-B", "-c", code], cwd=folder, text=True, capture_output=True,
                             env={**os.environ, **environment}, timeout=300)
    assert process.returncode == 0, process.stderr
    return process.stdout, process.stderr


def multiply(folder, **environment):
    """What MULTIPLY prints and complains of with the package in `folder`."""
    return run(MULTIPLY, folder, PYTHONPATH=str(folder), **environment)


@pytest.fixture
def folder(tmp_path):
    """A copy of the package, nothing of it compiled yet."""
    shutil.copytree(Path(tinybvae.__file__).parent, tmp_path / "tinybvae", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def test_kernels_are_kept_until_they_change_or_are_damaged(folder):
    gemm, cache = folder / "tinybvae/kernels/gemm.py", folder / "cache"
    assert multiply(folder, NUMBA_CACHE_DIR=str(cache))[0].count("3.") == 9
    kept = sorted([*cache.rglob("*.nbi"), *cache.rglob("*.nbc")])
    for i, file in enumerate(kept):
        data = bytearray(file.read_bytes())
        flipped = data[:-1000] + bytes(~byte & 255 for byte in data[-1000:])  # machine code, in an .nbc
        file.write_bytes([b"", b"\x80\x04garbage", data[:-100]][i % 3] if file.suffix == ".nbi" else
                         [flipped, data[:-100]][i % 2])
    output, complaints = multiply(folder, NUMBA_CACHE_DIR=str(cache))
    assert kept and output.count("3.") == 9 and "compiling them again" in complaints
    assert multiply(folder, NUMBA_CACHE_DIR=str(cache)) == (output, "")
    assert sorted([*cache.rglob("*.nbi"), *cache.rglob("*.nbc")]) == kept
    gemm.write_text(gemm.read_text().replace("for k in range(K):", "for k in range(K - 1):"))
    assert multiply(folder, NUMBA_CACHE_DIR=str(cache))[0].count("2.") == 9


def test_no_folder_can_be_written_to(folder):
    for place in (folder / "tinybvae", folder / "tinybvae/kernels", folder / "tinybvae/dsprites"):
        (place / "__pycache__").touch()  # a file, so that it cannot be a folder
    output, complaints = multiply(folder, HOME=os.devnull, XDG_CACHE_HOME=os.devnull, NUMBA_CACHE_DIR="")
    assert output.count("3.") == 9 and complaints.count(": RuntimeWarning:") == 1
    assert "no folder to keep compiled kernels in: this process compiles its own" in complaints


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no limits on a process")
def test_no_room_to_keep_more(folder):
    full = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000)); {MULTIPLY}"
    output, complaints = run(full, folder, PYTHONPATH=str(folder), NUMBA_CACHE_DIR=str(folder / "cache"))
    assert output.count("3.") == 9 and "cannot be kept" in complaints


THREADS = """
import sys
from concurrent.futures import ThreadPoolExecutor
import numpy as np
import tinybvae as tb

sys.setswitchinterval(1e-6)  # seconds: as many changes from thread to thread as there can be
sprites, rng = tb.DSprites(), np.random.default_rng(0)
for architecture in tb.vae.ARCHITECTURES.values():
    model = tb.BetaVAE(3, architecture=architecture)
    index = rng.integers(len(sprites), size=(12, 2))
    z, noise = rng.standard_normal((12, 1, 3)), rng.standard_normal((12, 2, 3))

    def look(i):
        return [*model.encode(sprites.images(index[i])), model.decode(z[i]),
                np.array(list(tb.metrics.dead_units(model, sprites, 50, seed=i).values()))]

    def train(i):
        losses = model.loss_and_gradients(sprites.images(index[i]), noise[i], tb.beta_objective(4.0), 0)
        return [np.array(losses[:3])]

    jobs = [look if i % 3 else train for i in range(12)]
    expected = [job(i) for i, job in enumerate(jobs)]
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda i: jobs[i](i), range(12)))
    print(all(np.array_equal(a, b) for one, other in zip(expected, found) for a, b in zip(one, other, strict=True)))
"""


@pytest.mark.parametrize("layer", ["default", "workqueue"])
def test_threads_wait_for_each_other(layer):
    same, complaints = run(THREADS, NUMBA_THREADING_LAYER=layer)
    assert same.split() == ["True", "True"] and not complaints  # of both architectures


FORK = """
import multiprocessing, os
import numpy as np
import tinybvae as tb

if __name__ == "__main__":
    early = multiprocessing.get_context("fork").Pool(1)
    sprites = tb.DSprites()
    images = sprites.images([5])
    assert (early.apply(sprites.images, ([5],)) == images).all()
    assert (multiprocessing.get_context("spawn").Pool(1).apply(sprites.images, ([5],)) == images).all()
    try:
        print((multiprocessing.get_context("fork").Pool(1).apply(sprites.images, ([5],)) == images).all())
    except RuntimeError as error:
        print(error)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.parametrize("layer, answer", [("omp", "forked after"), ("workqueue", "True")])
def test_a_forked_process_works_or_says_why_not(tmp_path, layer, answer):
    (tmp_path / "loader.py").write_text(FORK)
    assert answer in run("import runpy; runpy.run_path('loader.py', run_name='__main__')", tmp_path,
                         NUMBA_THREADING_LAYER=layer, PYTHONPATH=str(Path(tinybvae.__file__).parents[1]))[0]
