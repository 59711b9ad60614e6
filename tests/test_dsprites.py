"""dSprites: its bookkeeping, and that its images are DeepMind's."""

import hashlib
import zlib

import numba
import numpy as np
import pytest

import tinybvae as tb
from tinybvae.data.sprites import OUTLINES, alike

SPRITES = tb.DSprites()
# Of 180 of DeepMind's images: index, number of white pixels, CRC-32 of the packed bits.
DEEPMINDS = """
0:100:cbfdfd84 6061:98:9b66332c 7855:93:58f5023c 16609:92:c3749c03 18274:92:9aa68b60 28446:92:b774e210
40960:144:88bb13cb 41512:121:bcd66ae7 42157:132:d6253f94 48198:132:6b2a1096 66141:132:fdac4276 78980:130:ed59d579
79937:131:eb09b618 81920:196:d440a06b 88015:181:b235e828 95046:180:856afbfc 103202:180:739b13f5 122880:256:0e11d13e
148088:235:5341aca2 150752:236:57980877 151252:236:64cd9196 162078:234:57c8d8b8 175230:299:17508e06 185957:297:018f14b0
191984:299:817f3cac 205824:368:613fc75a 209748:369:1f7e1e6b 210944:368:0ebec5d6 212992:372:ce1c284a 214016:368:7d50825b
215040:372:53901557 217088:368:c5a2607a 218112:368:02cbb2dc 220160:368:7056857b 221184:368:244bfefe 222208:368:b035c4f7
223232:372:4a0ed16f 225542:369:30609ebd 228352:368:ddd874ef 230400:368:d503187a 233472:368:ccf70e78 234496:372:fcc07eb0
235520:368:bdc6ca7f 236544:372:1da59da4 238592:368:8fa666b0 241664:368:9f089d79 279397:71:c487ee70 286720:104:46da3640
327680:144:e1c1949b 339150:139:7adbde1f 349710:141:66663be4 362900:142:2b34570a 363049:143:21ceda0c 366574:141:f78d4aea
404942:187:3eecceb3 409600:228:d9d9dde3 453632:292:9f7fb83e 454656:292:0094cbf9 456704:286:972251ac 457728:294:c5e8c90a
462141:292:c5dc928f 463872:288:62fb2577 464896:292:67f3e3b0 465920:294:6669c90f 468992:288:a26b15d7 471040:290:01b66d1d
473088:286:0d5c70da 474112:286:e4f79087 477184:288:76c116ef 481280:286:cdd9957d 483328:294:128b632a 485376:288:5248aaa4
487065:291:0d36b5e9 487424:292:55cd471c 489472:288:922cf947 490496:288:b093660a 491520:58:f592e80c 507768:56:81e12c4e
520703:57:86de68c3 532480:84:fbf3b895 532783:81:a5fd79cc 540063:78:d67778f9 555914:82:08c6d228 583461:110:3c80ab0a
590459:108:cc9bb1be 607128:112:6d617a7a 610509:109:802c741b 614400:140:9f782638 655360:182:8c7c5c1c 679808:184:21d913d5
687322:183:0905e560 694562:183:b5837e97 696321:222:73a1b0a3 696322:224:a312aa08 696323:226:8d720cf0 696324:226:d837dcf9
696325:226:49a53581 696327:224:28ddb2ae 696329:224:6adff5a1 696334:220:de51ec29 696336:220:14c726b5 696338:228:a1707ba4
696341:228:1219d162 696342:232:b9c7df00 696343:232:ac592585 696345:230:6187f3ba 696349:224:9ea29026 696351:222:97c48a36
696384:224:637ef3e3 696416:224:fb905165 696479:225:bed827ea 696511:226:0367daed 696512:226:9ab8dc33 696575:227:c22ef958
696608:226:3e5979b7 696640:224:4047b727 696703:222:1a02be3e 696736:219:7fd3ce3a 696767:219:92d41676 696768:219:cec37447
696800:220:921d8199 696863:220:07c5377e 696864:219:81064e4e 696896:219:29b1ab9b 696927:219:703852c8 696928:220:cbeaf1d8
696960:222:1a85630f 696991:222:9197a6d3 696992:224:654691f3 697023:224:62481ae2 697056:226:082bb593 697087:226:354a0280
697151:226:139aef12 697152:226:c0b0d936 697184:225:41fceae2 697247:224:c6481ca6 697248:224:2050edc0 697280:223:dfda96ce
697311:223:9d403f05 697312:222:db0c34a6 697313:222:c54e5267 697314:224:b4a8b955 697315:226:586ebed8 697319:224:bbe1e267
697323:224:7930ea63 697329:222:dc2e890e 697332:228:61d6cde1 697335:232:6d288d44 697338:228:b29f60ab 697340:224:cc50f949
697341:224:fc9e2735 697342:222:c783fcf5 697343:222:f9800c48 697344:225:06863d42 697734:226:1ab55b29 698368:226:95461053
699668:224:57678ec2 703072:223:a3e6b0c6 704512:225:edea63b4 706560:225:f201df58 708608:225:9a428ea6 709632:225:c3ae6dc0
710656:225:4053a23b 711680:225:b4b10438 712704:226:6484f131 713728:228:f79c3aff 714752:220:85ee816c 715776:226:5cc7616e
719872:226:73eb2ace 720896:225:b7a60249 721920:225:2ac78665 726016:225:70bb4452 726754:221:0b6ecbb4 728064:225:7a3b24ce
729088:224:f56cf42c 731136:225:687f63de 732160:224:9d2cc61e 734208:226:733386b9 735232:225:fd47fe58 736256:222:c94a9eb6
"""


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


