"""DeepMind's file formats, from small files made here, and the file that `python -m tinybvae.data` writes."""

import os
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import h5py
import numba
import numpy as np
import pytest

import tinybvae as tb
import tinybvae.data.__main__
from tinybvae.data import readers
from tinybvae.data.__main__ import hdf5, main

SPRITES = tb.DSprites()
COUNT = 50


def some_of_it(count=COUNT):
    index = np.sort(np.random.default_rng(1).choice(len(SPRITES), count, replace=False))
    colour = np.zeros((count, 1), np.int64)
    return index, {"imgs": SPRITES.images(index)[..., 0].astype(np.uint8),
                   "latents_classes": np.hstack([colour, SPRITES.classes(index)]),
                   "latents_values": np.hstack([colour + 1.0, SPRITES.values(index)])}


def write(path, arrays):
    if path.suffix == ".npz":
        np.savez_compressed(path, metadata=np.array({"a pickle": True}, dtype=object), **arrays)
    else:
        with h5py.File(path, "w") as file:
            for name, array in arrays.items():
                chunks = (5, 8, 16) if name == "imgs" else None
                file.create_dataset(name.replace("latents_", "latents/"), data=array, chunks=chunks,
                                    compression="gzip" if chunks else None)
    return path


@pytest.mark.parametrize("name", ["dsprites.npz", "dsprites.hdf5"])
def test_official_files(tmp_path, name):
    index, arrays = some_of_it()
    sprites = tb.DSprites(write(tmp_path / name, arrays))
    assert len(sprites) == COUNT
    here = np.array([3, 3, 49, 0])
    np.testing.assert_array_equal(sprites.images(here), SPRITES.images(index[here]))
    assert sprites.images(here).dtype == np.float32
    np.testing.assert_array_equal(sprites.classes(here), SPRITES.classes(index[here]))
    np.testing.assert_array_equal(sprites.values(here), SPRITES.values(index[here]))
    np.testing.assert_array_equal(sprites.index(sprites.classes(here)), here)
    assert sprites.images([]).shape == (0, 64, 64, 1)
    with pytest.raises(ValueError, match="holds no image of"):
        sprites.index(SPRITES.classes(np.setdiff1d(np.arange(100), index)))
    with pytest.raises(ValueError, match="index must lie in 0 … 49"):
        sprites.images([50])


@pytest.mark.parametrize("name", ["dsprites.npz", "dsprites.hdf5"])
def test_files_of_several_blocks(tmp_path, monkeypatch, name):
    monkeypatch.setattr(readers, "BLOCK", 400 * 64 * 64)
    index, arrays = some_of_it(900)
    np.testing.assert_array_equal(tb.DSprites(write(tmp_path / name, arrays)).images(np.arange(900)),
                                  SPRITES.images(index))


def test_an_hdf5_without_images(tmp_path):
    path = write(tmp_path / "empty.hdf5", some_of_it()[1])
    with h5py.File(path, "a") as file:
        del file["imgs"]
        file["imgs"] = h5py.Empty(np.uint8)
    with pytest.raises(ValueError, match="empty.hdf5: "):
        tb.DSprites(path)


def test_an_npz_that_is_not_compressed(tmp_path):
    index, arrays = some_of_it()
    np.savez(tmp_path / "plain.npz", **arrays)
    np.testing.assert_array_equal(tb.DSprites(tmp_path / "plain.npz").images(np.arange(COUNT)), SPRITES.images(index))


def test_a_checksum_that_does_not_match(tmp_path):
    path = write(tmp_path / "dsprites.npz", some_of_it()[1])
    data = bytearray(path.read_bytes())
    data[data.rindex(b"imgs.npy") - 46 + 16] ^= 1  # of imgs' entry in the archive's directory, the CRC-32
    path.write_bytes(data)
    with pytest.raises(ValueError, match="dsprites.npz: damaged.* Bad CRC-32"):
        tb.DSprites(path)


