"""A checkpoint holds all of a run, is written whole or not at all, and is believed only if its digest matches."""

import os
from functools import partial

import h5py
import numpy as np
import pytest

import tinybvae as tb
from tinybvae.runs import checkpoint
from tinybvae.runs.checkpoint import before, newest_of, reinstate
from tinybvae.runs.run import GENERATORS


def small_run(optimizer=tb.Adam, **model):
    model = tb.BetaVAE(3, seed=4, image_shape=(16, 16, 1), **model)
    run = tb.Run(model, optimizer(model.parameters, 1e-3), np.random.default_rng(5), settings={"seed": 4})
    images, noise = run.rng.integers(0, 2, (4, 16, 16, 1)), run.rng.standard_normal((4, 3))
    losses = model.loss_and_gradients(images, noise, tb.beta_objective(), 0)
    run.optimizer.update(model.gradients)
    run.history.append([0, *losses[:3], 0.0, *losses.kl_per_latent.tolist(), 3, *(0 for relu in model.relus), 4., 0.])
    run.step, run.price = 1, 4.0
    run.scores.append({"step": 1, "mig": .25})
    return run


@pytest.mark.parametrize("options", [
    {"negative_slope": .25}, {"dtype": np.float64, "optimizer": tb.Adagrad}])
def test_everything_comes_back(tmp_path, options):
    run, path = small_run(**options), tmp_path / "a.h5"
    tb.save(run, path)
    back = tb.load(path)
    for name, p in run.model.parameters.items():
        assert p.dtype == back.model.parameters[name].dtype and (p == back.model.parameters[name]).all()
    for moment, arrays in run.optimizer.moments.items():
        assert all((array == back.optimizer.moments[moment][name]).all() for name, array in arrays.items())
    assert type(back.optimizer) is type(run.optimizer) and back.optimizer.settings == run.optimizer.settings
    assert (back.optimizer.t, back.step, back.price, back.history) == (1, 1, 4, run.history)
    assert back.settings == {"seed": 4}
    assert back.scores == [{"step": 1, "mig": .25}]
    assert {options.get("negative_slope", 0)} == {back.model.negative_slope} == {
        relu.negative_slope for relu in back.model.relus.values()}
    assert back.optimizer.parameters["encoder.latent.bias"] is back.model.parameters["encoder.latent.bias"]
    assert back.rng.random() == run.rng.random()
    tb.save(tb.load(path), tmp_path / "b.h5")
    assert path.read_bytes() == (tmp_path / "b.h5").read_bytes()


def test_settings_that_json_does_not_have(tmp_path):
    run = small_run()
    run.settings = {"steps": np.int16(3), "rates": np.ones(2, np.float32), "data": tmp_path}
    with pytest.raises(ValueError, match="cannot be stored: JSON has no PosixPath|WindowsPath"):
        tb.save(run, tmp_path / "a.h5")
    run.settings["data"] = str(tmp_path)
    tb.save(run, tmp_path / "a.h5")
    assert tb.load(tmp_path / "a.h5").settings == {"steps": 3, "rates": [1, 1], "data": str(tmp_path)}


def test_load_model(tmp_path):
    run, images = small_run(), np.ones((2, 16, 16, 1))
    tb.save(run, tmp_path / "a.h5")
    model = tb.load_model(tmp_path / "a.h5")
    np.testing.assert_array_equal(model.encode(images), run.model.encode(images))


def test_a_run_without_an_optimizer_is_its_weights(tmp_path):
    run, images = small_run(), np.ones((2, 16, 16, 1))
    tb.save(run, tmp_path / "a.h5")
    run.optimizer = None
    tb.save(run, tmp_path / "b.h5")
    back = tb.load(tmp_path / "b.h5")
    assert back.optimizer is None and back.step == 1 and back.scores == run.scores
    np.testing.assert_array_equal(back.model.encode(images), run.model.encode(images))
    assert (tmp_path / "b.h5").stat().st_size < .5 * (tmp_path / "a.h5").stat().st_size


