"""The pictures show what they say, drawn from a decoder whose images are its latents."""

import base64
from types import SimpleNamespace

import imageio.v3 as imageio
import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure

import tinybvae as tb
from tinybvae.report import diagrams, figures
from tinybvae.report.drawing import lay, saved

MEAN = np.array([.5, -1., 2.])


class Mirror:
    """Three latents, seen in images of 4×30 pixels: latent d is the logit of columns 10·d to 10·d + 9."""

    likelihood, latents = tb.bernoulli, 3

    def encode(self, images):
        mean = np.log(images[:, 0, ::10, 0] / (1 - images[:, 0, ::10, 0]))
        return mean, np.zeros_like(mean)

    def decode(self, z):
        return np.tile(np.repeat(z, 10, axis=1)[:, None, :, None], (1, 4, 1, 1))


def sigmoid(logits):
    return 1 / (1 + np.exp(-np.asarray(logits)))


def test_traverse_moves_one_latent():
    pictures = figures.traverse(Mirror(), MEAN, 1, [-3., 0., 3.])
    assert pictures.shape == (3, 4, 30, 1)
    np.testing.assert_allclose(pictures[:, 2, 15, 0], sigmoid([-3, 0, 3]))
    np.testing.assert_allclose(pictures[:, 2, [5, 25], 0], np.tile(sigmoid([.5, 2]), (3, 1)))


def test_gif_goes_from_minus_3_to_3_and_back():
    film = imageio.imread(figures.traversal_gif(Mirror(), MEAN, [1]))[..., 0] / 255
    assert film.shape == (48, 2 * (4 + 4), 2 * (30 + 2))
    np.testing.assert_allclose(film[[0, 12, 24, 36], 3, 2 * 15], sigmoid([-3, 0, 3, 0]), atol=.04)  # latent 1 moves,
    np.testing.assert_allclose(film[:, 3, 2 * 5], sigmoid(.5), atol=.04)                            # latent 0 stays


def test_gif_of_several_latents_keeps_their_order():
    film = imageio.imread(figures.traversal_gif(Mirror(), MEAN, [2, 0]))[..., 0] / 255
    np.testing.assert_allclose(film[0, 3, [2 * 25, 64 + 2 * 25]], sigmoid([-3, 2]), atol=.04)  # columns of latent 2
    np.testing.assert_allclose(film[0, 3, [2 * 5, 64 + 2 * 5]], sigmoid([.5, -3]), atol=.04)   # columns of latent 0


def test_gif_labels_stand_above_the_latents():
    plain, labelled = (imageio.imread(figures.traversal_gif(Mirror(), MEAN, [2, 0], labels))[..., 0]
                       for labels in ([], ["HHH", ""]))
    above, below = labelled[:, :figures.LABEL], labelled[:, figures.LABEL:]
    np.testing.assert_array_equal(below, plain)
    assert (above == above[0]).all() and above[:, :, :64].max() > 200 and not above[:, :, 64:].any()


@pytest.fixture
def mosaics(monkeypatch):
    """What is handed to `lay`, (axis, pictures, row labels, column labels)."""
    seen = []
    monkeypatch.setattr(figures, "lay", lambda *arguments: seen.append(arguments))
    return seen


def test_traversals_have_a_row_a_latent(mosaics):
    figures.traversals(Mirror(), MEAN, [2, 0], ["two", "zero"])
    (_, pictures, rows, columns), = mosaics
    assert rows == ["two", "zero"] and columns[0] == "-3.0" and columns[-1] == "+3.0"
    np.testing.assert_allclose([row[:, 0, 10 * d, 0] for row, d in zip(pictures, [2, 0])],
                               np.tile(sigmoid(np.linspace(-3, 3, len(columns))), (2, 1)))


def test_traversals_may_each_start_elsewhere(mosaics):
    figures.traversals(Mirror(), np.array([[0., 1, 2], [3, 4, 5]]), [2, 0], ["two", "zero"])
    (_, pictures, _, _), = mosaics
    np.testing.assert_allclose(np.array(pictures)[:, 0, 0, ::10, 0], sigmoid([[0, 1, -3], [-3, 4, 5]]))


