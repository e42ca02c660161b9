"What words do to a model: order, new words, other towers, descriptions, `query`"

import copy
import json
from dataclasses import replace

import numpy as np
import pytest
import rasterio
import torch
from safetensors.torch import save_file
from test_bad_input import cli  # noqa: F401
from test_text import SIZES, clip, folder_as_on_the_hub, own_cache  # noqa: F401

from diffclip import (
    PRESETS,
    DiffCLIP,
    InputError,
    few_shot_split,
    read_scene,
    synthetic_scene,
)
from diffclip.data import DATASETS, read_classes, read_descriptions
from diffclip.encoder import Architecture
from diffclip.evaluation import Setting, benchmark
from diffclip.text_alignment import builtin_descriptions, encode_texts

SMALL = Architecture(
    window=7,
    width=32,
    depth=1,
    heads=1,
    hidden=16,
    stem_norm="none",
    decoder_width=16,
    decoder_depth=1,
    decoder_heads=1,
)
TINY = PRESETS["tiny"]
# probabilities are neither averaged over neighbours nor weighted with class shares
QUICK = replace(
    TINY,
    architecture=SMALL,
    pretraining=replace(TINY.pretraining, steps=4, batch_size=16),
    fitting=replace(TINY.fitting, steps=20),
    describing=replace(TINY.describing, context=3),
    transduction=replace(TINY.transduction, smooth=0, shares=0.0, tower_steps=40),
)


def letters(texts):
    "A text encoder of the user's own: how often each letter occurs"
    return [[t.lower().count(chr(97 + i)) + 0.01 for i in range(26)] for t in texts]


def words(texts):
    return [[len(w) for w in (t.split() + [""] * 26)[:26]] for t in texts]


@pytest.fixture(scope="module")
def split(scene):
    return few_shot_split(scene, 3, 0)


@pytest.fixture(scope="module")
def base(scene):
    return DiffCLIP(scene.classes, QUICK, device="cpu").pretrain(scene)


@pytest.fixture(scope="module")
def fitted(base, scene, split):
    return DiffCLIP.on(base, text=letters).fit(scene, split.train)


@pytest.fixture(scope="module")
def scratch(base, scene, split):
    return DiffCLIP.on(base, text="scratch").fit(scene, split.train)


@pytest.fixture
def tower(clip, tmp_path):  # noqa: F811
    folder = folder_as_on_the_hub(tmp_path / "clip", SIZES, clip.state_dict())
    return f"local-dir:{folder}"


@pytest.mark.parametrize("text", ["scratch", letters])
def test_the_order_of_the_classes_does_not_matter(text, base, scene, split):
    maps = [
        DiffCLIP.on(base, classes, text=text).fit(scene, split.train).predict(scene)
        for classes in (scene.classes, dict(reversed(scene.classes.items())))
    ]
    assert (maps[0] == maps[1])[
        scene.valid
    ].mean() > 0.99  # sums in another order round otherwise


def test_permuted_names_are_other_vectors_and_zero_shot_another_answer(
    base, scene, split, fitted
):
    names = np.roll(list(scene.classes.values()), 3).tolist()
    permuted = DiffCLIP.on(base, dict(zip(scene.classes, names)), text=letters)
    assert (permuted.words.class_vectors() - fitted.words.class_vectors()).norm(
        dim=1
    ).min() > 0.1
    zero_shot = copy.deepcopy(fitted)
    zero_shot.stage2.class_vectors = permuted.words.class_vectors()
    assert (zero_shot.predict(scene) != fitted.predict(scene)).mean() > 0.5
    assert all(
        (zero_shot.class_embeddings()[n] == fitted.class_embeddings()[m]).all()
        for n, m in zip(scene.classes.values(), names)
    )


