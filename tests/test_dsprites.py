"""dSprites: its bookkeeping, what it looks like, and DeepMind's file formats from small files made here."""

import zipfile

import h5py
import numba
import numpy as np
import pytest

import tinybvae as tb

SPRITES = tb.DSprites()
# Numbers of white pixels in DeepMind's images of these classes.
AREAS = {(0, 0, 27, 24, 30): 92, (0, 3, 38, 8, 30): 234, (0, 5, 36, 0, 0): 368,
         (1, 0, 32, 27, 5): 71, (1, 3, 35, 14, 14): 187, (1, 5, 39, 0, 0): 288,
         (2, 0, 28, 15, 31): 57, (2, 3, 0, 0, 0): 140, (2, 5, 39, 0, 0): 222}


def test_index_counts_as_deepmind_does():
    assert len(SPRITES) == 737_280 and SPRITES.factor_sizes == (3, 6, 40, 32, 32)
    assert SPRITES.factor_names == ("shape", "scale", "orientation", "position_x", "position_y")
    index = np.random.default_rng(0).integers(len(SPRITES), size=1000)
    classes = SPRITES.classes(index)
    assert classes.shape == (1000, 5) and classes.dtype == np.int64
    shape, scale, orientation, x, y = classes.T
    np.testing.assert_array_equal(index, ((shape * 6 + scale) * 40 + orientation) * 1024 + x * 32 + y)
    np.testing.assert_array_equal(SPRITES.index(classes), index)


def test_values_are_deepminds():
    values = SPRITES.values(SPRITES.index([[0, 0, 0, 0, 0], [2, 5, 39, 31, 31], [1, 2, 13, 1, 30]]))
    np.testing.assert_allclose(values, [[1, .5, 0, 0, 0], [3, 1, 2 * np.pi, 1, 1],
                                        [2, .7, 2 * np.pi / 3, 1 / 31, 30 / 31]], rtol=1e-14)


@pytest.mark.parametrize("index", [[737_280], [-1], [1.5], [[1]], 3])
def test_indices_that_do_not_exist(index):
    for method in (SPRITES.images, SPRITES.classes, SPRITES.values):
        with pytest.raises(ValueError, match="^index must"):
            method(index)


@pytest.mark.parametrize("classes", [[[3, 0, 0, 0, 0]], [[0, 0, 0, 0, -1]], [0, 0, 0, 0, 0], [[0, 0, 0, 0]]])
def test_classes_that_do_not_exist(classes):
    with pytest.raises(ValueError, match="^classes must"):
        SPRITES.index(classes)


def test_no_images():
    assert SPRITES.images([]).shape == (0, 64, 64, 1) and SPRITES.classes([]).shape == (0, 5)


def test_images_are_white_on_black():
    images = SPRITES.images(np.random.default_rng(0).integers(len(SPRITES), size=100))
    assert images.shape == (100, 64, 64, 1) and images.dtype == np.float32
    assert ((images == 0) | (images == 1)).all() and (images.sum(axis=(1, 2, 3)) > 50).all()
    border = np.concatenate([images[:, [0, -1]].reshape(100, -1), images[:, :, [0, -1]].reshape(100, -1)], axis=1)
    assert not border.any()


def test_the_first_image():
    rows, columns = np.nonzero(SPRITES.images([0])[0, :, :, 0])
    assert len(rows) == 100 and {*rows} == {*columns} == {*range(11, 21)}


def test_areas_are_nearly_deepminds():
    classes = np.array([*AREAS])
    areas = SPRITES.images(SPRITES.index(classes)).sum(axis=(1, 2, 3))
    np.testing.assert_allclose(areas, [*AREAS.values()], atol=4)


def test_sprites_stand_where_they_should():
    for shape, off_centre in enumerate([.2, .2, 2]):
        for x, y in [(0, 0), (31, 0), (7, 22)]:
            rows, columns = np.nonzero(SPRITES.images(SPRITES.index([[shape, 4, 11, x, y]]))[0, :, :, 0])
            assert abs(columns.mean() - (15.5 + 32 * x / 31)) < off_centre
            assert abs(rows.mean() - (15.5 + 32 * y / 31)) < off_centre