def test_means_by_orientation():
    means = np.arange(7 * 3 * 40.).reshape(7, 3, 40)
    order = [5, 2, 0, 1, 3, 6]
    seen = figures.by_orientation(means, order, [f"z{d} $name\nnats" for d in order], format=None).axes
    assert [axis.get_title() for axis in seen[:6]] == [f"z{d} $name" for d in (5, 2, 0, 1, 3, 6)]
    assert [axis.get_visible() for axis in seen] == [True] * 6 + [False] * 4
    for axis, d in zip(seen, (5, 2)):
        lines = axis.get_lines()
        assert [line.get_label() for line in lines] == ["square", "ellipse", "heart"]
        np.testing.assert_array_equal([line.get_ydata() for line in lines], means[d])
        assert lines[0].get_xdata()[[0, -1]] == pytest.approx([0, 360])


def test_reconstructions_stand_right_of_their_images_and_left_of_samples(mosaics):
    class Dim(Mirror):
        def decode(self, z):
            return super().decode(z) - 1

    means, z = np.random.default_rng(0).standard_normal((2, 10, 3))
    images = sigmoid(Mirror().decode(means))
    figures.reconstructions(Dim(), images, z, format=None)
    assert [axis.get_title() for axis, _ in mosaics] == ["images", "reconstructions", "samples from the prior"]
    for (_, pictures), wanted in zip(mosaics, (images, sigmoid(Mirror().decode(means) - 1),
                                               sigmoid(Mirror().decode(z) - 1))):
        np.testing.assert_allclose(pictures, wanted.reshape(2, 5, 4, 30, 1))


def test_any_number_of_images_and_the_prior_by_default(mosaics):
    figures.reconstructions(Mirror(), sigmoid(Mirror().decode(np.zeros((7, 3)))))
    (_, images), _, (_, samples) = mosaics
    assert images.shape == samples.shape == (2, 5, 4, 30, 1) and (images[1, 2:] == 1).all()


def test_a_grid_of_decodings(mosaics):
    """One latent to the right, another down, the third as it is."""
    figures.decodings(Mirror(), across=2, down=0, mean=MEAN, pictures=3)
    (_, pictures, rows, columns), = mosaics
    assert rows == columns == ["-3.0", "+0.0", "+3.0"]
    np.testing.assert_allclose(pictures[0, 2, 0, ::10, 0], sigmoid([-3, -1, 3]))
    np.testing.assert_allclose(pictures[2, 1, 0, ::10, 0], sigmoid([3, -1, 0]))


def test_a_run_is_no_model_and_a_model_no_run():
    run = tb.Run(tb.BetaVAE(2, image_shape=(16, 16, 1)))
    for draw in (figures.decodings, lambda run: figures.traversals(run, np.zeros(2)),
                 lambda run: figures.reconstructions(run, np.zeros((5, 16, 16, 1)))):
        with pytest.raises(ValueError, match="draws a model, not a run: give run.model"):
            draw(run)
    with pytest.raises(ValueError, match="curves are those of a run, not of a BetaVAE"):
        figures.curves(run.model)
    with pytest.raises(ValueError, match="across and down must be two of the latents 0 to 1, not 0 and 0"):
        figures.decodings(run.model, 0, 0)
    for take in tb.save, lambda model, path: tb.write_report(model, None, path):
        with pytest.raises(ValueError, match="takes a run, such as tb.Run.model., not BetaVAE"):
            take(run.model, "nowhere")


def test_from_one_image_to_another(mosaics):
    start, end = sigmoid(Mirror().decode(np.array([[-1., 0, 2], [3, 0, -2]])))
    figures.interpolation(Mirror(), start, end, pictures=5)
    (_, (codes, pixels), _, _), = mosaics
    np.testing.assert_allclose(codes[:, 0, ::10, 0], sigmoid(np.linspace([-1, 0, 2], [3, 0, -2], 5)))
    np.testing.assert_allclose(pixels, np.linspace(start, end, 5))
    with pytest.raises(ValueError, match="one image each, .* not .1, "):
        figures.interpolation(Mirror(), start[None], end[None])


def test_formats():
    """Bytes of each, the same again; or a Figure."""
    for form, start in ("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF"):
        one, again = (figures.traversals(Mirror(), MEAN, format=form) for _ in range(2))
        assert one == again and one.startswith(start)
        (kind, shown), (_, text) = one._repr_mimebundle_().items()
        assert kind.split("/")[1].startswith(form) and text == repr(one) and len(text) < 80
        assert shown == one.decode() if form == "svg" else base64.b64decode(shown) == one
    assert "image/gif" in figures.traversal_gif(Mirror(), MEAN, [1])._repr_mimebundle_()
    assert isinstance(figures.decodings(Mirror(), format=None), Figure)
    with pytest.raises(ValueError, match="xyz"):
        figures.traversals(Mirror(), MEAN, format="xyz")