def test_query_is_calibrated(fitted, scene):
    p, proba = fitted.query(scene, "lawn"), fitted.predict_proba(scene)
    assert p.dtype == np.float32 and np.isnan(p[~scene.valid]).all()
    np.testing.assert_allclose(
        p[scene.valid], (proba[2] / (1 + proba[2]))[scene.valid], atol=1e-5
    )  # a known class's word: its probability, with itself as a rival
    other = fitted.query(scene, "brick")
    assert 0 <= other[scene.valid].min() and other[scene.valid].max() <= 1
    vector = encode_texts(letters, ["a multimodal fusion patch of a brick."])[0]
    for same in (vector, vector.numpy() * 7, ["a multimodal fusion patch of a brick."]):
        np.testing.assert_allclose(fitted.query(scene, same), other, atol=1e-6)


def test_maps_of_a_word_do_not_depend_on_the_batch(fitted, scene):
    np.testing.assert_allclose(
        fitted.query(scene, "brick", batch_size=37),
        fitted.query(scene, "brick"),
        atol=1e-5,
    )


def test_add_refine_rename(base, scene, split):
    seven, new = {c: n for c, n in scene.classes.items() if c != 1}, split.train
    m = DiffCLIP.on(base, seven, text=letters).fit(scene, new & (scene.labels != 1))
    stage1, before = (
        copy.deepcopy(m.stage1.network.state_dict()),
        m.predict_proba(scene),
    )
    m.add_class(1, "water", "a wide river", color="#0000ff")
    after = m.predict_proba(scene)
    assert (
        after.shape[0] == 8
        and list(m.classes) == [*seven, 1]
        and m.colors[1] == "#0000ff"
        and m.words.sentences[-1] == ["a wide river"]
    )
    v = scene.valid
    np.testing.assert_allclose(
        (after[:7] / after[:7].sum(0))[:, v], before[:, v], atol=1e-4
    )  # the old classes are to each other as before

    def right():
        known = scene.labels > 0
        return (m.predict(scene) == scene.labels)[known].mean()

    by_name = right()
    m.refine(scene, new)
    assert right() > by_name
    assert all(
        torch.equal(a, m.stage1.network.state_dict()[k]) for k, a in stage1.items()
    )  # stage 1 is left alone
    vectors = m.class_embeddings()
    m.rename(1, "a river")
    assert (
        m.classes[1] == "a river"
        and not np.allclose(m.class_embeddings()["a river"], vectors["water"])
        and (m.class_embeddings()["lawn"] == vectors["lawn"]).all()
    )
    m.rename(1, "sea", "a wide river")
    np.testing.assert_allclose(m.class_embeddings()["sea"], vectors["water"], atol=1e-6)
    m.fit(scene, new)  # and all of it can be fitted again
    assert right() > by_name


@pytest.mark.parametrize("text", ["callable", "tower", "array", "name → vector"])
def test_a_benchmark_goes_on_with_any_text(text, tower, scene, tmp_path):
    "Stage 1 is kept without a text encoder; the next method and the next call need it"
    vectors = np.random.default_rng(0).normal(size=(len(scene.classes), 8))
    text = {
        "callable": letters,
        "tower": tower,
        "array": vectors,
        "name → vector": dict(zip(scene.classes.values(), vectors)),
    }[text]

    def run(methods, text):
        return benchmark(
            {"s": scene},
            methods=methods,
            shots=[2],
            seeds=range(1),
            out=tmp_path / "out",
            setting=Setting(QUICK, text=text, device="cpu"),
        )

    run(["diffclip"], text)
    assert run(["diffclip", "no-line"], text).of("method") == ["diffclip", "no-line"]
    with pytest.raises(InputError, match="another text"):
        run(["no-likeness"], words if callable(text) else vectors[::-1].copy())


def test_a_pretrained_model_finds_its_tower_again(tower, scene, split, tmp_path):
    model = DiffCLIP(scene.classes, QUICK, tower, "cpu").pretrain(scene)
    model.save(tmp_path / "named")
    expected = model.fit(scene, split.train).predict(scene)
    assert (
        DiffCLIP.load(tmp_path / "named", "cpu").fit(scene, split.train).predict(scene)
        == expected
    ).all()
    DiffCLIP(scene.classes, QUICK, letters, "cpu").pretrain(scene).save(
        tmp_path / "called"
    )
    with pytest.raises(InputError, match="without its text encoder"):
        DiffCLIP.load(tmp_path / "called", "cpu").fit(scene, split.train)
    DiffCLIP.load(tmp_path / "called", "cpu", text=letters).fit(scene, split.train)


