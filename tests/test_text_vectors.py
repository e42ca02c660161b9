"Classes with one vector, random numbers, imports, and early checks of the texts"

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import open_clip
import pytest
import torch
from safetensors.torch import save_file
from test_text import SIZES, clip, folder_as_on_the_hub, own_cache  # noqa: F401

from diffclip import InputError
from diffclip.core import seeded
from diffclip.text_alignment import (
    PretrainedText,
    ScratchText,
    TunedText,
    check_distinct,
    check_embeddings,
    check_scratch,
    class_prompts,
    class_sentences,
    encode_classes,
    encode_texts,
    match_embeddings,
    open_text,
    read_embeddings,
)

NAMES = ["road", "lawn", "roof"]
SAME = "the classes 'road' and 'roof' have the same text vector"


@pytest.fixture
def encoder(clip, tmp_path):  # noqa: F811
    folder = folder_as_on_the_hub(tmp_path / "clip", SIZES, clip.state_dict())
    return PretrainedText(f"local-dir:{folder}")


def by_length(texts):
    "A text encoder that knows how long a text is, and nothing else"
    return [[len(text), 1] for text in texts]


# ------------------------------------------------------- classes with one vector


def twice_one_row():
    rows = np.random.default_rng(0).normal(size=(3, 5)).astype(np.float32)
    rows[2] = 3 * rows[0]  # the same direction
    return rows


@pytest.mark.parametrize("form", ["array", "list", "tensor", "mapping", "npz", "npy"])
def test_equal_rows_are_refused(form, tmp_path):
    rows = twice_one_row()
    named = dict(zip(NAMES, rows))
    np.savez(tmp_path / "mine.npz", **named)
    np.save(tmp_path / "mine.npy", rows)
    (tmp_path / "mine.txt").write_text("\n".join(NAMES))
    text = {
        "array": rows,
        "list": rows.tolist(),
        "tensor": torch.from_numpy(rows),
        "mapping": named,
        "npz": tmp_path / "mine.npz",
        "npy": str(tmp_path / "mine.npy"),
    }[form]
    with pytest.raises(InputError, match=f"{SAME}: give each class a vector") as e:
        open_text(text, NAMES)
    source = f"{tmp_path}/mine.{form}" if form.startswith("np") else "text"
    assert str(e.value).startswith(f"{source}: the classes")


def test_rows_that_are_all_equal_are_refused():
    with pytest.raises(InputError, match="'road' and 'lawn' have the same"):
        open_text(np.ones((3, 4)), NAMES)


def test_rows_of_a_file_may_be_equal_where_no_class_has_them(tmp_path):
    rows = dict(zip(NAMES, twice_one_row()), other=np.ones(5, np.float32))
    np.savez(tmp_path / "mine.npz", **rows)
    vectors = open_text(tmp_path / "mine.npz", ["lawn", "roof"]).vectors
    assert vectors.shape == (2, 5)


def test_equal_means_equal_up_to_rounding():
    rows = torch.nn.functional.normalize(torch.randn(3, 64, generator=_generator()))
    assert check_distinct(rows, NAMES) is rows
    rows[2] = rows[0].half().float()
    with pytest.raises(InputError, match=f"^{SAME}: give them different names or desc"):
        check_distinct(rows, NAMES)
    rows[2] = rows[0] + torch.eye(64)[5] * 0.01
    check_distinct(rows, NAMES)
    check_distinct(-rows[:1], NAMES[:1])
    check_distinct(torch.stack([rows[0], -rows[0]]), NAMES[:2])


def _generator():
    return torch.Generator().manual_seed(0)


CAPITALS = ["Trees", "water", "trees"]
SAME_TREES = (
    "the classes 'Trees' and 'trees' have the same text vector: "
    "give them different names or descriptions"
)


def test_capitals_do_not_tell_classes_apart(encoder):
    "CLIP's tokenizer reads small letters"
    sentences = class_sentences(CAPITALS)
    for refused in (
        lambda: check_scratch(sentences, CAPITALS),
        lambda: ScratchText(sentences, names=CAPITALS, seed=0),
        lambda: encode_classes(encoder, sentences, CAPITALS),
        lambda: TunedText(encoder, sentences, "projection", CAPITALS),
        lambda: TunedText(encoder, sentences, "all", CAPITALS),
    ):
        with pytest.raises(InputError, match=f"^{SAME_TREES}$"):
            refused()