def test_curves_of_a_run():
    """Without more than the run: latents by their last KL."""
    run = tb.Run(model := tb.BetaVAE(3, image_shape=(16, 16, 1)), tb.Adam(model.parameters))
    with pytest.raises(ValueError, match="no history"):
        tb.figures.curves(run)
    data = tb.Images.of(np.random.default_rng(0).integers(0, 2, (30, 16, 16)))
    tb.train(run, data, tb.beta_objective(), 11, 8, quiet=True)
    last = dict(zip(run.history_columns, run.history[-1]))
    _, kl, off, _ = tb.figures.curves(run, format=None).axes
    order = sorted(range(3), key=lambda d: -last[f"kl_z{d}"])
    assert [text.get_text()[:2] for text in kl.texts] == [f"z{d}" for d in order if last[f"kl_z{d}"] >= .05]
    assert [line.get_label() for line in off.lines] == [*model.relus]


def test_factors_go_from_their_first_class_to_their_last(mosaics):
    sprites = tb.DSprites()
    figures.factors(sprites, classes=(1, 2, 3, 4, 5))
    (_, rows, labels), = mosaics
    for factor, (row, size) in enumerate(zip(rows, sprites.factor_sizes)):
        shown = min(size, 8)
        first, last = np.tile((1, 2, 3, 4, 5), (2, 1))
        first[factor], last[factor] = 0, size - 1
        np.testing.assert_array_equal(row[[0, shown - 1]], sprites.images(sprites.index([first, last])))
        assert (row[shown:] == 1).all() and len(row) == 8 and labels[factor].startswith(sprites.factor_names[factor])


def test_mosaic_lays_rows_and_columns():
    pictures = np.zeros((2, 3, 8, 8, 1))
    pictures[1, 2] = 1
    figure = Figure(figsize=(3, 2), layout="constrained")
    lay(figure.subplots(), pictures, ["a", "b"])
    image = imageio.imread(saved(figure))[..., 0]
    dark = np.argwhere(image < 10)
    (top, left), (bottom, right) = dark.min(axis=0), dark.max(axis=0)
    assert image[top + 5, left + 5] < 10 and image[top + 5, right - 5] < 10
    assert image[bottom - 5, left + 5] < 10 and image[bottom - 5, right - 5] > 245


def test_codes_show_each_latent_in_a_row():
    """Places as in the image, x to the right and y down; curves with their factor's values; a traversal."""
    rng = np.random.default_rng(0)
    places, means = rng.standard_normal((2, 5, 4)), 5 * rng.standard_normal((2, 3, 6))
    strips = [figures.traverse(Mirror(), MEAN, z, np.linspace(-3, 3, 7)) for z in (2, 0)]
    figure = figures.codes(["z2", "z0"], places, strips, [("scale", np.arange(6), means, ("a", "b", "c"))], "$title",
                           format=None)
    heat, curve, strip = figure.axes[3:6]
    np.testing.assert_array_equal(heat.images[0].get_array(), places[1].T)
    assert heat.images[0].get_clim() == (-3, 3) and heat.get_yticklabels()[0].get_text() == "z0"
    np.testing.assert_array_equal([line.get_ydata() for line in curve.lines], means[1])
    np.testing.assert_array_equal(curve.lines[0].get_xdata(), np.arange(6))
    low, high = curve.get_ylim()
    assert (low, high) == figure.axes[1].get_ylim() and low < means.min() and high > means.max()
    assert figure.axes[1].get_title() == "mean by scale" and len(strip.images) == 1
    assert [text.get_text() for text in figure.axes[1].get_legend().get_texts()] == ["a", "b", "c"]
    assert figure.get_suptitle() == "$title"
    figure = figures.codes(["z2"], places[:1], strips[:1], format=None)
    assert len(figure.axes) == 3 and not figure.get_suptitle()  # a heat map, a traversal, and the colours' bar


COLUMNS = ["step", "total", "reconstruction", "kl", "capacity", "kl_z0", "kl_z1", "used", "off_encoder.conv1", "price",
           "new_encoder"]


def axes(history, columns=COLUMNS, order=(1, 0), labels=("z1\n2 nats",), units=(("encoder.conv1", 32),)):
    """What `curves` draws: four axes."""
    run = SimpleNamespace(history=history, history_columns=columns)
    return figures.curves(run, order, labels, dict(units), format=None).axes


