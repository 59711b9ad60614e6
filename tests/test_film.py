"""The film of training: its frames are the model's at these steps, also of a run that was stopped and resumed."""

import sys
from pathlib import Path

import imageio.v3 as imageio
import numba
import numpy as np
import pytest

import tinybvae as tb
from tinybvae.report import figures
from tinybvae.report.film import Film

pytestmark = pytest.mark.skipif(numba.config.DISABLE_JIT, reason="half a minute a run without Numba's compiler")
sys.path.insert(0, str(Path(__file__).parent.parent / "examples"))
from train_dsprites import main as train  # noqa: E402


def frames(out):
    return {file.name: file.read_bytes() for file in (out / "film").iterdir()}


def test_frames_are_the_models(tmp_path):
    """A row for each latent below the step; later frames of an earlier, longer run are not in the film."""
    data = tb.Images.of(np.random.default_rng(0).random((30, 16, 16, 3)))
    model = tb.BetaVAE(2, image_shape=(16, 16, 3))
    for p in model.parameters.values():
        p += np.float32(.1)  # so that latents do something
    run, film = tb.Run(model, tb.Adam(model.parameters)), Film(tmp_path, 2, data)
    for run.step in range(6):
        film(run)
    assert [*sorted(frames(tmp_path))] == ["000000000.png", "000000002.png", "000000004.png"]
    frame = imageio.imread(tmp_path / "film/000000002.png")
    assert frame.shape == (figures.LABEL + 2 * 16, 7 * 16, 3) and frame[:figures.LABEL].max() > 200
    (mean,), _ = model.encode(data.images([0]))
    for d in range(2):
        row = frame[figures.LABEL + 16 * d:figures.LABEL + 16 * (d + 1)]
        np.testing.assert_allclose(row / 255, np.concatenate(figures.strip(model, mean, d), axis=1), atol=.02)
    run.step = 3
    film.write(run)
    assert imageio.improps(tmp_path / "film.gif").n_images == 2


def test_a_run_that_is_resumed(tmp_path, call, no_pictures):
    np.savez(tmp_path / "own.npz", imgs=np.random.default_rng(0).integers(0, 2, (30, 16, 16), np.uint8))
    options = ["--latents", 2, "--batch-size", 4, "--data", tmp_path / "own.npz", "--threads", 1]
    assert call(train, *options, "--film", 5, "--steps", 12, "--out", tmp_path / "a")[0] == 0
    assert len(frames(tmp_path / "a")) == 3 == imageio.improps(tmp_path / "a/film.gif").n_images
    for said in ("--film", 5, "--steps", 7), ("--steps", 12):  # the run knows that it is filmed
        assert call(train, *options, *said, "--out", tmp_path / "b", "--resume")[0] == 0
    assert frames(tmp_path / "a") == frames(tmp_path / "b")
    assert (tmp_path / "a/film.gif").read_bytes() == (tmp_path / "b/film.gif").read_bytes()
