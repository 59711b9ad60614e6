"""The benchmark measures what it says, for any batch and number of threads; how long that takes is not tested."""

import argparse
import subprocess
import sys
from pathlib import Path

import numba
import numpy as np
import pytest

import tinybvae as tb
from test_compiler import run as run_code
from tinybvae.kernels import threads

EXAMPLES = Path(__file__).parent.parent / "examples"
sys.path.insert(0, str(EXAMPLES))
import benchmark  # noqa: E402


def test_tables_and_picture(tmp_path, call, monkeypatch):
    picture, before = tmp_path / "new" / "speed.png", threads.num_threads()
    monkeypatch.setattr(benchmark, "SECONDS", 0)
    monkeypatch.setattr(benchmark.shutil, "which", lambda name: None)  # or it takes a minute
    status, printed, _ = call(benchmark.main, "--batches", 1, 7, "--threads", 1, "--rounds", 1, "--out", picture)
    threads.set_num_threads(before)
    assert status == 0
    rows = [line.split("|")[1:-1] for line in printed.splitlines() if line.startswith("|")]
    assert [row[0].strip() for row in rows if "conv2d" in row[0]] == ["conv2d", "conv2d_transpose", "conv2d_weight"]
    assert [row[0].strip() for row in rows[-3:]] == ["1", "1", "1, beside a busy program"]
    assert "batch 7: 1.00 times as fast on 1 threads as on 1" in printed
    assert ("torch.compile needs a C++ compiler" in printed) == bool(benchmark.RIVALS)
    assert [row[1].strip() for row in rows[-3:]] == ["1", "7", "7"]
    assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("arguments, message", [
    (["--batches", "0"], "a whole number from 1"), (["--threads", "100000"], "a whole number from 1 to"),
    (["--rounds"], "expected")])
def test_wrong_arguments(arguments, message, tmp_path, refusal):
    assert message in refusal(benchmark.main, *arguments, "--out", tmp_path / "speed.png")
    assert not [*tmp_path.iterdir()]


def test_the_picture_replaces_nothing_else(tmp_path, refusal):
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "a.png").mkdir()
    for out, message in [("notes.txt", "ends in .png"), ("notes.txt/speed.png", "notes.txt"), ("a.png", "is a folder")]:
        assert message in refusal(benchmark.main, "--out", tmp_path / out)
    assert (tmp_path / "notes.txt").read_text() == "mine"


@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="no kernels are called")
def test_calls_of_a_step():
    """Around each there is Python, which no second thread shares."""
    assert 30 < benchmark.calls_of_a_step() <= 45


@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="nothing is compiled")
def test_a_column_without_avx512(monkeypatch):
    """By a process that has been told: here, what it would be told, and what that makes of the kernels."""
    calls = []

    def run(command, env, **options):
        calls.append(env)
        return subprocess.CompletedProcess(command, 0, "| kernel |\n| --- |\n| 1 | 7 | 3.0 | 2.50 |\n")
    monkeypatch.setattr(benchmark.subprocess, "run", run)
    arguments = argparse.Namespace(rounds=1, batches=[7], threads=[1])
    assert benchmark.without_avx512(arguments) == {("1", "7"): "2.50" if benchmark.RIVALS else "3.0 ms"}
    monkeypatch.undo()
    printed, _ = run_code("from tinybvae.kernels import gemm; print(gemm.VECTOR, gemm.ROWS)",
                          NUMBA_CPU_FEATURES=calls[0]["NUMBA_CPU_FEATURES"])
    assert printed.split() == ["64", "4"]


def test_operations_of_a_step():
    model = tb.BetaVAE()
    model.loss_and_gradients(np.zeros((1, 64, 64, 1)), np.zeros((1, 10)), tb.beta_objective(), 0)
    channels_and_pixels = [(1, 32 ** 2), (32, 16 ** 2), (32, 8 ** 2), (32, 4 ** 2)]  # of the encoder, and the decoder
    once = sum(2 * 16 * C * 32 * pixels for C, pixels in channels_and_pixels)
    first = 2 * 16 * 1 * 32 * 32 ** 2
    assert benchmark.convolution_operations(model, 64) == 64 * (6 * once - first) == 4_563_402_752
    assert benchmark.powers_of_two(6) == [1, 2, 4, 6] and benchmark.powers_of_two(1) == [1]