def test_images_are_independent_of_each_other():
    index = np.random.default_rng(0).integers(len(SPRITES), size=37).astype(np.uint32)
    images = SPRITES.images(index)
    for n, image in zip(index, images):
        np.testing.assert_array_equal(SPRITES.images([n, n]), [image, image])


def test_images_are_white_on_black():
    images = SPRITES.images(np.random.default_rng(0).integers(len(SPRITES), size=100))
    assert images.shape == (100, 64, 64, 1) and images.dtype == np.float32
    assert ((images == 0) | (images == 1)).all() and (images.sum(axis=(1, 2, 3)) > 50).all()
    border = np.concatenate([images[:, [0, -1]].reshape(100, -1), images[:, :, [0, -1]].reshape(100, -1)], axis=1)
    assert not border.any()


def test_deepminds_own_images():
    index, white, digests = zip(*(entry.split(":") for entry in DEEPMINDS.split()))
    images = SPRITES.images(np.array(index, int))[..., 0].astype(np.uint8)
    assert len(images) == 180
    np.testing.assert_array_equal(images.sum(axis=(1, 2)), np.array(white, int))
    np.testing.assert_array_equal([f"{zlib.crc32(np.packbits(image)):08x}" for image in images], digests)


@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="minutes without Numba's compiler")
def test_all_images():
    """White pixels of each shape, and a digest of all: they do not change. DeepMind's images have two pixels less."""
    digest, white = hashlib.sha256(), np.zeros(3, np.int64)
    for start in range(0, len(SPRITES), 8192):
        images = SPRITES.images(np.arange(start, start + 8192)).astype(np.uint8)
        white[start // (len(SPRITES) // 3)] += np.count_nonzero(images)
        digest.update(np.packbits(images))
    assert white.tolist() == [53_612_886, 42_070_950, 32_645_028] and white.sum() == 128_328_864
    assert digest.hexdigest() == "3a228f4037ef3d42a42588e0e01f1078aa2df13cfa17584e88c95ed9fb5672da"


def pixel(column, row):
    """The x and y at which a sprite's centre is the centre of this pixel."""
    return (column - 15.5) / 32, (row - 15.5) / 32


def box(image):
    rows, columns = np.nonzero(image[..., 0])
    return (columns.min(), columns.max(), rows.min(), rows.max()) if len(rows) else None


def test_edges_through_pixel_centres():
    """Left and bottom edges hold the pixels whose centres they pass through, right and top edges do not."""
    assert box(tb.render(0, .625, 0, *pixel(31, 20))[0]) == (25, 36, 15, 26)  # 12 pixels wide


def test_vertices_lie_on_a_grid_of_1_in_256():
    for offset, expected in [(.49 / 256, (25, 36, 15, 26)), (.51 / 256, (26, 37, 15, 26))]:
        assert box(tb.render(0, .625, 0, *pixel(31 + offset, 20))[0]) == expected


def test_sprites_beyond_the_border():
    for column, row, expected in [(0, 31, (0, 5, 26, 37)), (63, 31, (57, 63, 26, 37)), (31, 0, (25, 36, 0, 6)),
                                  (31, 63, (25, 36, 58, 63)), (-9, 31, None), (80, 31, None), (31, -9, None),
                                  (31, 80, None), (3e5, 3e5, None), (31, -5, (25, 36, 0, 1))]:
        assert box(tb.render(0, .625, 0, *pixel(column, row))[0]) == expected
    assert tb.render(0, 1e6, .3, .5, .5).all()


def test_any_sprite_is_its_polygon_filled():
    """Against crossings counted pixel by pixel, in whole numbers of 1/256 pixel."""
    rng = np.random.default_rng(0)
    row, column = 256 * np.mgrid[:64, :64]
    for shape, outline in 10 * [*enumerate(OUTLINES)]:
        scale, orientation, x, y = rng.uniform(.2, 1.5), rng.uniform(-9, 9), *rng.uniform(-.2, 1.2, 2)
        turn = scale * np.exp(-1j * orientation)
        vertices = 15.5 + 15.5j + 32 * (x + 1j * y) + turn * (outline[:, 0] + 1j * outline[:, 1])
        vertices = np.round(256 * vertices).view(np.float64).reshape(-1, 2).astype(int)
        crossings = 0
        for (xa, ya), (xb, yb) in zip(vertices, np.roll(vertices, -1, axis=0)):
            if ya > yb:
                (xa, ya), (xb, yb) = (xb, yb), (xa, ya)
            crossings += (ya < row) & (row <= yb) & ((column - xa) * (yb - ya) >= (row - ya) * (xb - xa))
        np.testing.assert_array_equal(tb.render(shape, scale, orientation, x, y)[0, ..., 0], crossings % 2)


def test_sprites_turn_counterclockwise_on_the_screen():
    """The ellipse's long axis at orientation θ; and the heart stands upright at θ = 0."""
    for orientation in (0, 5, 13):
        rows, columns = np.nonzero(SPRITES.images(SPRITES.index([[1, 5, orientation, 16, 16]]))[0, :, :, 0])
        (xx, xy), (_, yy) = np.cov(columns, -rows)
        angle = np.arctan2(2 * xy, xx - yy) / 2
        assert np.sin(angle - 2 * np.pi * orientation / 39) == pytest.approx(0, abs=.02)
    heart = SPRITES.images(SPRITES.index([[2, 5, 0, 16, 16]]))[0, :, :, 0].sum(axis=1)
    assert heart[26] > 15 and heart[40] < 5  # broad above, pointed below


def test_orientations_that_look_alike():
    """Those that `alike` makes one are drawn nearly alike; its classes are as many as looks a step apart."""
    index = np.arange(0, len(SPRITES), 1024) + 16 * 32 + 16  # all but positions
    classes, images = SPRITES.classes(index), SPRITES.images(index)
    seen = alike(classes)
    np.testing.assert_array_equal(np.delete(seen, 2, axis=1), np.delete(classes, 2, axis=1))
    for shape, looks in enumerate((10, 20, 39)):
        rows = (classes[:, 0] == shape) & (classes[:, 1] == 5)
        assert sorted({*seen[rows, 2]}) == [*range(looks)]
        for look in range(looks):
            same = images[rows & (seen[:, 2] == look)]
            assert np.abs(same - same[0]).sum(axis=(1, 2, 3)).max() < .15 * same[0].sum()


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
    for wrong in [(3, 1, 0, 0, 0), (.5, 1, 0, 0, 0), (0, np.nan, 0, 0, 0), (0, 1, np.inf, 0, 0), (0, 1, 0, 0, "1"),
                  (1, 1e19, 1.3, .5, .5), ("1", 1, 0, 0, 0), (0, 1, 1j, 0, 0), (0, 1, 0, 10 ** 400, 0),
                  (0, -2 ** 63, 0, 0, 0)]:
        with pytest.raises(ValueError, match="must be"):
            tb.render(*wrong)
    with pytest.raises(ValueError, match=r"one number or N of each, not arrays that broadcast to \(2, 3\)"):
        tb.render(0, np.ones((2, 3)), 0, 0, 0)


def test_what_data_says_at_a_prompt(tmp_path):
    assert repr(SPRITES) == "DSprites of 737,280 images, rendered on demand"
    np.savez(tmp_path / "a.npz", imgs=np.zeros((7, 16, 16, 3), np.uint8), latents_classes=np.arange(7)[:, None])
    assert repr(tb.Images(tmp_path / "a.npz")) == (
        f"Images of {tmp_path / 'a.npz'}: 7 of shape (16, 16, 3), factors factor_0 (7)")


def test_as_a_sequence():
    """As Python's own: an index, from the end too, a slice, several; a loop ends."""
    sprites = tb.DSprites()
    assert (sprites[0] == sprites.images([0])[0]).all() and (sprites[-1] == sprites.images([737_279])[0]).all()
    assert (sprites[:3_000:1_000] == sprites.images([0, 1000, 2000])).all()
    assert (sprites[[5, -5]] == sprites.images([5, 737_275])).all()
    data = tb.Images.of(np.arange(6).reshape(3, 2, 1) % 2)
    assert [image.shape for image in data] == 3 * [(2, 1, 1)] and data[:].shape == (3, 2, 1, 1)
    for index in 737_280, -737_281:
        with pytest.raises(IndexError):
            sprites[index]
    with pytest.raises(ValueError, match=r"index must have shape \(N,\), as in images\(\[7\]\), not \(\)"):
        sprites.images(7)
    with pytest.raises(ValueError, match="these are 737,280 images: data.:. makes one array"):
        np.asarray(sprites)
