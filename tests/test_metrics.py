"""The metrics on codes whose scores are known."""

import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import tinybvae as tb
from tinybvae import metrics
from tinybvae.report import describe

SIZES = (3, 6, 8)
CLASSES = np.stack(np.unravel_index(np.arange(3 * 6 * 8).repeat(10), SIZES), axis=1)  # every combination, ten times


N = 6000
DRAWN = np.random.default_rng(0).integers(SIZES, size=(N, 3))  # factors drawn at random, as from a data set
BINARY = np.random.default_rng(2).integers(2, size=(N, 3))
NOISE = np.random.default_rng(1).standard_normal((N, 4))


def rotated(classes):
    """The last two of three factors, turned by 45°."""
    a, b, c = (classes / np.array(SIZES)).T
    return np.stack([a, b + c, b - c], axis=1)


def mig(codes):
    return metrics.mutual_information_gap(metrics.known_shares(codes, CLASSES))


def test_entropy():
    assert metrics.entropy(np.array([2, 0, 1, 0, 2, 1])) == pytest.approx(np.log(3))
    assert metrics.entropy(np.array([5, 5, 5])) == 0
    assert metrics.entropy(np.array([[0, 0], [0, 1], [0, 0], [0, 1]])) == pytest.approx(np.log(2))


def test_mutual_information_is_its_definition():
    """Σ p(a, b) log p(a, b) / (p(a) p(b)), from the table of joint frequencies."""
    rng = np.random.default_rng(0)
    joint = rng.integers(1, 9, (4, 3))
    a, b = np.repeat(np.indices(joint.shape).reshape(2, -1), joint.reshape(-1), axis=1)
    p = joint / joint.sum()
    wanted = (p * np.log(p / (p.sum(axis=1, keepdims=True) * p.sum(axis=0)))).sum()
    have = metrics.mutual_information(a[:, None].astype(float), b[:, None])
    assert have.shape == (1, 1) and have[0, 0] == pytest.approx(wanted, rel=1e-12)


def test_bins_are_twenty_of_equal_width():
    codes = np.array([[0.], [.04], [.06], [.94], [.96], [1.]])  # the first bin ends at .05, the last begins at .95
    labels = np.arange(6)[:, None]
    assert metrics.mutual_information(codes, labels)[0, 0] == pytest.approx(
        metrics.entropy(np.array([0, 0, 1, 18, 19, 19])))


def test_mig_of_perfect_codes_is_1():
    codes = CLASSES * (1., -2., .5) + 3
    assert mig(codes) == pytest.approx(1)
    assert mig(codes[:, [2, 0, 1]]) == pytest.approx(1)
    assert mig(np.hstack([codes, np.zeros((len(codes), 2))])) == pytest.approx(1)


def test_mig_and_sap_of_the_factors_of_dsprites_are_not_1():
    sprites = tb.DSprites()
    classes = sprites.classes(np.random.default_rng(0).integers(len(sprites), size=5000))
    assert mig(CLASSES * 1.) == pytest.approx(1)  # of few classes; in 20 bins, of 40 and of 32:
    of_dsprites = metrics.mutual_information_gap(metrics.known_shares(classes * 1., classes))
    assert of_dsprites == pytest.approx((1 + 1 + np.log(20) / np.log(40) + 2 * np.log(20) / np.log(32)) / 5, abs=.05)
    assert metrics.separated_predictability(classes * 1., classes) < .5


def test_mig_of_duplicated_codes_is_0():
    assert mig(np.hstack([CLASSES, CLASSES]).astype(float)) == pytest.approx(0)


def test_mig_of_codes_that_know_nothing_is_0():
    assert mig(np.ones((len(CLASSES), 4))) == 0
    noise = np.random.default_rng(0).standard_normal((len(CLASSES), 4))
    assert mig(noise) < .03


def test_mig_of_rotated_codes_is_low():
    codes = CLASSES / np.array(SIZES)
    rotated = np.stack([codes[:, 1] + codes[:, 2], codes[:, 1] - codes[:, 2]], axis=1)
    assert mig(rotated) < .1 < .6 < mig(codes[:, 1:])


def test_a_constant_factor_is_not_counted_as_known():
    classes = np.stack([CLASSES[:, 0], np.zeros(len(CLASSES), int)], axis=1)
    np.testing.assert_allclose(metrics.known_shares(CLASSES[:, :1].astype(float), classes), [[1, np.nan]])


PERFECT = DRAWN * (1., -2., .5) + 3


