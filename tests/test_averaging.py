"Stage 2 by likeness, in parts: averaging, surroundings, reader, likeness, transduction"

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from diffclip.core import InputError, seeded
from diffclip.data.splits import few_shot_split
from diffclip.data.windows import Windows, apply_scaling, fit_scaling
from diffclip.encoder import Architecture, Encoder
from diffclip.text_alignment.alignment import (
    AlignmentHead,
    Fitting,
    fit_shots,
    predict_blocks,
)
from diffclip.text_alignment.averaging import (
    Describing,
    edge_mean,
    neighbour_offsets,
    tokens_at,
)
from diffclip.text_alignment.likeness import fit_likeness
from diffclip.text_alignment.reader import SceneReader
from diffclip.text_alignment.surroundings import surroundings
from diffclip.text_alignment.transduction import (
    Transduction,
    effective_shots,
    fit_head,
    predict_tiles,
    self_train,
    solve_head,
)

SMALL = Architecture(
    width=32,
    depth=1,
    heads=2,
    hidden=16,
    stem_norm="none",
    decoder_width=16,
    decoder_depth=1,
    decoder_heads=2,
)
NEAR = Describing(context=2, scales=(1.0, 2.0), landmarks=60)


class Echo(nn.Module):
    "The value of a pixel is its token; a class token stands before them"

    arch = SimpleNamespace(width=1)

    def forward(self, views):
        tokens = {m: x.flatten(2).mT for m, x in views.items()}
        return {m: torch.cat([x[:, :1], x], 1) for m, x in tokens.items()}


def numbered(height=23, width=31):
    "A scene whose pixels are numbered"
    numbers = np.arange(height * width, dtype=np.float32)
    return Windows({"id": numbers.reshape(1, height, width)}, 11)


@pytest.fixture(scope="module")
def windows(scene):
    return Windows(apply_scaling(scene, fit_scaling(scene, "mnf")), 11)


@pytest.fixture(scope="module")
def encoder(windows):
    "With random weights: enough for what is tested here"
    bands = {m: x.shape[1] for m, x in windows.rows.items()}
    return seeded(0, lambda: Encoder(bands, SMALL)).eval()


@pytest.fixture(scope="module")
def shots(scene):
    "Rows and columns, and class indices"
    train = few_shot_split(scene, 2, 0).train
    codes = sorted(scene.classes)
    y = np.searchsorted(codes, scene.labels[train])
    return torch.from_numpy(np.argwhere(train)), torch.from_numpy(y).long()


@pytest.fixture(scope="module")
def vectors(scene):
    gen = torch.Generator().manual_seed(0)
    return nn.functional.normalize(torch.randn(len(scene.classes), 16, generator=gen))


@pytest.fixture(scope="module")
def reader(encoder, windows):
    return SceneReader(encoder, windows, NEAR)


@pytest.fixture(scope="module")
def likeness(reader, scene):
    return fit_likeness(reader, scene.valid)


@pytest.fixture
def solved(reader, likeness, shots, vectors):
    yx, y = shots
    phi = likeness(reader.pixels(yx))
    head = AlignmentHead(1, phi.shape[1], 16, scale=1.0, normalise=False)
    solve_head(phi, head, vectors, y)
    return phi, head


def assembled(batches, shape):
    "Probabilities of all pixels, and how often each came"
    first = None
    for rows, columns, p in batches:
        if first is None:
            first = np.zeros((p.shape[1], *shape), np.float32)
            times = np.zeros(shape, int)
        first[:, rows, columns] = p.T
        np.add.at(times, (rows, columns), 1)
    assert (times == 1).all()
    return first


# ------------------------------------------------------------------- averaging


@pytest.mark.parametrize("radius", [0, 1, 5, 6, 7, 8, 9, 11, 15])
def test_a_pixel_is_among_its_neighbours(radius):
    "An odd radius above 6 left the pixel itself out, and the mean was not a number"
    values = torch.randn(1, 40, 41, 3, generator=torch.Generator().manual_seed(0))
    own = values[:, radius : 40 - radius, radius : 41 - radius]
    assert torch.equal(edge_mean(values, values, radius, 1e-20), own)


@pytest.mark.parametrize("radius", [7, 9, 13])
def test_neighbours_lie_on_both_sides(radius):
    ramp = torch.arange(40.0).expand(1, 40, 40)[..., None]
    mean = edge_mean(ramp, torch.zeros_like(ramp), radius, 1.0)
    inside = ramp[:, radius : 40 - radius, radius : 40 - radius]
    assert torch.allclose(mean, inside, atol=1e-3)