def test_sprites_turn_counterclockwise_on_the_screen():
    """The ellipse's long axis at orientation θ; and the heart stands upright at θ = 0."""
    for orientation in (0, 5, 13):
        rows, columns = np.nonzero(SPRITES.images(SPRITES.index([[1, 5, orientation, 16, 16]]))[0, :, :, 0])
        (xx, xy), (_, yy) = np.cov(columns, -rows)
        angle = np.arctan2(2 * xy, xx - yy) / 2
        assert np.sin(angle - 2 * np.pi * orientation / 39) == pytest.approx(0, abs=.02)
    heart = SPRITES.images(SPRITES.index([[2, 5, 0, 16, 16]]))[0, :, :, 0].sum(axis=1)
    assert heart[26] > 15 and heart[40] < 5  # broad above, pointed below


def test_bits_do_not_depend_on_threads():
    index, most = np.random.default_rng(0).integers(len(SPRITES), size=37), numba.config.NUMBA_NUM_THREADS
    all_threads = SPRITES.images(index)
    try:
        numba.set_num_threads(1)
        np.testing.assert_array_equal(SPRITES.images(index), all_threads)
    finally:
        numba.set_num_threads(most)


def test_render_takes_real_values():
    frames = tb.render(2, .75, np.linspace(0, 1, 9), .5, .5)
    assert frames.shape == (9, 64, 64, 1) and (frames[0] != frames[-1]).any()
    np.testing.assert_array_equal(tb.render(1, .7, 2 * np.pi * 13 / 39, 1 / 31, 30 / 31),
                                  SPRITES.images(SPRITES.index([[1, 2, 13, 1, 30]])))
    for wrong in [(3, 1, 0, 0, 0), (0, np.nan, 0, 0, 0), (0, 1, np.inf, 0, 0), (1, 1e19, 1.3, .5, .5)]:
        with pytest.raises(ValueError, match="must be"):
            tb.render(*wrong)
    with pytest.raises(ValueError, match=r"one number or N of each, not arrays that broadcast to \(2, 3\)"):
        tb.render(0, np.ones((2, 3)), 0, 0, 0)


# Files. Each is written as DeepMind's are, with some of the images.

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
def test_files_of_several_blocks(tmp_path, name):
    index, arrays = some_of_it(9000)
    np.testing.assert_array_equal(tb.DSprites(write(tmp_path / name, arrays)).images(np.arange(9000)),
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
    "pixels must be 0 or 1; image 3 has": changed(imgs=lambda a: np.insert(a[:-1], 3, 2, axis=0)),
    "imgs must be uint8": changed(imgs=lambda a: a.astype(np.float32)),
    "imgs must be uint8 of shape": changed(imgs=lambda a: a[:, :32]),
    "classes must be integers of shape": changed(latents_classes=lambda a: a[:-1]),
    "classes must be integers": changed(latents_classes=lambda a: a + .5),
    "classes must lie in": changed(latents_classes=lambda a: a + 2),
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
    with (zipfile.ZipFile(write(tmp_path / "made.npz", some_of_it()[1])) as made,
          zipfile.ZipFile(path, "w", compression) as archive):
        for name in made.namelist():
            archive.writestr(name, made.read(name))
    whole, images, noticed = path.read_bytes(), tb.DSprites(path).images(np.arange(COUNT)), 0
    for place in rng.integers(len(whole), size=200):
        data = bytearray(whole)
        data[place] ^= 1 << rng.integers(8)
        path.write_bytes(data)
        try:
            np.testing.assert_array_equal(tb.DSprites(path).images(np.arange(COUNT)), images)
        except ValueError as error:
            noticed += str(error).startswith(f"{path}: ")
    assert noticed > 100  # the rest are names, dates and the two arrays that are not read


def test_foreign_files(tmp_path):
    (tmp_path / "notes.txt").write_text("not images")
    for path in (tmp_path / "notes.txt", tmp_path / "none.npz", tmp_path):
        with pytest.raises(ValueError, match=f"{path.name}: "):
            tb.DSprites(path)