@pytest.mark.parametrize("score", [metrics.factor_vae_score, metrics.beta_vae_score])
def test_votes(score):
    """Shared factors are found in perfect codes, two of three in rotated ones, by guessing in useless ones."""
    perfect, guessed = score(PERFECT, DRAWN), score(NOISE, DRAWN)
    assert perfect > .99 and .3 < guessed < .37
    assert score(np.hstack([PERFECT[:, [2, 0, 1]], np.zeros((N, 1)), PERFECT * 1e-3]), DRAWN) > .99
    assert .6 < score(rotated(DRAWN), DRAWN) < .75  # 1/3, and half of the other two
    assert score(PERFECT, DRAWN, seed=1) > .99
    assert score(NOISE, DRAWN) == guessed != score(NOISE, DRAWN, seed=1)


def test_votes_of_constant_codes():
    constant = np.full((N, 4), .1, np.float32)
    assert metrics.factor_vae_score(constant, DRAWN) == 0
    assert .3 < metrics.beta_vae_score(constant, DRAWN) < .37


def test_factor_vae_votes_are_relative_and_only_of_active_latents():
    """The least variance counts after division by the latent's own, and none of a latent that hardly moves."""
    codes = np.hstack([PERFECT * (100, 1, .2), 1e-3 * NOISE])
    assert metrics.factor_vae_score(codes, DRAWN) > .99


def test_beta_vae_pairs_need_not_share_their_value():
    """A factor of two classes that both occur among the pairs: only within a pair is it the same."""
    assert metrics.beta_vae_score(BINARY.astype(float), BINARY) > .99


def test_sap():
    binary = BINARY * (1., -2., .5) + 3
    assert metrics.separated_predictability(binary, BINARY) == pytest.approx(.5, abs=.02)  # 1 against guessing
    assert metrics.separated_predictability(binary[:, [2, 0, 1]], BINARY) == pytest.approx(.5, abs=.02)
    assert metrics.separated_predictability(np.hstack([binary, binary]), BINARY) == 0
    assert metrics.separated_predictability(np.ones((N, 4)), BINARY) == 0
    assert metrics.separated_predictability(NOISE, BINARY) < .02
    turned = np.stack([binary[:, 0], BINARY[:, 1] + BINARY[:, 2], BINARY[:, 1] - BINARY[:, 2]], axis=1)
    assert metrics.separated_predictability(turned, BINARY) < .2
    assert metrics.separated_predictability(BINARY[:, :1].astype(float), BINARY[:, :1]) == 1  # and a constant scores 0


def test_dci():
    perfect, turned, useless = (metrics.dci(codes, DRAWN) for codes in (PERFECT, rotated(DRAWN), NOISE))
    for part in ("disentanglement", "completeness"):
        assert perfect[part] > .95 and .4 < turned[part] < .7 and useless[part] < .05
    assert perfect["informativeness"] > .98 and useless["informativeness"] < .3  # guessing: .21
    assert perfect["importance"].argmax(axis=0).tolist() == [0, 1, 2]
    np.testing.assert_allclose(perfect["importance"].sum(axis=0), 1)


def test_dci_of_duplicated_permuted_and_constant_codes():
    twice = metrics.dci(np.hstack([PERFECT[:, [2, 0, 1]], PERFECT]), DRAWN)
    assert twice["disentanglement"] > .95  # each latent is about one factor,
    assert twice["completeness"] == pytest.approx(1 - np.log(2) / np.log(6), abs=.05)  # but two latents share each
    constant = metrics.dci(np.ones((N, 3)), DRAWN)
    assert constant["disentanglement"] == constant["completeness"] == 0 and constant["informativeness"] < .3


def test_scores_are_those_of_the_functions():
    codes, classes = NOISE[:2000], DRAWN[:2000]
    assert metrics.scores(codes, classes) == {
        "mig": metrics.mutual_information_gap(metrics.known_shares(codes, classes)),
        "factor_vae": metrics.factor_vae_score(codes, classes), "beta_vae": metrics.beta_vae_score(codes, classes),
        "sap": metrics.separated_predictability(codes, classes), "dci": metrics.dci(codes, classes)["disentanglement"]}


def test_names():
    shares = np.array([[.02, .7, .0], [.05, .02, .09], [.9, .1, .1], [.5, .1, .4]])
    names = metrics.name_latents(shares, kl=[2., 1., .001, 1.], factor_names=("shape", "scale", "x"))
    assert names == [("scale", .7), ("mixed", .09), ("unused", .9), ("mixed", .5)]