def test_a_changed_model_is_saved_as_it_is(fitted, scene, tmp_path):
    m = (
        copy.deepcopy(fitted)
        .add_class(20, "brick kiln")
        .rename(3, "meadow", ["grass", "a green meadow"])
    )
    m.save(tmp_path / "run")
    again = DiffCLIP.load(tmp_path / "run", "cpu", letters)
    assert (again.classes, again.words.sentences, again.colors) == (
        m.classes,
        m.words.sentences,
        m.colors,
    )
    assert (again.predict(scene) == m.predict(scene)).all() and (
        again.query(scene, "brick")[scene.valid] == m.query(scene, "brick")[scene.valid]
    ).all()


def test_class_embeddings_are_text_for_another_model(
    fitted, base, scene, split, tmp_path
):
    vectors = fitted.class_embeddings()
    assert all(
        v.shape == (26,) and abs(np.linalg.norm(v) - 1) < 1e-5 for v in vectors.values()
    )
    np.savez(tmp_path / "v.npz", **vectors)
    for text in (vectors, str(tmp_path / "v.npz")):
        assert (
            DiffCLIP.on(base, text=text).fit(scene, split.train).predict(scene)
            == fitted.predict(scene)
        ).all()


def test_a_callable_is_known_by_its_vectors(fitted, scene, tmp_path):
    fitted.save(tmp_path / "run")
    bare = DiffCLIP.load(tmp_path / "run", "cpu")
    assert (bare.predict(scene) == fitted.predict(scene)).all()
    with pytest.raises(InputError, match=r"DiffCLIP.load\(path, text=encoder\)"):
        bare.query(scene, "brick")
    with pytest.raises(
        InputError,
        match="the text encoder letters .* this one is words .*do not compare",
    ):
        DiffCLIP.load(tmp_path / "run", "cpu", words)
    with pytest.raises(InputError, match="letters .*width 26.* this one is .*width 2"):
        DiffCLIP.load(tmp_path / "run", "cpu", lambda texts: np.ones((len(texts), 2)))
    with pytest.raises(
        InputError, match="'letters', and text='scratch' is no text encoder"
    ):
        DiffCLIP.load(tmp_path / "run", "cpu", "scratch")
    assert not np.isnan(
        DiffCLIP.load(tmp_path / "run", "cpu", letters).query(scene, "brick")[
            scene.valid
        ]
    ).any()


def test_a_tower_is_known_by_its_weights(tower, clip, base, scene, split, tmp_path):  # noqa: F811
    m = DiffCLIP.on(base, text=tower).fit(scene, split.train)
    m.save(tmp_path / "run")
    config = json.loads((tmp_path / "run/config.json").read_text())
    assert config["words"]["mark"] == {
        "name": tower,
        "checksum": m.words.encoder.checksum,
    }
    again = DiffCLIP.load(tmp_path / "run", "cpu")
    assert "tower" not in vars(
        again.words.encoder
    )  # nothing is read before it is asked for
    assert (
        again.query(scene, "brick")[scene.valid] == m.query(scene, "brick")[scene.valid]
    ).all()
    save_file(
        {k: v * 1.1 for k, v in clip.state_dict().items()},
        tmp_path / "clip/open_clip_model.safetensors",
    )
    start = m.words.encoder.checksum[:12]
    with pytest.raises(
        InputError, match=f"{tower} .weights {start}….*this one is {tower} .weights"
    ):
        DiffCLIP.load(tmp_path / "run", "cpu").query(scene, "brick")
    with pytest.raises(InputError, match="do not compare"):
        DiffCLIP.load(tmp_path / "run", "cpu", tower)
    with pytest.raises(InputError, match="this one is letters .without a checksum"):
        DiffCLIP.load(tmp_path / "run", "cpu", letters)
    moved = folder_as_on_the_hub(
        tmp_path / "elsewhere", SIZES, clip.state_dict(), "open_clip_pytorch_model.bin"
    )
    assert (
        DiffCLIP.load(tmp_path / "run", "cpu", f"local-dir:{moved}").query(
            scene, "brick"
        )[scene.valid]
        == m.query(scene, "brick")[scene.valid]
    ).all()
    for f in (tmp_path / "clip").iterdir():
        f.unlink()
    (tmp_path / "clip").rmdir()
    assert (
        DiffCLIP.load(tmp_path / "run", "cpu").predict(scene) == m.predict(scene)
    ).all()  # a map needs no tower
    with pytest.raises((InputError, FileNotFoundError), match="no such folder"):
        DiffCLIP.load(tmp_path / "run", "cpu").query(scene, "brick")