def test_more_data_than_the_shape_says(tmp_path):
    write(tmp_path / "whole.npz", some_of_it()[1])
    with zipfile.ZipFile(tmp_path / "whole.npz") as whole, zipfile.ZipFile(tmp_path / "long.npz", "w") as long:
        for name in whole.namelist():
            long.writestr(name, whole.read(name) + b"\0")
    with pytest.raises(ValueError, match="long.npz: damaged.* imgs is longer than its shape"):
        tb.DSprites(tmp_path / "long.npz")


def changed(**changes):
    def change(arrays):
        return {name: changes[name](array) if name in changes else array for name, array in arrays.items()}
    return change


MISTAKES = {
    "pixels must be 0 or 1": changed(imgs=lambda a: np.insert(a[:-1], 3, 2, axis=0)),
    "pixels must lie in 0 … 255 if they are int64; image 3": changed(
        imgs=lambda a: np.insert(a[:-1].astype(np.int64), 3, -1, axis=0)),
    "imgs must be numbers .* not .S1 of": changed(imgs=lambda a: a.astype("S1")),
    "imgs must be of shape .* 32, 64": changed(imgs=lambda a: a[:, :32]),
    "classes must be integers of shape": changed(latents_classes=lambda a: a[:-1]),
    "classes must be integers": changed(latents_classes=lambda a: a + .5),
    "classes must lie in": changed(latents_classes=lambda a: a + 2),
    "classes must be at least 0": changed(latents_classes=lambda a: a - 1),
    "it holds no imgs": lambda arrays: {name: array for name, array in arrays.items() if name != "imgs"},
    "it holds no latents.classes": lambda arrays: {"imgs": arrays["imgs"]},
}


@pytest.mark.parametrize("name", ["dsprites.npz", "dsprites.hdf5"])
@pytest.mark.parametrize("message, mistake", MISTAKES.items(), ids=MISTAKES)
def test_files_with_mistakes(tmp_path, name, message, mistake):
    path = write(tmp_path / name, mistake(some_of_it()[1]))
    with pytest.raises(ValueError, match=f"{name}: .*{message}"):
        tb.DSprites(path)