def test_units_off():
    """Units whose bias no image can outweigh; the others of the layer live, and other layers are untouched."""
    model = tb.BetaVAE(3, seed=0)
    model.parameters["encoder.conv2.bias"][[3, 30]] = -1e6
    model.parameters["decoder.linear1.bias"][:7] = -1e6
    counts = metrics.units_off(model, tb.DSprites(), samples=60)
    assert counts["encoder.conv2"] == [2, 32] and counts["decoder.linear1"] == [7, 256]
    assert [*counts] == [f"encoder.{name}" for name in ("conv1", "conv2", "conv3", "conv4", "linear1", "linear2")] + [
        f"decoder.{name}" for name in ("linear1", "linear2", "linear3", "conv1", "conv2", "conv3")]
    assert counts["encoder.conv4"][0] == counts["decoder.conv3"][0] == 0


def test_encode_samples():
    sprites, model = tb.DSprites(), tb.BetaVAE(3, seed=0)
    classes, mean, logvar = metrics.encode_samples(model, sprites, samples=30, batch_size=20)
    assert classes.shape == (30, 5) and mean.shape == logvar.shape == (30, 3)
    for have, want in zip((mean, logvar), model.encode(sprites.images(sprites.index(classes)))):
        np.testing.assert_allclose(have, want, rtol=1e-4, atol=1e-5)


def test_factors_that_do_not_vary_count_in_no_score():
    codes = np.hstack([PERFECT[:, [2, 0, 1]], NOISE[:, :1]])
    with_constants = np.insert(DRAWN, [0, 2], 3, axis=1)  # two columns of 3
    assert metrics.counted(with_constants).tolist() == [False, True, True, False, True]
    assert metrics.scores(codes, with_constants) == metrics.scores(codes, DRAWN)
    both = metrics.dci(codes, with_constants), metrics.dci(codes, DRAWN)
    assert both[0]["completeness"] == both[1]["completeness"]
    assert both[0]["informativeness"] == both[1]["informativeness"]
    np.testing.assert_array_equal(both[0]["importance"], np.insert(both[1]["importance"], [0, 2], 0, axis=1))
    shares = metrics.known_shares(codes, with_constants)
    assert np.isnan(shares[:, [0, 3]]).all()
    assert np.isnan(metrics.explained(codes, with_constants)[:, [0, 3]]).all()
    for score in metrics.scores, metrics.factor_vae_score, metrics.beta_vae_score, metrics.dci:
        with pytest.raises(ValueError, match="no factor varies"):
            score(codes, np.ones((N, 3), int))


@pytest.mark.parametrize("codes, classes, message", [
    (PERFECT, DRAWN + .5, "classes must be integers, not float64"),
    (PERFECT, DRAWN[:-1], r"codes must be \(N, D\) and classes \(N, K\), of N ≥ 1 samples, "
                          r"not \(6000, 3\) and \(5999, 3\)"),
    (PERFECT[:, 0], DRAWN, r"not \(6000,\) and"),
    (PERFECT, DRAWN[:, 0], r"and \(6000,\)"),
    (PERFECT[:0], DRAWN[:0], "of N ≥ 1 samples"),
    (np.where(PERFECT > 0, np.nan, PERFECT), DRAWN, "codes must be finite real numbers"),
], ids=["real classes", "fewer classes", "one code", "one factor", "no samples", "NaN"])
def test_samples_that_do_not_fit(codes, classes, message):
    for score in (metrics.mutual_information, metrics.known_shares, metrics.scores, metrics.factor_vae_score,
                  metrics.beta_vae_score, metrics.separated_predictability, metrics.dci):
        with pytest.raises(ValueError, match=message):
            score(codes, classes)


def test_a_latent_that_all_but_does_not_vary_knows_nothing():
    """Its values differ in the last bit, between which there is no room for bins."""
    for kind in np.float32, np.float64:
        z = np.where(NOISE[:, :1] > 0, 1, np.nextafter(kind(1), kind(2))).astype(kind)
        shares = metrics.known_shares(np.hstack([z, PERFECT[:, :1].astype(kind)]), DRAWN)
        assert shares[0].max() < .01 and shares[1, 0] == pytest.approx(1)


def test_what_does_not_fit_together():
    shares = metrics.known_shares(PERFECT, DRAWN)
    for kl, names in (([1, 1], "abc"), ([1, 1, 1], "ab")):
        with pytest.raises(ValueError, match=r"^shares must be \(D, K\), of [23] latents and [23] factors"):
            metrics.name_latents(shares, kl, names)
    with pytest.raises(ValueError, match="^shares must be"):
        metrics.mutual_information_gap(shares[0])


