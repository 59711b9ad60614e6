"""Images of your own: every form in which a file may hold them, with factors and without, and what is refused."""

import errno
import json
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import h5py
import imageio.v3 as imageio
import numpy as np
import pytest

import tinybvae as tb
from tinybvae.data import readers, storage
from tinybvae.report import figures

sys.path.insert(0, str(Path(__file__).parent.parent / "examples"))
from evaluate import main as evaluate  # noqa: E402
from explore import main as explore  # noqa: E402
from train_dsprites import main as train  # noqa: E402

RNG = np.random.default_rng(0)
FORMS = {  # pixels of 0 and 1, or in grays: {name: (as the file holds them, as they are)}
    "bits": (a := RNG.integers(0, 2, (7, 16, 32), np.uint8), a),
    "bool": (a.astype(bool), a),
    "int64": (a.astype(np.int64), a),
    "0 and 255": (a * 255, a),
    "float64 bits": (a.astype(np.float64), a),
    "columns first": (np.asfortranarray(a), a),
    "odd": (a[:, :5, :3], a[:, :5, :3]),
    "gray": (g := RNG.integers(0, 256, (7, 16, 32, 3), np.uint8), g / 255),
    "big-endian": (g.astype(">i4"), g / 255),
    "float16": (f := RNG.random((7, 16, 16, 1)).astype(np.float16), f),
    "float64": (f := RNG.random((7, 16, 16)), f),
    "gray, columns first": (np.asfortranarray(f), f),
    "gray at last": (np.concatenate([a[:6] * 255, a[6:] * 254]), np.concatenate([a[:6], a[6:] * (254 / 255)])),
    "black": (a * 0, a * 0),
}


def write(path, imgs, classes=None, names=None):
    arrays = {"imgs": imgs, "latents_classes": classes, "factor_names": names}
    arrays = {name: array for name, array in arrays.items() if array is not None}
    if path.suffix == ".npz":
        np.savez_compressed(path, **arrays)
    else:
        with h5py.File(path, "w") as file:
            for name, array in arrays.items():
                file[name.replace("latents_", "latents/")] = array
    return path


@pytest.mark.parametrize("name", ["own.npz", "own.hdf5"])
@pytest.mark.parametrize("form", FORMS)
def test_forms(tmp_path, monkeypatch, name, form):
    stored, pixels = FORMS[form]
    monkeypatch.setattr(readers, "BLOCK", 3 * stored[0].nbytes)  # blocks of three images, of two and of one
    data = tb.load_data(write(tmp_path / name, stored))
    want = pixels.reshape(*pixels.shape[:3], -1)
    assert isinstance(data, tb.Images) and len(data) == 7 and data.image_shape == want.shape[1:]
    index = np.array([3, 3, 6, 0])
    found = data.images(index)
    assert found.dtype == np.float32 and data.images([]).shape == (0, *want.shape[1:])
    np.testing.assert_allclose(found, want[index], atol=1e-7)
    assert data.binary == (form not in ("gray", "big-endian", "float16", "float64", "gray, columns first",
                                        "gray at last"))
    assert data.factor_names == () and data.classes(index).shape == (4, 0)
    for wrong in ([7], [-1], [.5], [[0]], 0):
        with pytest.raises(ValueError, match="^index must "):
            data.images(wrong)


@pytest.mark.parametrize("name", ["own.npz", "own.hdf5"])
def test_factors(tmp_path, name):
    imgs, _ = FORMS["bits"]
    classes = np.asfortranarray(RNG.integers(0, [4, 2], (7, 2)).astype(np.int16))
    data = tb.load_data(write(tmp_path / name, imgs, classes))
    assert data.factor_names == ("factor_0", "factor_1") and data.factor_sizes == tuple(classes.max(axis=0) + 1)
    np.testing.assert_array_equal(data.classes([6, 1]), classes[[6, 1]])
    classes = np.array([[255, 0], [0, 1]] + 5 * [[1, 1]], np.uint8)
    assert tb.load_data(write(tmp_path / name, imgs, classes)).factor_sizes == (256, 2)
    names = np.array(["age", "größe"], object if name.endswith("hdf5") else None)
    assert tb.load_data(write(tmp_path / name, imgs, classes, names)).factor_names == ("age", "größe")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_grays_in_other_processes(tmp_path):
    """Forked ones have a file's position in common; one that is started anew is sent the path."""
    shades = np.arange(2000, dtype=np.uint8) % 251
    data = tb.load_data(write(tmp_path / "own.npz", np.broadcast_to(shades[:, None, None], (2000, 8, 8))))

    def right(seed):
        index = np.random.default_rng(seed).integers(len(data), size=(300, 16))
        return all(np.allclose(data.images(rows) * 255, shades[rows, None, None, None]) for rows in index)

    child = os.fork()
    if not child:
        try:
            os._exit(0 if right(1) else 1)
        finally:
            os._exit(2)
    assert right(2) and os.waitpid(child, 0)[1] == 0
    sent = pickle.loads(pickle.dumps(data))
    np.testing.assert_array_equal(sent.images([7, 1999]), data.images([7, 1999]))