@pytest.mark.parametrize("radius", [0, 3, 6, 8, 10, 12])
def test_radii_of_before_have_the_neighbours_of_before(radius):
    step = 1 if radius <= 6 else 2
    side = range(-radius, radius + 1, step)
    before = [(y, x) for y in side for x in side if y * y + x * x <= radius**2]
    assert neighbour_offsets(radius) == before


@pytest.mark.parametrize("context", [7, 8])
def test_an_edge_that_nothing_passes_leaves_tokens_alone(
    context, encoder, windows, scene, shots
):
    "It ended in an error of linear algebra"
    strict = Describing(context=context, edge=1e-3, scales=(1.0,), landmarks=50)
    reader = SceneReader(encoder, windows, strict)
    likeness = fit_likeness(reader, scene.valid)
    yx, _ = shots
    features = reader.pixels(yx)
    assert torch.allclose(features[:, : reader.width], reader.tokens(*yx.T), atol=1e-5)
    assert torch.isfinite(likeness(features)).all()


def test_a_block_that_is_larger_than_its_window_is_refused(vectors):
    "It gave tokens of other pixels"
    windows = numbered()
    at = torch.arange(5)
    with pytest.raises(InputError, match="block is 13, but a window has only 11×11"):
        tokens_at(Echo(), windows, at, at, block=13)
    with pytest.raises(InputError, match="use a block of at most 11"):
        fitting = Fitting(readout="pixel", block=13)
        next(predict_blocks(Echo(), nn.Identity(), None, windows, fitting))
    with pytest.raises(InputError, match="use a block of at most 11"):
        SceneReader(Echo(), windows, Describing(block=13))


def test_a_block_that_is_larger_than_its_window_is_not_fitted(
    encoder, windows, shots, vectors
):
    head = AlignmentHead(2, SMALL.width, 16)
    fitting = Fitting(steps=1, readout="pixel", block=13)
    with pytest.raises(InputError, match="use a block of at most 11"):
        fit_shots(encoder, head, vectors, windows, *shots, fitting)


def test_a_block_may_be_as_large_as_its_window():
    windows = numbered()
    y, x = torch.meshgrid(torch.arange(23), torch.arange(31), indexing="ij")
    tokens = tokens_at(Echo(), windows, y, x, block=11)[..., 0]
    assert torch.equal(tokens, torch.arange(23.0 * 31).view(23, 31))


def test_encoding_reports_its_progress():
    steps = []
    tokens_at(
        Echo(),
        numbered(),
        torch.arange(23),
        torch.arange(23),
        batch_size=2,
        progress=lambda *step: steps.append(step),
    )
    assert steps[-1][0] == steps[-1][1] and steps[-1][2] is None


# -------------------------------------------------------------------- settings


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: Describing(texture="stripes"), "'octaves', 'variance'"),
        (lambda: Describing(context=-1), "context is -1"),
        (lambda: Describing(context=2.5), "context is 2.5: give a whole number"),
        (lambda: Describing(block=4), "block is 4"),
        (lambda: Describing(block=0), "block is 0"),
        (lambda: Describing(scales=(1.0, -2.0)), "numbers above 0"),
        (lambda: Describing(scales="wide"), "numbers above 0"),
        (lambda: Describing(edge=float("nan")), "edge is nan"),
        (lambda: Describing(landmarks=0), "landmarks is 0"),
        (lambda: Describing(kernel=False, linear=False), "both False"),
        (lambda: Fitting(schedule="cosine"), "schedule 'cosine' is none of"),
        (lambda: Fitting(readout="token"), "readout 'token' is none of"),
        (lambda: Fitting(steps=-1), "steps is -1"),
        (lambda: Fitting(steps=True), "steps is True"),
        (lambda: Fitting(batch_size="48"), "batch_size is '48'"),
        (lambda: Fitting(block=5), "use block=1"),
        (lambda: Fitting(visible=1.1), "visible is 1.1"),
        (lambda: Fitting(noise=2000), "noise is 2000"),
        (lambda: Transduction(smooth=-1), "smooth is -1"),
        (lambda: Transduction(pseudo=-2.0), "pseudo is -2.0"),
    ],
)
def test_a_setting_out_of_range_is_refused(make, message):
    with pytest.raises(InputError, match=message):
        make()


def test_settings_are_frozen():
    for settings in (Fitting(), Describing(), Transduction()):
        with pytest.raises(AttributeError):
            settings.block = 3
        assert hash(settings) is not None