@pytest.mark.parametrize("which", ["projection", "all"])
def test_finetuned_towers(which, tower, base, scene, split, tmp_path):
    frozen, m = (
        DiffCLIP.on(base, text=tower),
        DiffCLIP.on(base, text=tower, finetune_text=which),
    )
    m.fit(scene, split.train)
    assert (
        m.words.frozen is None
        and (m.stage2.class_vectors - frozen.words.class_vectors()).abs().max() > 1e-4
    )  # it has learned
    learned = set(m.stage2.text_state)
    assert (
        learned == {"projection.weight"}
        if which == "projection"
        else {"projection.weight", "tower.token_embedding.weight"} < learned
    )
    np.testing.assert_allclose(
        m.encode_sentences(m.words.sentences), m.stage2.class_vectors, atol=1e-5
    )  # new words go through what it has learned
    m.save(tmp_path / "run")
    again = DiffCLIP.load(tmp_path / "run", "cpu")
    assert (
        again.words.finetune == which
        and (again.predict(scene) == m.predict(scene)).all()
    )
    np.testing.assert_allclose(
        again.query(scene, "brick")[scene.valid],
        m.query(scene, "brick")[scene.valid],
        atol=1e-5,
    )
    before = again.stage2.class_vectors.clone()
    again.refine(scene, split.train, steps=5)
    assert not torch.equal(before, again.stage2.class_vectors)