def test_data_that_are_drawn_by_another_thread():
    """Whose kernels wait for the lock: nobody may hold it and wait for the data."""
    class Ahead(Own):
        def images(self, index):
            with ThreadPoolExecutor(1) as thread:
                return thread.submit(lambda: tb.DSprites().images(index)).result(timeout=60)

    assert len(metrics.units_off(tb.BetaVAE(2), Ahead(DRAWN), samples=30)) == 12


class Own:
    """The least that a data set needs, three factors, and what it says of their classes."""

    factor_names, factor_sizes = ("a", "b", "c"), SIZES

    def __init__(self, classes):
        self.classes = lambda index: classes[index]

    def __len__(self):
        return 3000

    def images(self, index):
        return np.random.default_rng(0).integers(0, 2, (len(index), 16, 16, 1))


@pytest.mark.parametrize("classes, message", [
    (DRAWN / 2, r"classes must be integers of shape \(3000, 3\), a column for each of a, b, c, not float64"),
    (DRAWN[:, :2], r"not int64 of \(3000, 2\)"),
    (DRAWN * 2, r"classes must lie in 0 … size − 1, sizes \(3, 6, 8\)"), (-DRAWN, "classes must lie in")])
def test_classes_that_are_not_as_the_data_says(classes, message):
    model = tb.BetaVAE(2, image_shape=(16, 16, 1))
    for use in metrics.evaluate, metrics.encode_samples:
        with pytest.raises(ValueError, match=message):
            use(model, Own(classes))
    with pytest.raises(ValueError, match=message):
        metrics.constant_factors(Own(classes))


def test_data_without_factors(monkeypatch):
    model, data = tb.BetaVAE(2, image_shape=(16, 16, 1)), Own(DRAWN)
    monkeypatch.delattr(Own, "factor_names")
    assert metrics.evaluate(model, data) == {} and metrics.constant_factors(data) == []
    shares = metrics.known_shares(NOISE, np.zeros((N, 0), int))
    assert shares.shape == (4, 0)
    assert metrics.name_latents(shares, [1, 0, 1, 1], ()) == [("used", 0), ("unused", 0), ("used", 0), ("used", 0)]
    monkeypatch.setattr(Own, "factor_names", None, raising=False)
    measured = describe(tb.Run(model, None, np.random.default_rng(0)), data)
    assert measured["mig"] is None and measured["shares"] == {} and measured["constant_factors"] == []