def test_deepminds_layout_is_dsprites_unless_named(tmp_path):
    sprites, index = tb.DSprites(), np.arange(0, 700_000, 10_000)
    imgs, classes = sprites.images(index)[..., 0] > 0, np.insert(sprites.classes(index), 0, 0, axis=1)
    data = tb.load_data(write(tmp_path / "a.npz", np.asfortranarray(imgs), classes))
    assert isinstance(data, tb.DSprites) and data.index(data.classes([5])) == [5]
    names = ["colour", *sprites.factor_names]
    assert isinstance(tb.load_data(write(tmp_path / "a.npz", imgs, classes, names)), tb.Images)
    with pytest.raises(ValueError, match="a.npz: not DeepMind's dsprites: it holds no latents/classes"):
        tb.DSprites(write(tmp_path / "a.npz", imgs))
    ten = tb.load_data(write(tmp_path / "a.npz", np.tile(imgs, (10, 1, 1)), np.tile(classes, (10, 1))))
    assert isinstance(ten, tb.DSprites) and len(ten) == 700


def test_a_file_that_another_process_writes(tmp_path):
    path = write(tmp_path / "own.hdf5", FORMS["bits"][0])
    hold = "import h5py, sys, time; file = h5py.File(sys.argv[1], 'r+'); print(1, flush=True); time.sleep(99)"
    with subprocess.Popen([sys.executable, "-c", hold, str(path)], stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        try:
            assert len(tb.load_data(path)) == 7
        finally:
            process.kill()


WRONG = {
    r"pixels must lie in 0 … 1 if they are float64; image 5": [np.linspace([[.5]] * 16, [[1.2]] * 16, 7)[..., None]],
    r"if they are float64; image 0 has": [np.full((7, 16, 16), np.nan)],
    r"pixels must lie in 0 … 255 if they are int32; image 0": [np.full((7, 16, 16), 256, np.int32)],
    r"imgs must be numbers .* of \(7, 16\)": [np.zeros((7, 16))],
    r"imgs must be numbers .* of \(0, 16, 16\)": [np.zeros((0, 16, 16))],
    r"not complex128 of": [np.zeros((7, 16, 16), complex)],
    r"1 channel or 3, which come last, not 32: transpose them to \(N, height": [np.zeros((7, 3, 16, 32), np.uint8)],
    r"not 4: leave out the alpha channel": [np.zeros((7, 16, 16, 4), np.uint8)],
    r"not 5: they are \(7, 16, 16, 5\)": [np.zeros((7, 16, 16, 5), np.uint8)],
    r"classes must be integers of shape \(7, K\), not float64": [a, np.zeros((7, 2))],
    r"classes must be .* of \(6, 2\)": [a, np.zeros((6, 2), int)],
    r"classes must be at least 0": [a, np.full((7, 2), -1)],
    r"factor_names must be 2 different ones, one for each column of the classes, not x, y, z": [
        a, np.zeros((7, 2), int), ["x", "y", "z"]],
    r"factor_names must be 2 different ones, .* not x, x": [a, np.zeros((7, 2), int), ["x", "x"]],
}


@pytest.mark.parametrize("name", ["own.npz", "own.hdf5"])
@pytest.mark.parametrize("message", WRONG)
def test_what_is_refused(tmp_path, name, message):
    with pytest.raises(ValueError, match=f"{name}: .*{message}"):
        tb.load_data(write(tmp_path / name, *WRONG[message]))


@pytest.mark.parametrize("opened", [tb.Images, tb.load_data])
def test_images_that_are_in_no_file(opened):
    with pytest.raises(TypeError, match="^expected str, .* not ndarray$"):
        opened(np.zeros((7, 16, 16)))


@pytest.mark.parametrize("classes", [None, RNG.integers(2, size=(400, 2))], ids=["no factors", "factors"])
def test_they_train(tmp_path, call, classes):
    pixels = RNG.integers(0, 256, (400, 16, 32, 3), np.uint8)
    path, out = write(tmp_path / "own.npz", pixels, classes), tmp_path / "run"
    status, text, _ = call(train, "--data", path, "--out", out, "--steps", 3, "--batch-size", 5, "--latents", 2)
    page, measured = (out / "report.html").read_text(encoding="utf-8"), json.loads((out / "metrics.json").read_text())
    scored = classes is not None
    assert status == 0 and (measured["mig"] is not None) == bool(measured["scores"]) == ("FactorVAE" in text) == scored
    assert not (out / "orientation.png").exists() and "ellipse" not in page and "Orientation" not in page
    for said in (text, page):
        assert ("no factor varies, or none is known" in said) == (not scored)
    assert {latent["factor"] for latent in measured["latents"]} <= (
        {"factor_0", "factor_1", "mixed", "unused"} if scored else {"used", "unused"})
    assert imageio.imread(out / "z0.gif")[0, :32, 2:66].std(axis=2).max() > 1  # in colour
    run = tb.load(out / "checkpoint.h5")
    assert run.model.image_shape == (16, 32, 3) and len(run.history) == 1


def test_they_are_looked_at(tmp_path, call, no_films):
    """And factors that do not vary are none."""
    path, file = write(tmp_path / "own.npz", FORMS["gray"][0], np.zeros((7, 2), int)), tmp_path / "checkpoint.h5"
    tb.save(tb.Run(tb.BetaVAE(2, image_shape=(16, 32, 3)), None, RNG), file)
    status, text, _ = call(evaluate, file, "--data", path)
    assert status == 0 and "no factor varies" in text and "MIG" not in text
    status, text, _ = call(explore, file, "--data", path, "--out", tmp_path / "explored")
    assert status == 0 and "report.html" in text and (tmp_path / "explored/z1.gif").exists()


def test_data_that_does_not_fit(tmp_path, refusal):
    path = write(tmp_path / "own.npz", FORMS["gray"][0])
    assert "at most the data set's 7 images" in refusal(train, "--data", path, "--out", tmp_path / "run")
    small = write(tmp_path / "small.npz", FORMS["odd"][0])
    assert "must be multiples of 16, not 5×3" in refusal(train, "--data", small, "--out", tmp_path / "run",
                                                         "--batch-size", 5)
    assert not (tmp_path / "run").exists()


def test_hdf5_that_ends_the_process_which_reads_it(tmp_path, monkeypatch):
    path = write(tmp_path / "own.hdf5", FORMS["bits"][0])
    monkeypatch.setattr(readers, "READ_ALL", "import os; os.abort()")
    with pytest.raises(ValueError, match="own.hdf5: .*HDF5 does not survive reading it"):
        tb.load_data(path)


@pytest.mark.parametrize("how", ["r", "r+"])
def test_hdf5_that_is_open_in_this_process(tmp_path, how):
    path = write(tmp_path / "own.hdf5", FORMS["bits"][0])
    with h5py.File(path, how), pytest.raises(ValueError, match="own.hdf5: it is open in this process: close it first"):
        tb.load_data(path)
    imgs = h5py.File(path, how)["imgs"]  # the file has no name of its own any more
    with pytest.raises(ValueError, match="own.hdf5: it is open in this process: close it first"):
        tb.load_data(path)
    del imgs
    assert len(tb.load_data(path)) == 7


@pytest.mark.parametrize("name", ["imgs", "latents/classes", "latents_classes"])
def test_hdf5_whose_numbers_are_not_there(tmp_path, name):
    """HDF5 would have zeros for them."""
    whole, path = write(tmp_path / "whole.hdf5", FORMS["bits"][0], np.ones((7, 2), int)), tmp_path / "own.hdf5"
    with h5py.File(whole) as file:
        arrays = {"imgs": file["imgs"][()], "latents/classes": file["latents/classes"][()]}
    elsewhere = h5py.VirtualLayout((7, 2), int)
    elsewhere[:] = h5py.VirtualSource(str(tmp_path / "gone.hdf5"), "classes", (7, 2))
    for how, message in ({"chunks": (1, *arrays.get(name, np.ones((7, 2))).shape[1:])}, "has 0 chunks of 7"), (
            {}, "was never written"), (None, "is in other files, and HDF5 does not say if one is gone"):
        with h5py.File(path, "w") as file:
            for other in arrays.keys() - {name, name.replace("_", "/")}:
                file[other] = arrays[other]
            if how is None:
                file.create_virtual_dataset(name, elsewhere)
            else:
                file.create_dataset(name, arrays.get(name, np.ones((7, 2))).shape, np.int64, **how)
        if name == "imgs" and how is None:
            continue
        with pytest.raises(ValueError, match=f"own.hdf5: .*{name.replace('_', '/')} {message}"):
            tb.load_data(path)


def test_hdf5_with_the_names_of_npz(tmp_path):
    with h5py.File(tmp_path / "own.hdf5", "w") as file:
        file["imgs"], file["latents_classes"] = FORMS["bits"][0], np.arange(7)[:, None]
    assert tb.load_data(tmp_path / "own.hdf5").factor_sizes == (7,)


def test_hdf5_that_is_open_by_a_relative_path(tmp_path, monkeypatch):
    path = write(tmp_path / "own.hdf5", FORMS["bits"][0])
    monkeypatch.chdir(tmp_path)
    with h5py.File("own.hdf5"):
        monkeypatch.chdir("/")
        with pytest.raises(ValueError, match="own.hdf5: it is open in this process: close it first"):
            tb.load_data(path)


@pytest.mark.parametrize("executable, message", [
    (None, "no Python could be started at sys.executable, None,"),
    ("/none/python", "no Python could be started at sys.executable, '/none/python'.*No such file"),
    (__file__, "no Python could be started at sys.executable.*Permission denied"),
    (shutil.which("true"), "did not start with .*true': exit status 0")])
def test_no_interpreter_to_look_for_damage(tmp_path, monkeypatch, executable, message):
    """The file may be whole: it is not called damaged."""
    path = write(tmp_path / "own.hdf5", FORMS["bits"][0])
    monkeypatch.setattr(sys, "executable", executable)
    with pytest.raises(OSError, match=message):
        tb.load_data(path)


@pytest.mark.parametrize("number", [errno.ENOENT, errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("form", ["gray", "columns first"])
def test_no_room_for_grays(tmp_path, monkeypatch, form, number):
    """No temporary folder, no space or a quota: neither is the file's fault."""
    def none():
        raise OSError(number, os.strerror(number))

    path = write(tmp_path / "own.npz", FORMS[form][0])
    monkeypatch.setattr(storage.tempfile, "TemporaryFile", none)
    with pytest.raises(OSError, match=os.strerror(number)) as error:
        tb.load_data(path)
    assert "damaged" not in str(error.value)


def test_channels_that_cannot_be_drawn(tmp_path):
    model = tb.BetaVAE(2, image_shape=(16, 16, 4))
    with pytest.raises(ValueError, match="1 channel or 3, not 4"):
        tb.write_report(tb.Run(model, None, RNG), None, tmp_path, "")
    with pytest.raises(ValueError, match="pictures have 1 channel or 3, not 4"):
        figures.traversal_gif(model, np.zeros(2), [0])
    with pytest.raises(ValueError, match="pictures have 1 channel or 3, not 2"):
        figures.mosaic(np.zeros((1, 1, 8, 8, 2)))


@pytest.mark.parametrize("form", ["bits", "0 and 255", "gray", "float64", "gray, columns first"])
def test_images_of_arrays(form):
    """As those of a file; another process gets the same; what happens to the arrays later is nothing to it."""
    given, pixels = FORMS[form]
    given, classes = given.copy(order="K"), np.arange(7)[:, None] // 2
    data = tb.Images.of(given, classes, ["name"])
    given[...], classes[...] = 0, 0
    for one in data, pickle.loads(pickle.dumps(data)):
        np.testing.assert_allclose(one[:], pixels.reshape(7, *one.image_shape), atol=1e-6)
        assert one.factor_names == ("name",) and one.factor_sizes == (4,) and one.classes([6]).tolist() == [[3]]
        assert "Images of arrays: 7 of shape" in repr(one)
    assert tb.Images.of(pixels).factor_names == ()


@pytest.mark.parametrize("given, message", [
    ((5,), "imgs must be numbers"), ((np.full((3, 4, 4), 2.),), "pixels must lie in 0 … 1"),
    ((np.zeros((3, 4, 4)), [0, 1, 2]), r"classes must be integers of shape \(3, K\)"),
    ((np.zeros((3, 4, 4)), [[0]] * 3, ["a", "b"]), "factor_names must be 1"),
    ((np.zeros((3, 1, 4, 4)),), "transpose them")])
def test_arrays_that_are_no_images(given, message):
    with pytest.raises(ValueError, match=message):
        tb.Images.of(*given)