@pytest.mark.parametrize("texture", ["octaves", "variance", ""])
@pytest.mark.parametrize("describing", [NEAR, Describing(context=3, scales=(3.0,))])
def test_reach_is_how_far_a_description_sees(encoder, windows, describing, texture):
    "A pixel that is further away changes nothing; nearer ones do"
    describing = Describing(
        context=describing.context, scales=describing.scales, texture=texture, block=3
    )
    reach = describing.reach(windows.size)
    guide = torch.eye(2 * SMALL.width)[:, :8].contiguous()
    at = torch.tensor([[36, 36]])

    def features(away):
        arrays = changed(windows, 36 + away)
        reader = SceneReader(encoder, arrays, describing)
        reader.use_guide(guide, 1e6)
        return reader.pixels(at)

    assert torch.equal(features(reach + 1), features(1000))
    assert not torch.equal(features(reach // 2), features(1000))


def changed(windows, row):
    "The same windows with other values in the rows from `row` on"
    height, width = windows.shape
    r = windows.size // 2
    arrays = {}
    for m, x in windows.rows.items():
        a = x.view(height + 2 * r, windows.stride, -1)[r : r + height, r : r + width]
        a = a.permute(2, 0, 1).clone().numpy()
        a[:, row:] += 1
        arrays[m] = a
    return Windows(arrays, windows.size)


# ---------------------------------------------------------------- surroundings


def test_texture_is_seen():
    "Two halves of one mean and unlike spread: only their spread tells them apart"
    rng = np.random.default_rng(0)
    calm, rough = (s * rng.standard_normal((1, 40, 40)) for s in (0.1, 1.0))
    rough -= rough.mean() - calm.mean()
    both = np.concatenate([calm, rough], 2).astype(np.float32)
    windows = Windows({"x": both}, 11)
    around = surroundings(windows, torch.arange(40), torch.arange(80), (4.0,))
    left, right = around[:, :40].flatten(0, 1), around[:, 40:].flatten(0, 1)
    spread = around.flatten(0, 1).std(0)
    mean, texture = (left.mean(0) - right.mean(0)).abs() / spread
    assert mean < 0.5 and texture > 1.5


# ---------------------------------------------------------------------- reader


def test_a_large_scene_gets_the_features_of_a_small_one(
    encoder, windows, reader, likeness
):
    "Read tile by tile, or once and kept"
    large = SceneReader(encoder, windows, NEAR, keep=0)
    large.use_guide(likeness.guide, float(likeness.tau2))
    part = torch.arange(-3, 20), torch.arange(50, 80)
    assert reader.small and not large.small
    for a, b in zip(reader.features(*part), large.features(*part)):
        assert torch.allclose(a, b, atol=1e-4)


def test_another_guide_is_used_at_once(encoder, windows, likeness, shots):
    reader = SceneReader(encoder, windows, NEAR)
    yx, _ = shots
    reader.use_guide(likeness.guide, float(likeness.tau2))
    before = reader.pixels(yx)
    reader.use_guide(likeness.guide.clone(), 1e-20)
    alone = reader.pixels(yx)[:, : reader.width]
    assert torch.allclose(alone, reader.tokens(*yx.T), atol=1e-5)
    reader.use_guide(likeness.guide, float(likeness.tau2))
    assert torch.equal(reader.pixels(yx), before)


def test_features_need_a_guide(encoder, windows):
    with pytest.raises(RuntimeError, match="use_guide"):
        SceneReader(encoder, windows, NEAR).features(torch.arange(3), torch.arange(3))


# -------------------------------------------------------------------- likeness


def test_likeness_depends_on_its_seed_alone(encoder, windows, scene, likeness):
    state = torch.get_rng_state()
    again = fit_likeness(SceneReader(encoder, windows, NEAR), scene.valid)
    other = fit_likeness(SceneReader(encoder, windows, NEAR), scene.valid, seed=1)
    assert torch.equal(torch.get_rng_state(), state)
    for name, buffer in likeness.state_dict().items():
        assert torch.equal(buffer, again.state_dict()[name])
    assert not torch.equal(other.landmarks, likeness.landmarks)


@pytest.mark.parametrize("kernel, linear", [(True, False), (False, True)])
def test_a_description_has_the_parts_asked_for(encoder, windows, scene, kernel, linear):
    half = Describing(
        context=2, scales=(1.0,), landmarks=60, kernel=kernel, linear=linear
    )
    reader = SceneReader(encoder, windows, half)
    likeness = fit_likeness(reader, scene.valid)
    features = reader.pixels(torch.tensor([[5, 5]]))
    width = 60 if kernel else features.shape[1]
    assert likeness(features).shape == (1, width)


def test_no_context_is_each_pixel_itself(encoder, windows, scene, shots):
    alone = Describing(context=0, scales=(1.0,), landmarks=60)
    reader = SceneReader(encoder, windows, alone)
    likeness = fit_likeness(reader, scene.valid)
    yx, y = shots
    tokens = reader.pixels(yx)[:, : reader.width]
    assert torch.equal(tokens, reader.tokens(*yx.T))
    correlation = float(likeness.correlation)
    assert 0 < correlation < 1
    assert effective_shots(yx, y, correlation, alone.lag) >= 1


# ---------------------------------------------------------------- transduction


def test_a_head_goes_on_from_where_it_is(solved, vectors, shots):
    phi, head = solved
    _, y = shots
    weight = head.project.weight.detach().clone()
    from_head = solve_head(phi, head, vectors, y, start=head, max_iter=1)
    assert torch.allclose(head.project.weight, weight, atol=1e-3)
    from_zero = solve_head(phi, head, vectors, y, max_iter=1)
    assert abs(from_zero - from_head) > 0.1


def test_no_iteration_leaves_the_head_alone(solved, vectors, shots):
    phi, head = solved
    _, y = shots
    logits = head([phi], vectors).detach()
    solve_head(phi, head, vectors, y, start=head, max_iter=0)
    again = head([phi], vectors).detach()
    assert torch.allclose(
        again - again.mean(1, keepdim=True),
        logits - logits.mean(1, keepdim=True),
        atol=1e-4,
    )


def test_a_start_with_other_vectors_keeps_the_image_features(solved, vectors, shots):
    "A model that goes on with other class vectors begins at its features, not at zero"
    phi, head = solved
    _, y = shots
    other = nn.functional.normalize(vectors + 0.1 * vectors.flip(0))
    near = solve_head(phi, head, other, y, start=head, max_iter=5)
    exact = solve_head(phi, head, other, y)
    assert near == pytest.approx(exact, abs=0.02)


def test_a_frozen_text_needs_no_step(reader, likeness, shots, vectors):
    yx, y = shots
    phi = likeness(reader.pixels(yx))
    head = AlignmentHead(1, phi.shape[1], 16, scale=1.0, normalise=False)
    losses = fit_head(phi, head, vectors, y)
    assert len(losses) == 1 and losses[0] < 1


def test_a_map_does_not_depend_on_its_tiles(
    encoder, windows, reader, likeness, solved, vectors
):
    _, head = solved
    large = SceneReader(encoder, windows, NEAR, keep=0)
    large.use_guide(likeness.guide, float(likeness.tau2))
    maps = [
        assembled(
            predict_tiles(r, likeness, head, vectors, smooth=2, tile=tile),
            windows.shape,
        )
        for r, tile in ((reader, 120), (reader, 31), (large, 50))
    ]
    for p in maps[1:]:
        assert np.abs(p - maps[0]).max() < 1e-4


def test_a_class_that_no_landmark_has_is_mapped(likeness, solved, vectors, shots):
    "Its shots alone stand for it"
    phi, head = solved
    _, y = shots
    marks = likeness.describe(likeness.landmarks)
    with torch.no_grad():
        label = head([marks], vectors).argmax(1)
    self_train(phi, y, marks[label != 0], head, vectors)
    with torch.no_grad():
        assert (head([phi], vectors).argmax(1)[y == 0] == 0).all()


def test_without_landmarks_the_shots_teach_alone(solved, vectors, shots):
    phi, head = solved
    _, y = shots
    weight = head.project.weight.detach().clone()
    self_train(phi, y, phi[:0], head, vectors)
    assert torch.allclose(head.project.weight, weight, atol=1e-4)


def test_a_thousand_shots_in_four_places_are_worth_four():
    "They are counted in parts, because all pairs would fill the memory"
    places = torch.tensor([[0, 0], [0, 8], [100, 0], [100, 100]]).repeat(600, 1)
    worth = effective_shots(places, torch.zeros(2400).long(), correlation=0.0, lag=8)
    assert worth == pytest.approx(4.0)


def test_a_distance_of_zero_is_refused(shots):
    with pytest.raises(InputError, match="lag is 0"):
        effective_shots(*shots, correlation=0.5, lag=0)