def test_a_report_of_ones_own_data(tmp_path):
    """Any object with images, classes and factor_names will do, and no sizes."""
    model = tb.BetaVAE(2, image_shape=(16, 16, 1))
    run = tb.Run(model, None, np.random.default_rng(0))
    measured = tb.write_report(run, Own(DRAWN), tmp_path, "mine")
    assert {*measured["shares"]} == {"a", "b", "c"} and measured["mig"] < .1
    assert all(latent["shape"] is None for latent in measured["latents"])
    assert f"MIG {measured['mig']:.3f}" in (tmp_path / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("size, sizes", [(60, (2, 2)), (200, (2,)), (300, (2, 10)), (1200, (40, 2))])
def test_noise_in_small_sets_knows_nothing(size, sizes):
    """No latent is named after a factor, and no score is better than chance: images are held out, not samples."""
    votes = []
    for seed in range(2):
        rng = np.random.default_rng(seed)
        codes, classes = rng.standard_normal((size, 40)), rng.integers(sizes, size=(size, len(sizes)))
        names = metrics.name_latents(metrics.explained(codes, classes), np.ones(40), [*map(str, sizes)])
        assert {name for name, _ in names} <= {"mixed", "used"}
        found, chance = metrics.scores(codes, classes), 1 / len(sizes)
        assert found.get("mig", 0) < .03 and found["sap"] < .2 and found.get("dci", 0) < .05, found
        votes.append([found.get(name, chance) - chance for name in ("factor_vae", "beta_vae")])
        assert found.keys() == {"sap"} | ({"mig"} if size >= metrics.needed(classes).min() else set()) | (
            {"factor_vae", "beta_vae", "dci"} if len(sizes) > 1 else set())
    assert (np.abs(np.mean(votes, axis=0)) < .25).all()
    guess = np.mean([(np.bincount(c) / size).max() for c in classes.T])
    assert metrics.dci(codes, classes)["informativeness"] < guess + .2


@pytest.mark.parametrize("size, sizes", [(60, (2, 2)), (120, (3, 4)), (500, (5, 3, 4))])
def test_exact_codes_of_small_sets_are_found(size, sizes):
    """In whatever order they come."""
    for seed in range(2):
        rng = np.random.default_rng(seed)
        classes = rng.integers(sizes, size=(size, len(sizes)))
        if seed == 1:
            classes = classes[np.lexsort(classes.T)]
        found = metrics.scores(np.hstack([classes * 1., rng.standard_normal((size, 3))]), classes)
        assert found["factor_vae"] > .75 and found["beta_vae"] > .98 and found["dci"] > .6, found
        assert found["sap"] > .1 and found.get("mig", 1) > .9


@pytest.mark.parametrize("size, rare", [(500, .06), (1000, .02), (2000, .01), (5000, .005)])
def test_rare_labels(size, rare):
    """Exact codes are found, noise is not; or there are too few, and this is said."""
    for seed in range(4):
        rng = np.random.default_rng(seed)
        classes = (rng.random((size, 2)) < rare).astype(int)
        if not (classes.sum(axis=0) >= metrics.RARE).all():
            assert "not of the most frequent one" in metrics.notes(classes, "ab")[0]
            continue
        noise = rng.standard_normal((size, 5))
        assert metrics.dci(np.hstack([classes * 1., noise]), classes)["disentanglement"] > .6
        assert metrics.dci(noise, classes)["disentanglement"] == 0


def test_too_few_images():
    codes, classes = PERFECT[:59], DRAWN[:59]
    assert metrics.notes(classes, "abc") == ["59 images are too few: there are no scores of fewer than 60"]
    for score in (metrics.scores, metrics.factor_vae_score, metrics.beta_vae_score, metrics.separated_predictability,
                  metrics.dci):
        with pytest.raises(ValueError, match="59 images are too few"):
            score(codes, classes)
    assert np.isnan(metrics.known_shares(codes, classes)).all()


def test_only_one_factor_that_counts():
    """Which of one factors it is, any code tells."""
    classes = np.insert(BINARY[:, :1], 1, 0, axis=1)
    assert metrics.scores(NOISE, classes).keys() == {"mig", "sap"}
    assert metrics.notes(classes, "ab") == ["do not vary here, and count in no score: b", metrics.ONE_FACTOR]
    for score in metrics.factor_vae_score, metrics.beta_vae_score:
        with pytest.raises(ValueError, match="only one factor counts"):
            score(NOISE, classes)
    assert np.isnan(metrics.dci(NOISE, classes)["disentanglement"])


def test_a_factor_of_thousands_of_classes():
    """Identities: too few images of each. And what asks linear SVMs needs no more memory than there are samples."""
    rng = np.random.default_rng(0)
    identity = rng.integers(3000, size=N)
    classes = np.stack([DRAWN[:, 0], identity, DRAWN[:, 1]], axis=1)
    line, = metrics.notes(classes, ("shape", "identity", "scale"))
    assert line == (f"of the {N} images, have fewer than 30 a class, or 20 that are not of the most frequent one, and "
                    f"count in no score: identity")
    assert metrics.scores(PERFECT, classes) == metrics.scores(PERFECT, DRAWN[:, :2])
    assert np.isnan(metrics.known_shares(PERFECT, classes)).all(axis=0).tolist() == [False, True, False]
    tracemalloc.start()
    try:
        metrics.disentanglement._svm_accuracy(PERFECT[:, 0], identity)
        assert tracemalloc.get_traced_memory()[1] < 60e6
    finally:
        tracemalloc.stop()


def test_no_image_of_a_small_set_comes_twice():
    data, model = Own(DRAWN), tb.BetaVAE(2, image_shape=(16, 16, 1))
    classes, means, _ = metrics.encode_samples(model, data)
    assert len(means) == len(data) and sorted(classes.tolist()) == sorted(DRAWN[:len(data)].tolist())
    assert len(metrics.encode_samples(model, data, samples=70)[0]) == 70
    assert len(metrics.encode_samples(tb.BetaVAE(2), tb.DSprites(), samples=70)[0]) == 70
    assert (classes != DRAWN[:len(data)]).any()  # in another order: a file's may be sorted


def test_codes_of_half_precision():
    """Their variance would overflow."""
    assert metrics.factor_vae_score((1000 * PERFECT).astype(np.float16), DRAWN) == 1