SCRATCH = (
    "text='scratch' has learned the sentences of its own classes as mere labels"
    ".*make the model with a pretrained text encoder"
)
BAD = {
    "query with scratch": (lambda s, f, m: s.query(m, "brick"), SCRATCH),
    "query of a known class with scratch": (
        lambda s, f, m: s.query(m, "lawn"),
        SCRATCH,
    ),
    "add a class with scratch": (lambda s, f, m: s.add_class(9, "brick"), SCRATCH),
    "rename with scratch": (lambda s, f, m: s.rename(1, "brick"), SCRATCH),
    "refine with scratch": (
        lambda s, f, m: s.refine(m, m.labels > 0),
        "does not keep its text tower",
    ),
    "class vectors of scratch before it is fitted": (
        lambda s, f, m: DiffCLIP(m.classes, QUICK, device="cpu").class_embeddings(),
        "learned in fit",
    ),
    "query before fitting": (
        lambda s, f, m: DiffCLIP(m.classes, QUICK, letters, "cpu").query(m, "brick"),
        "has not been fitted",
    ),
    "refine before fitting": (
        lambda s, f, m: DiffCLIP(m.classes, QUICK, letters, "cpu").refine(
            m, m.labels > 0
        ),
        "has not been fitted",
    ),
    "query nothing": (lambda s, f, m: f.query(m, " "), "text of a query is empty"),
    "query an empty list": (lambda s, f, m: f.query(m, []), "the query is an array"),
    "query a vector of another width": (
        lambda s, f, m: f.query(m, np.ones(5)),
        "width 5, the class vectors have 26",
    ),
    "query a zero vector": (lambda s, f, m: f.query(m, np.zeros(26)), "zero rows"),
    "query a NaN": (lambda s, f, m: f.query(m, np.full(26, np.nan)), "NaN"),
    "query another scene": (
        lambda s, f, m: f.query(
            replace(m, modalities={"hsi": m.modalities["hsi"]}), "brick"
        ),
        "no modality lidar",
    ),
    "add a code that is there": (
        lambda s, f, m: f.add_class(3, "brick"),
        "class 3 is there already, as 'lawn'",
    ),
    "add a name that is there": (
        lambda s, f, m: f.add_class(9, "lawn"),
        "two classes have the name 'lawn'",
    ),
    "add code 0": (lambda s, f, m: f.add_class(0, "brick"), "codes start at 1"),
    "add a name that is empty": (
        lambda s, f, m: f.add_class(9, " "),
        "class 9 has no name",
    ),
    "add an empty description": (
        lambda s, f, m: f.add_class(9, "brick", ""),
        "description of 'brick' is empty",
    ),
    "add a code that is no number": (
        lambda s, f, m: f.add_class("b", "brick"),
        "'b' is not a whole number",
    ),
    "rename a class that is not there": (
        lambda s, f, m: f.rename(9, "brick"),
        "there is no class 9",
    ),
    "rename to a name that is there": (
        lambda s, f, m: f.rename(1, "lawn"),
        "two classes have the name",
    ),
    "refine without pixels of a class": (
        lambda s, f, m: f.refine(m, (m.labels > 1) & (m.labels < 9)),
        "no training pixel for: water",
    ),
    "add a class to vectors alone": (
        lambda s, f, m: DiffCLIP(m.classes, QUICK, np.eye(8), "cpu").add_class(
            9, "brick"
        ),
        "came without their text encoder",
    ),
    "an encoder that fails on new words": (
        lambda s, f, m: DiffCLIP(
            m.classes, QUICK, lambda t: np.full((len(t), 3), np.inf), "cpu"
        ).words.class_vectors(),
        "NaN, infinite or zero",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_words(case, scratch, fitted, scene):
    call, say = BAD[case]
    before = (
        dict(fitted.classes),
        fitted.stage2.class_vectors.clone(),
        list(fitted.words.sentences),
    )
    with pytest.raises(InputError, match=say):
        call(scratch, fitted, scene)
    assert (
        before[0] == fitted.classes
        and torch.equal(before[1], fitted.stage2.class_vectors)
        and before[2] == fitted.words.sentences
    )  # nothing half-done


def test_scratch_gives_its_learned_class_vectors(scratch):
    assert {n: v.shape for n, v in scratch.class_embeddings().items()} == {
        n: (32,) for n in scratch.classes.values()
    }


def test_every_benchmark_class_has_a_description():
    for d in (*DATASETS.values(), synthetic_scene(0, 64)):
        if d.name != "mrnet":
            assert all(
                len(t.split()) > 3
                for t in builtin_descriptions(d.classes.values()).values()
            )


CSV = {
    "code,name,description\n1,water,a wide river\n2,trees,\n": {1: "a wide river"},
    "1,water,a wide river\n2,trees,the crowns of trees\n": {
        1: "a wide river",
        2: "the crowns of trees",
    },
    'code,name,color,description\n1,water,#00f,"wide, blue"\n2,trees,#0f0,green\n': {
        1: "wide, blue",
        2: "green",
    },
    "code,name,note\n1,water,x\n2,trees,y\n": {},
    "1,water,#0000ff\n2,trees\n": {},
    "code,name\n1,water\n2,trees\n": {},
    "\ufeffcode,name,description\r\n\r\n1,water,a wide river\r\n2,trees\r\n": {
        1: "a wide river"
    },
}


@pytest.mark.parametrize("text", CSV)
def test_descriptions_in_the_classes_file(text, tmp_path):
    (tmp_path / "c.csv").write_bytes(text.encode())
    assert (
        read_classes(tmp_path / "c.csv") == {1: "water", 2: "trees"}
        and read_descriptions(tmp_path / "c.csv") == CSV[text]
    )


def test_descriptions_in_a_scene_file(scene, tmp_path):
    described = replace(scene, descriptions={3: "short grass"})
    path = described.save_yaml(tmp_path / "s.yaml")
    assert (
        read_scene(path).descriptions == {3: "short grass"}
        and read_scene(path, classes=dict(scene.classes)).descriptions is None
    )
    (tmp_path / "c.csv").write_text(
        "code,name,description\n"
        + "".join(f"{c},{n},{n} from above\n" for c, n in scene.classes.items())
    )
    head = path.read_text().split("classes:")[0].rstrip()
    path.write_text(head + "\nclasses: c.csv\n")
    assert read_scene(path).descriptions[1] == "water from above"


def test_query_on_the_command_line(files, cli, clip, monkeypatch):  # noqa: F811
    monkeypatch.chdir(files)
    folder_as_on_the_hub(files / "clip", SIZES, clip.state_dict())
    (files / "classes.csv").write_text(
        "code,name,description\n"
        + "".join(
            f"{c},{n},{n} from above\n"
            for c, n in synthetic_scene(0, 72).classes.items()
        )
    )
    rasters = ["--modality", "hsi=hsi.tif", "--modality", "lidar=lidar.tif"]
    train = [
        "train",
        *rasters,
        "--labels",
        "labels.tif",
        "--classes",
        "classes.csv",
        "--preset",
        "tiny",
        "--steps",
        1,
    ]
    status, _, err = cli(
        *train,
        "--text",
        "local-dir:clip",
        "--template",
        "a {}.",
        "--template",
        "the {}.",
        "--finetune-text",
        "projection",
        "--out",
        "run",
    )
    assert status == 0, err
    config = json.loads((files / "run/config.json").read_text())
    assert (
        config["words"]["sentences"][0] == ["water from above"]
        and config["words"]["finetune"] == "projection"
    )
    status, out, err = cli(
        "query", *rasters, "--model", "run", "--text", "rooftop", "--out", "q.tif"
    )
    assert status == 0 and "'rooftop' with local-dir:clip" in out, err
    model, scene = (
        DiffCLIP.load("run", "cpu"),
        read_scene({"hsi": "hsi.tif", "lidar": "lidar.tif"}),
    )
    with rasterio.open("q.tif") as src, rasterio.open("hsi.tif") as like:
        assert (src.dtypes[0], src.tags()["query"], src.crs, src.transform) == (
            "float32",
            "rooftop",
            like.crs,
            like.transform,
        ) and np.isnan(src.nodata)
        np.testing.assert_allclose(
            src.read(1), model.query(scene, "rooftop"), atol=1e-6
        )
    (files / "clip").rename(files / "moved")
    assert cli("map", "--model", "run", *rasters, "--out", "map.tif")[0] == 0
    for args, say in (
        (["--text", "rooftop"], "no such folder"),
        (["--text", "rooftop", "--encoder", "local-dir:moved"], None),
        (["--text", " ", "--encoder", "local-dir:moved"], "text of a query is empty"),
        (["--text", "rooftop", "--encoder", "scratch"], "no text encoder"),
    ):
        status, _, err = cli(
            "query", *rasters, "--model", "run", "--out", "r.tif", *args
        )
        assert (
            status == (2 if say else 0)
            and (say or "") in err
            and (files / "r.tif").exists() == (not say)
        ), err
        (files / "r.tif").unlink(missing_ok=True)
    for args, say in (
        (["--descriptions", "mine"], "builtin or none"),
        (["--finetune-text", "all"], "text is 'scratch'"),
        (["--template", "no place"], "must hold {}"),
    ):
        status, _, err = cli(*train, "--out", "other", *args)
        assert status == 2 and say in err and not (files / "other").exists()


def test_query_needs_words(files, cli, scratch, monkeypatch):  # noqa: F811
    monkeypatch.chdir(files)
    scratch.save(files / "run")
    status, _, err = cli(
        "query",
        "--modality",
        "hsi=hsi.tif",
        "--modality",
        "lidar=lidar.tif",
        "--model",
        "run",
        "--text",
        "rooftop",
        "--out",
        "q.tif",
    )
    assert status == 2 and "mere labels" in err and not (files / "q.tif").exists()
    assert (
        cli("query", "--model", "run", "--text", "rooftop", "--out", "q.tif")[0] == 2
    )  # of what?