@pytest.mark.parametrize(
    "sentences",
    [
        ["asphalt", "grass", "Asphalt"],
        [["asphalt"], ["grass"], ["asphalt"]],
        [["asphalt", "stone"], ["grass"], ["stone", "asphalt"]],
        [["asphalt"], ["grass"], ["asphalt", "asphalt"]],
    ],
)
def test_classes_with_one_description_are_refused(sentences):
    for refused in (
        lambda: check_scratch(sentences, NAMES),
        lambda: ScratchText(sentences, names=NAMES, seed=0),
    ):
        with pytest.raises(InputError, match=SAME):
            refused()
    with pytest.raises(InputError, match="'asphalt' and '[aA]sphalt'|'asphalt' and 's"):
        check_scratch(sentences)  # without names, the first sentences


def test_classes_that_share_some_sentences_are_two():
    check_scratch([["asphalt", "stone"], ["asphalt"], ["stone"]], NAMES)
    check_scratch([["a", "a", "b"], ["a", "b"], ["a", "b", "b"]], NAMES)


def test_a_function_that_gives_classes_one_vector():
    sentences = class_sentences(NAMES, "{}")
    with pytest.raises(InputError, match="'road' and 'lawn' have the same text vector"):
        encode_classes(by_length, sentences, NAMES)
    vectors = encode_classes(by_length, [["a", "bb"], ["ccc"]], NAMES[:2])
    want = torch.nn.functional.normalize(torch.tensor([[1.0, 1], [2, 1]]), dim=1)
    want = torch.nn.functional.normalize(want.mean(0), dim=0)
    torch.testing.assert_close(vectors[0], want)


def test_free_texts_may_be_equal(encoder):
    for function in (encoder, by_length):
        vectors = encode_texts(function, ["a road", "a road"])
        assert torch.equal(vectors[0], vectors[1])


# ---------------------------------------------------------------- random numbers


def states():
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return [torch.get_rng_state(), *cuda]


@pytest.fixture
def untouched(monkeypatch):
    "Fails if the global random numbers are seeded, forked or drawn from"

    def forbidden(*args, **kwargs):
        pytest.fail("the global random numbers were touched")

    def watched(make):
        def made(*args, **kwargs):
            before = states()
            module = make(*args, **kwargs)
            assert all(map(torch.equal, states(), before))
            return module

        return made

    monkeypatch.setattr(torch, "manual_seed", forbidden)
    monkeypatch.setattr(torch.random, "fork_rng", forbidden)
    for owner, name in (
        (open_clip, "CustomTextCLIP"),
        (open_clip.transformer, "TextTransformer"),
    ):
        monkeypatch.setattr(owner, name, watched(getattr(owner, name)))
    before = states()
    yield
    assert all(map(torch.equal, states(), before))


def test_towers_leave_the_callers_random_numbers(encoder, untouched):
    "Not even for a moment: another thread could draw in it"
    prompts = class_prompts(NAMES)
    ScratchText(prompts, seed=3)
    seeded(3, lambda: ScratchText(prompts))
    encoder.build()
    encoder(prompts)
    TunedText(encoder, [[p] for p in prompts], "projection", NAMES)
    TunedText(encoder, [[p] for p in prompts], "all")


def test_scratch_towers_in_threads():
    prompts = class_prompts(NAMES)
    want = [ScratchText(prompts, 16, seed=s)() for s in range(3)]
    torch.manual_seed(5)
    drawn = torch.rand(200)
    torch.manual_seed(5)
    with ThreadPoolExecutor(3) as pool:
        jobs = [pool.submit(ScratchText, prompts, 16, seed=s) for s in range(3)]
        found = torch.cat([torch.rand(10) for _ in range(20)])
        made = [job.result()() for job in jobs]
    assert torch.equal(found, drawn)
    assert all(map(torch.equal, made, want))


def test_the_weights_are_those_of_manual_seed():
    prompts = class_prompts(NAMES)
    torch.manual_seed(3)
    want = ScratchText(prompts, 16).state_dict()
    for tower in (
        ScratchText(prompts, 16, seed=3),
        seeded(3, lambda: ScratchText(prompts, 16)),
    ):
        assert all(torch.equal(v, want[k]) for k, v in tower.state_dict().items())


# ------------------------------------------------------------------------ import