def test_any_hdf5_tool_reads_it(tmp_path):
    run = small_run()
    tb.save(run, tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5") as file:
        np.testing.assert_array_equal(file["parameters/encoder.conv1.weight"][()],
                                      run.model.parameters["encoder.conv1.weight"])


def test_damage_is_noticed(tmp_path):
    path = tmp_path / "a.h5"
    tb.save(small_run(), path)
    whole, rng = path.read_bytes(), np.random.default_rng(0)
    damaged = [whole[:kept] for kept in (0, 5, 511, 512, 3000, len(whole) - 1)] + [whole + b"\0"]
    for place in (0, 30, 70, 300, 511, 512, *rng.integers(512, len(whole), 20)):
        damaged.append(whole[:place] + bytes([whole[place] ^ 1 << rng.integers(8)]) + whole[place + 1:])
    for data in damaged:
        path.write_bytes(data)
        for read in (tb.load, tb.load_model):
            with pytest.raises(ValueError, match="a.h5: .*(damaged|not a tinybvae checkpoint)"):
                read(path)


def test_files_that_are_no_checkpoints(tmp_path):
    with h5py.File(tmp_path / "foreign.h5", "w") as file:
        file["x"] = 1
    for path in (tmp_path / "foreign.h5", tmp_path / "none.h5", tmp_path):
        with pytest.raises(ValueError, match=f"{path.name}: "):
            tb.load(path)


def own(latents, image_shape, rng, dtype, relu=tb.ReLU):
    """Of higgins2017's parameters, by name and shape, but with ReLUs in the decoder."""
    encoder, decoder = tb.higgins2017(latents, image_shape, rng, dtype)
    decoder.layers.update(tanh1=relu(), tanh2=relu(.3))
    return encoder, decoder


def test_an_architecture_is_known_by_its_layers(tmp_path):
    """Whatever it is called: one of ours is found, another must be given, and nothing else is taken for it."""
    images, path = np.ones((2, 16, 16, 1)), tmp_path / "a.h5"
    for ours in (tb.burgess2018, partial(tb.higgins2017), lambda *arguments: tb.burgess2018(*arguments)):
        run = small_run(architecture=ours)
        tb.save(run, path)
        np.testing.assert_array_equal(tb.load_model(path).encode(images), run.model.encode(images))
    namesake = partial(own)
    for name in "own", "burgess2018", "higgins2017":
        namesake.__name__ = name
        run = small_run(architecture=namesake)
        tb.save(run, path)
        for read in tb.load, tb.load_model:
            with pytest.raises(ValueError, match=f"a.h5: .*made with '{name}', whose layers are not those of "
                                                 "burgess2018 and higgins2017: load it with tb.load.*, architecture="):
                read(path)
            with pytest.raises(ValueError, match="not those of burgess2018 .in encoder: .*: load it with"):
                read(path, tb.burgess2018)
        np.testing.assert_array_equal(tb.load_model(path, own).decode(np.ones((2, 3))),
                                      run.model.decode(np.ones((2, 3))))
    with pytest.raises(ValueError, match="not those of burgess2018"):
        tb.load_model(path, "burgess2018")
    with pytest.raises(ValueError, match="architecture must be one of burgess2018, higgins2017, .* not 'own'"):
        tb.load_model(path, "own")
    tb.save(small_run(), tmp_path / "new/folder/b.h5")  # which is made
    assert tb.load(tmp_path / "new/folder/b.h5", "burgess2018").model.architecture is tb.burgess2018


def test_layers_of_the_same_name_are_others(tmp_path):
    class ReLU(tb.ReLU):
        def forward(self, x):
            return super().forward(x) + 1

    def burgess2018(latents, image_shape, rng, dtype):
        encoder, decoder = tb.burgess2018(latents, image_shape, rng, dtype)
        encoder.layers["relu3"] = ReLU()
        return encoder, decoder

    run, images = small_run(architecture=burgess2018), np.ones((2, 16, 16, 1))
    tb.save(run, tmp_path / "a.h5")
    with pytest.raises(ValueError, match="whose layers are not those of burgess2018 and higgins2017"):
        tb.load(tmp_path / "a.h5")
    back = tb.load_model(tmp_path / "a.h5", burgess2018)
    np.testing.assert_array_equal(back.encode(images), run.model.encode(images))


def test_layers_in_another_order_are_others(tmp_path):
    """Of the same names, kinds and shapes: only their order tells."""
    run = small_run(architecture=tb.higgins2017)
    layers = run.model.decoder.layers
    layers["linear3"], layers["linear2"] = layers.pop("linear3"), layers.pop("linear2")
    tb.save(run, tmp_path / "a.h5")
    with pytest.raises(ValueError, match="whose layers are not those of burgess2018 and higgins2017"):
        tb.load(tmp_path / "a.h5")


def test_a_file_that_does_not_say_its_layers(tmp_path, monkeypatch):
    """As once they did not: its architecture's name holds, or what is given, if the parameters are the same."""
    monkeypatch.setattr(checkpoint, "layers_of", lambda model: None)
    run, path, images = small_run(), tmp_path / "a.h5", np.ones((2, 16, 16, 1))
    tb.save(run, path)
    for architecture in None, tb.burgess2018, lambda *arguments: tb.burgess2018(*arguments):
        np.testing.assert_array_equal(tb.load_model(path, architecture).encode(images), run.model.encode(images))
    with pytest.raises(ValueError, match="not those of higgins2017: load it"):
        tb.load(path, tb.higgins2017)


def test_slopes_that_were_changed_come_back(tmp_path):
    run = small_run()
    run.model.relus["encoder.conv2"].negative_slope = .5
    tb.save(run, tmp_path / "a.h5")
    back = tb.load(tmp_path / "a.h5").model
    assert [relu.negative_slope for relu in back.relus.values()] == [0, .5, *10 * [0]]


class Leaky(tb.ReLU):
    pass


def test_slopes_of_relus_anywhere(tmp_path):
    """In chains within the chain, and of a class of one's own."""
    def nested(latents, shape, rng, dtype):
        return (tb.Sequential(inner=tb.Sequential(flatten=tb.Reshape(256), linear=tb.Linear(256, 4, rng, dtype),
                                                  relu=tb.ReLU()),
                              mine=Leaky(), latent=tb.Linear(4, 2 * latents, rng, dtype)),
                tb.Sequential(first=tb.ReLU(), linear=tb.Linear(latents, 256, rng, dtype), picture=tb.Reshape(*shape)))

    model = tb.BetaVAE(2, image_shape=(16, 16, 1), architecture=nested, negative_slope=.2)
    assert {name: relu.negative_slope for name, relu in model.relus.items()} == {
        "encoder.inner.linear": .2, "encoder.inner.relu": .2, "encoder.latent": .2}
    for i, relu in enumerate(model.relus.values()):
        relu.negative_slope = .1 * i
    tb.save(tb.Run(model, None, np.random.default_rng(0)), tmp_path / "a.h5")
    back = tb.load_model(tmp_path / "a.h5", nested)
    assert [relu.negative_slope for relu in back.relus.values()] == [0, .1, .2]
    images = np.random.default_rng(1).integers(0, 2, (3, 16, 16, 1))
    np.testing.assert_array_equal(back.encode(images), model.encode(images))


def test_settings_of_a_layer_that_json_does_not_have():
    """Refused before the first step, not at the first checkpoint."""
    class Own(tb.Tanh):
        settings = {"by": len}

    run = small_run()
    run.model.decoder.layers["own"] = Own()
    with pytest.raises(ValueError, match="cannot be stored: JSON has no builtin_function_or_method"):
        tb.Run(run.model, run.optimizer, run.rng)


def test_a_checkpoint_that_somebody_has_open(tmp_path):
    """HDF5 marks a file that is open for writing: it is whole until somebody writes."""
    path = tmp_path / "a.h5"
    tb.save(small_run(), path)
    with h5py.File(path, "r+") as file:
        assert newest_of(path) == path and tb.load(path).step == 1
        file.attrs["mine"] = "a note"
        file.flush()
        with pytest.raises(ValueError, match="a.h5: damaged, or somebody is writing into it"):
            tb.load(path)


@pytest.mark.parametrize("generator", GENERATORS)
def test_any_generator_of_numpys_comes_back(tmp_path, generator):
    run = small_run()
    run.rng = np.random.Generator(getattr(np.random, generator)(3))
    run.rng.random(5)
    tb.save(run, tmp_path / "a.h5")
    assert tb.load(tmp_path / "a.h5").rng.random() == run.rng.random()


class Mine(tb.Adam):
    pass


@pytest.mark.parametrize("wrong, message", [
    ({"rng": np.random.RandomState(0)}, "rng must be a seed, or a Generator of NumPy's.*, not of RandomState"),
    ({"rng": None}, "rng must be a seed, or a Generator of NumPy's.*, not of NoneType"),
    ({"optimizer": Mine({})}, "the optimizer must be Adam or Adagrad, as tb.Adam.model.parameters. is, not Mine"),
    ({"settings": {"data": {1, 2}}}, "cannot be stored: JSON has no set"),
    ({"settings": None}, "settings must be a dict, not NoneType"),
    ({"settings": {(1, 2): 3}}, "cannot be stored: keys must be str")])
def test_what_no_checkpoint_could_bring_back_is_refused_at_once(tmp_path, wrong, message):
    run = small_run()
    with pytest.raises(ValueError, match=message):
        tb.Run(**{"model": run.model, "optimizer": run.optimizer, "rng": run.rng, **wrong})
    for name, value in wrong.items():
        setattr(run, name, value)
    with pytest.raises(ValueError, match=message):
        tb.save(run, tmp_path / "a.h5")
    assert not [*tmp_path.iterdir()]


def test_a_long_life(tmp_path):
    """Scores of a thousand evaluations."""
    run = small_run()
    run.scores = [{"step": step, "mig": .1 + step / 3} for step in range(3000)]
    tb.save(run, tmp_path / "a.h5")
    assert tb.load(tmp_path / "a.h5").scores == run.scores


def test_settings_may_hold_numpy_numbers(tmp_path):
    run = small_run(negative_slope=np.float32(.25))
    run.settings, run.scores = {"latents": np.int64(3), "gamma": np.array([[0, 1.5]])}, [{"step": np.int32(1)}]
    tb.save(run, tmp_path / "a.h5")
    back = tb.load(tmp_path / "a.h5")
    assert back.settings == {"latents": 3, "gamma": [[0, 1.5]]} and back.scores == [{"step": 1}]


def test_the_newest_whole_one(tmp_path):
    path, run = tmp_path / "a.h5", small_run()
    assert newest_of(path) is None
    for run.step in (1, 2):
        tb.save(run, path, before(path))
    assert newest_of(path) == path
    path.write_bytes(path.read_bytes()[:-1])
    torn = path.read_bytes()
    assert newest_of(path) == before(path)
    reinstate(path)
    assert tb.load(path).step == 1 and (tmp_path / "a.damaged.h5").read_bytes() == torn
    os.replace(path, before(path))
    assert newest_of(path) == before(path)  # as where files have one name only, between the two renames
    path.write_bytes(torn)
    before(path).write_bytes(torn)
    with pytest.raises(ValueError, match="a.h5: damaged.*; .*a.before.h5: damaged"):
        newest_of(path)


class Own:
    """A likelihood of one's own."""

    nll, picture, least = tb.bernoulli.nll, tb.bernoulli.picture, tb.bernoulli.least

    def __init__(self, by=1):
        self.settings, self.seen = {"by": by}, by  # only settings count


def test_likelihoods_come_back(tmp_path):
    path = tmp_path / "a.h5"
    tb.save(small_run(likelihood=tb.gaussian(.1)), path)
    for back in tb.load_model(path), tb.load(path).model:
        assert repr(back.likelihood) == "gaussian(sigma=0.1)"
    own = Own()
    tb.save(small_run(likelihood=own), path)
    for read in tb.load, tb.load_model:
        with pytest.raises(ValueError, match=r"a.h5: its likelihood is own Own .\"by\": 1.: load it with tb.load.*, "
                                             "likelihood="):
            read(path)
        for wrong, text in (Own(.5), r"own Own .\"by\": 0.5."), (tb.bernoulli, "bernoulli"), (Own, "a class"):
            with pytest.raises(ValueError, match=f"a.h5: its likelihood is own Own .\\\"by\\\": 1., not {text}"):
                read(path, likelihood=wrong)
    assert tb.load_model(path, likelihood=own).likelihood is own


def test_what_a_run_says_at_a_prompt():
    text = repr(small_run())
    assert text.startswith("Run at step 1, of Adam(learning_rate=") and "BetaVAE of 3 latents" in text
    assert len(text) < 4000 and "history" not in text