@pytest.mark.parametrize("capacity, lines", [(0.0, 1), (np.nan, 0)])
def test_curves_show_a_capacity_if_there_is_one(capacity, lines):
    row = [9., 8., 3., capacity, 1., 2., 2, 8, 5., 0]
    assert len(axes([[0, *row], [10, *row]])[1].lines) == lines


def test_a_tower_of_kl_is_cut_and_says_so():
    """Where a nat is cheap, the KL rises far above where it ends."""
    _, kl, _, _ = axes([[step, 9., 8., nats, 10., nats - 1, 1., 2, 8, price, 0]
                        for step, nats, price in ((0, 2, 9.), (1, 43, .05), (2, 5, 20.), (3, 10, 2.))])
    assert kl.get_ylim()[1] == pytest.approx(14)
    assert "up to 43 nats,\nat a price of 0.05" in {text.get_text() for text in kl.texts}


def test_many_latents_leave_room_for_their_curves():
    D, columns = 40, ["step", "total", "reconstruction", "kl", "capacity", *(f"kl_z{d}" for d in range(40)), "off_a",
                   "price", "new_encoder"]
    history = [[step, 9., 8., D, np.nan, *np.ones(D), 0, 1., 0] for step in (0, 10)]
    kl = axes(history, columns, range(D), [f"z{d}" for d in range(D)], {"a": 32})[1]
    assert [text.get_text() for text in kl.texts][-2:] == ["z15", "and 24 more"]
    assert all(text.xy[1] < kl.get_ylim()[1] for text in kl.texts)


def test_curves_stack_the_latents_and_count_units():
    _, kl, off, _ = axes([[0, 9., 8., 3., 0., 1., 2., 2, 8, 5., 0], [10, 9., 8., 5., 0., 1., 4., 2, 16, 5., 0]])
    lower, upper = (area.get_paths()[0].vertices for area in kl.collections)
    assert lower[:, 1].max() == 4 and upper[:, 1].max() == 5  # z1, and z0 above it
    assert [text.get_text() for text in kl.texts] == ["z1 2 nats"] and kl.texts[0].xy == (10, 2)
    np.testing.assert_array_equal(off.lines[0].get_ydata(), [25, 50])


def test_curves_show_the_price_and_where_a_new_encoder_was_drawn():
    rows = [[step, 9., 8., 3., 0., 1., 2., 2, 8, -step, float(step >= 20)] for step in (0, 10, 20, 30)]
    *_, off, price = axes(rows)
    np.testing.assert_array_equal(price.lines[0].get_ydata(), [0, -10, -20, -30])
    assert [line.get_xdata() for line in (price.lines[1], off.lines[1])] == 2 * [[20, 20]]
    assert len(axes(rows[:2])[-1].lines) == len(axes(rows[2:])[-1].lines) == 1


def test_an_older_run_has_no_price():
    rows = [[step, 9., 8., 3., 0., 1., 2., 2, 8, np.nan, 0.] for step in (0, 10)]
    assert len(axes(rows)) == 3


def test_long_curves_are_means_over_several_rows():
    rows = np.arange(10_000)
    history = np.stack([10 * rows, *10 * [rows % 2]], axis=1)
    line = axes(history.tolist())[0].lines[0]
    assert diagrams.POINTS <= len(line.get_xdata()) <= 2 * diagrams.POINTS
    np.testing.assert_allclose(line.get_ydata(), .5)


def test_a_factors_name_is_no_formula():
    """But the powers of ten at an axis are."""
    name, rows = r"$\frac{$", [[step, 9., 8. + 900 * step, 3., 0., 1., 2., 2, 8, 5., 0] for step in (0, 1)]
    figures.traversals(Mirror(), MEAN, [1], [name])
    figures.traversal_gif(Mirror(), MEAN, [1], [name])
    loss, *_ = axes(rows, labels=[name])
    assert saved(loss.figure)
    loss, *_ = axes(rows, labels=[name])
    assert all(tick.label1.get_parse_math() for tick in loss.yaxis.get_major_ticks())


def test_a_users_style_changes_no_picture_and_stays(monkeypatch):
    images = sigmoid(Mirror().decode(np.random.default_rng(0).standard_normal((10, 3))))

    def draw():
        return [figures.reconstructions(Mirror(), images, np.zeros((5, 3))),
                figures.traversal_gif(Mirror(), MEAN, [1], ["one"])]

    plain = draw()
    with matplotlib.rc_context({"figure.facecolor": "red", "font.size": 30, "axes.grid": True, "text.usetex": True}):
        assert draw() == plain and matplotlib.rcParams["text.usetex"]