IMPORT = """
import sys, warnings
import numpy, scipy.ndimage, scipy.sparse, scipy.special, sklearn, torch

before = list(warnings.filters)
from diffclip import text_alignment
assert warnings.filters == before, "import"
assert not {"open_clip", "transformers"} & set(sys.modules)
text_alignment.open_text("scratch", ["a", "b"])
assert not {"open_clip", "transformers"} & set(sys.modules)
text_alignment.check_scratch(["a", "b"], ["a", "b"])
text_alignment.ScratchText(["a", "b"], seed=0)
assert "open_clip" in sys.modules
assert warnings.filters == before, "use"
"""


def test_open_clip_is_imported_where_it_is_needed():
    "And the filters of warnings stay as they are, then too"
    done = subprocess.run(
        [sys.executable, "-c", IMPORT], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


# ------------------------------------------------------------------ early checks


def test_a_text_too_long_is_found_without_a_tower(monkeypatch):
    def no_tower(*args, **kwargs):
        pytest.fail("a tower was built")

    monkeypatch.setattr(open_clip.transformer, "TextTransformer", no_tower)
    long = "lawn " * 100
    for refused in (
        lambda: check_scratch(["road", long], NAMES[:2]),
        lambda: check_scratch([["road"], ["grass", long]]),
        lambda: ScratchText(["road", long], seed=0),
    ):
        with pytest.raises(InputError, match="102 tokens is longer than the 77"):
            refused()
    check_scratch(["road", "lawn " * 75], NAMES[:2])


def test_what_is_learned_must_be_known(encoder):
    with pytest.raises(InputError, match="finetune_text='some': use 'projection' or"):
        TunedText(encoder, [["a"], ["b"]], "some")


# ------------------------------------------------------------- vectors of a file


def test_half_precision_and_bfloat16(tmp_path):
    rows = {n: torch.from_numpy(r) for n, r in zip(NAMES[:2], twice_one_row())}
    for kind in (torch.float16, torch.bfloat16):
        save_file({n: v.to(kind) for n, v in rows.items()}, tmp_path / "v.safetensors")
        vectors = open_text(tmp_path / "v.safetensors", NAMES[:2]).vectors
        want = check_embeddings(torch.stack(list(rows.values())), NAMES[:2])
        torch.testing.assert_close(vectors, want, atol=0.01, rtol=0)


def test_the_kind_of_a_file_is_seen_in_it(tmp_path):
    rows = dict(zip(NAMES, twice_one_row()))
    np.savez(tmp_path / "v.npz", **rows)
    (tmp_path / "v.npz").rename(tmp_path / "v.npy")
    np.testing.assert_equal(read_embeddings(tmp_path / "v.npy"), rows)
    np.save(tmp_path / "w.npy", np.ones((3, 2)))
    (tmp_path / "w.npy").rename(tmp_path / "w.npz")
    with pytest.raises(InputError, match="w.npz has no class names"):
        read_embeddings(tmp_path / "w.npz")


@pytest.mark.parametrize(
    "vectors, say",
    [
        ({"a": ["x", "y"], "b": [1, 2]}, "a holds no numbers"),
        ({"a": [[1], [1, 2]], "b": [1, 2]}, "a holds no numbers"),
        ({"a": [[1, 2]], "b": [[1, 3]]}, r"a \(1, 2\), b \(1, 2\): give one width"),
        ({"a": 1, "b": 2}, r"a \(\), b \(\): give one width"),
        ({"a": [1e30, 0], "b": [0, 1]}, "infinite"),
        ({"a": [1e-30, 0], "b": [0, 1]}, "zero rows"),
    ],
)
def test_bad_mappings(vectors, say):
    with pytest.raises(InputError, match=say):
        match_embeddings(vectors, ["a", "b"])


def test_tensors_that_learn_or_are_numbers_in_half_precision():
    rows = torch.eye(2, requires_grad=True)
    assert torch.equal(match_embeddings(dict(a=rows[0], b=rows[1]), "ab"), rows)
    assert torch.equal(open_text(rows.bfloat16(), ["a", "b"]).vectors, rows)


@pytest.mark.parametrize(
    "descriptions, say",
    [
        ({"a": 3}, "description of 'a' is 3: give a sentence, or a list"),
        ({"a": None}, "description of 'a' is None"),
        ({"a": []}, "description of 'a' is empty"),
    ],
)
def test_bad_descriptions(descriptions, say):
    with pytest.raises(InputError, match=say):
        class_sentences(["a"], descriptions=descriptions)


@pytest.mark.parametrize("template", [None, 3, ["a {}", None], "{} {}"])
def test_bad_templates(template):
    templates = template if isinstance(template, list) else [template]
    with pytest.raises(InputError, match="must hold {} once"):
        class_sentences(["a"], templates)