@pytest.mark.parametrize("name", ["dsprites.npz", "dsprites.hdf5"])
def test_truncated_files(tmp_path, name):
    path = write(tmp_path / name, some_of_it()[1])
    whole = path.read_bytes()
    for kept in (0, 1, 100, len(whole) // 2, len(whole) - 20):
        path.write_bytes(whole[:kept])
        with pytest.raises(ValueError, match=f"{name}: "):
            tb.DSprites(path)


@pytest.mark.parametrize("compression", [zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA])
def test_damage_to_an_npz_is_noticed_or_harmless(tmp_path, compression):
    path, rng = tmp_path / "dsprites.npz", np.random.default_rng(0)
    index, arrays = some_of_it()
    with (zipfile.ZipFile(write(tmp_path / "made.npz", arrays)) as made,
          zipfile.ZipFile(path, "w", compression) as archive):
        for name in made.namelist():
            archive.writestr(name, made.read(name))
    whole, images, noticed = path.read_bytes(), SPRITES.images(index), 0
    for place in rng.integers(len(whole), size=200):
        data = bytearray(whole)
        data[place] ^= 1 << rng.integers(8)
        path.write_bytes(data)
        try:
            sprites = tb.DSprites(path)
            np.testing.assert_array_equal(sprites.images(np.arange(COUNT)), images)
            np.testing.assert_array_equal(sprites.classes(np.arange(COUNT)), SPRITES.classes(index))
        except ValueError as error:
            noticed += str(error).startswith(f"{path}: ")
    assert noticed > 100  # the rest are names, dates and the two arrays that are not read


def test_foreign_files(tmp_path):
    (tmp_path / "notes.txt").write_text("not images")
    for path in (tmp_path / "notes.txt", tmp_path / "none.npz", tmp_path, tmp_path / ("x" * 300)):
        with pytest.raises(ValueError, match=f"{path.name}: "):
            tb.DSprites(path)


# The file that is written: of all images it takes half a minute, so here of some.

CHOSEN = np.arange(0, len(SPRITES), 81)  # 9103 of them


class Some(tb.DSprites):
    def __len__(self):
        return len(CHOSEN)

    def images(self, index):
        return SPRITES.images(CHOSEN[index])

    def classes(self, index):
        return SPRITES.classes(CHOSEN[index])


@pytest.fixture
def written(tmp_path, monkeypatch, call):
    if numba.config.DISABLE_JIT:
        pytest.skip("minutes without Numba's compiler")
    monkeypatch.setattr(tinybvae.data.__main__, "DSprites", Some)
    path = tmp_path / "written" / "some.hdf5"
    path.parent.mkdir()
    status, output, _ = call(main, "--write", path)
    assert status == 0 and output == f"9103 images, {path.stat().st_size / 1e6:.1f} MB\n"
    assert [*path.parent.iterdir()] == [path]
    return path


def test_the_written_file_holds_the_rendered_images(written):
    sprites = tb.DSprites(written)
    assert len(sprites) == len(CHOSEN)
    for index in (np.arange(64), np.random.default_rng(0).integers(len(CHOSEN), size=9001)):
        np.testing.assert_array_equal(sprites.images(index), SPRITES.images(CHOSEN[index]))
        np.testing.assert_array_equal(sprites.classes(index), SPRITES.classes(CHOSEN[index]))
        np.testing.assert_array_equal(sprites.index(sprites.classes(index)), index)


def test_the_written_file_has_deepminds_layout(written):
    with h5py.File(written) as file:
        assert {*file} == {"imgs", "latents"} and {*file["latents"]} == {"classes", "values"}
        assert file["imgs"].shape == (9103, 64, 64) and file["imgs"].dtype == np.uint8
        assert file["imgs"].chunks == (64, 64, 64) and file["imgs"].fletcher32
        classes, values = file["latents/classes"][()], file["latents/values"][()]
        assert classes.dtype == np.int64 and values.dtype == np.float64
        index = np.array([3, 5_000, 9_102])
        images = file["imgs"][index]
    grid = np.indices((1, 3, 6, 40, 32, 32)).reshape(6, -1).T[CHOSEN]
    np.testing.assert_array_equal(classes, grid)
    np.testing.assert_allclose(values, [1, 1, .5, 0, 0, 0] + grid * [1, 1, .1, 2 * np.pi / 39, 1 / 31, 1 / 31])
    np.testing.assert_array_equal(images[..., None], SPRITES.images(CHOSEN[index]))


def test_wrong_names_for_the_file(written, tmp_path, refusal):
    before = written.read_bytes()
    for path, message in [(written, "exists already"), (tmp_path / "no" / "all.H5", "there is no folder"),
                          (tmp_path / "all.npz", "ends in .hdf5"), (tmp_path, "ends in .hdf5"), ("", "must be a path")]:
        assert message in refusal(main, "--write", path)
    assert written.read_bytes() == before and [*tmp_path.iterdir()] == [written.parent]


def test_a_writer_that_is_killed_half_way_leaves_nothing(tmp_path):
    command = [sys.executable, "-m", "tinybvae.data", "--write", str(tmp_path / "all.hdf5")]
    process = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)})
    time.sleep(2)
    process.kill()
    assert process.wait() == -signal.SIGKILL and not [*tmp_path.iterdir()]


def test_a_part_can_be_written(tmp_path):
    index, arrays = some_of_it()
    part = tb.DSprites(write(tmp_path / "part.npz", arrays))
    (tmp_path / "part.hdf5").write_bytes(hdf5(part))
    again = tb.DSprites(tmp_path / "part.hdf5")
    np.testing.assert_array_equal(again.images(np.arange(COUNT)), SPRITES.images(index))
    np.testing.assert_array_equal(again.classes(np.arange(COUNT)), SPRITES.classes(index))
