"Text towers: the real loading code, on checkpoints made here"

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from safetensors.torch import save_file

from diffclip import DiffCLIP, InputError
from diffclip.core import default_root
from diffclip.data import SYNTHETIC_CLASSES
from diffclip.text_alignment import (
    PretrainedText,
    cache_file,
    class_prompts,
    class_sentences,
    find_tower,
    fitting_tokens,
    open_text,
    parse_text,
    text_state,
)

ARCH = "Small-CLIP"
SIZES = {
    "embed_dim": 32,
    "vision_cfg": {"layers": 1, "width": 64, "image_size": 32, "patch_size": 16},
    "text_cfg": {"width": 64, "heads": 2, "layers": 2},
}
PROMPTS = class_prompts(SYNTHETIC_CLASSES.values())


def folder_as_on_the_hub(folder, sizes, state, name="open_clip_model.safetensors"):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "open_clip_config.json").write_text(
        json.dumps({"model_cfg": sizes, "preprocess_cfg": {}})
    )
    if name.endswith("safetensors"):
        save_file(state, folder / name)
    else:
        torch.save(state, folder / name)
    return folder


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    "A small CLIP with random weights, an architecture that open_clip knows"
    path = tmp_path_factory.mktemp("arch") / f"{ARCH}.json"
    path.write_text(json.dumps(SIZES))
    open_clip.add_model_config(path)
    torch.manual_seed(1)
    return open_clip.create_model(ARCH).eval()


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("DIFFCLIP_CACHE", str(tmp_path_factory.mktemp("cache")))


def theirs(clip, tokenize):
    with torch.no_grad():
        return clip.encode_text(tokenize(PROMPTS), normalize=True)


FORMS = {
    "state dict": lambda s, d: torch.save(s, d / "w.pt"),
    "under state_dict, with an optimiser": lambda s, d: torch.save(
        {
            "epoch": 3,
            "state_dict": {f"module.{k}": v for k, v in s.items()},
            "optimizer": {"lr": 0.1},
        },
        d / "w.pt",
    ),
    "before torch 1.6": lambda s, d: torch.save(
        s, d / "w.pt", _use_new_zipfile_serialization=False
    ),
    "half precision": lambda s, d: torch.save(
        {k: v.half().float() for k, v in s.items()}, d / "w.pt"
    ),
    "safetensors": lambda s, d: save_file(s, d / "w.safetensors"),
    "text tower under text.": lambda s, d: save_file(
        open_clip.model.convert_to_custom_text_state_dict(s), d / "w.safetensors"
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_checkpoint_gives_open_clips_embeddings(clip, form, tmp_path):
    FORMS[form](clip.state_dict(), tmp_path)
    ours = PretrainedText(f"{ARCH}:{next(tmp_path.iterdir())}")(PROMPTS)
    want = theirs(clip, open_clip.get_tokenizer(ARCH))
    torch.testing.assert_close(
        ours, want, atol=1e-3 if form == "half precision" else 1e-6, rtol=0
    )


@pytest.mark.parametrize(
    "name", ["open_clip_model.safetensors", "open_clip_pytorch_model.bin", "RS-ViT.pt"]
)
def test_local_hub_folder(clip, name, tmp_path):
    folder = folder_as_on_the_hub(tmp_path / "model", SIZES, clip.state_dict(), name)
    torch.testing.assert_close(
        PretrainedText(f"local-dir:{folder}")(PROMPTS),
        theirs(clip, open_clip.get_tokenizer(ARCH)),
        atol=1e-6,
        rtol=0,
    )


def test_hub_name_from_the_hubs_cache(clip, tmp_path, monkeypatch):
    "What an earlier download has left is enough"
    from huggingface_hub import constants

    repo = tmp_path / "models--org--rs-clip"
    folder_as_on_the_hub(repo / "snapshots" / ("0" * 40), SIZES, clip.state_dict())
    (repo / "refs").mkdir()
    (repo / "refs/main").write_text("0" * 40)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    torch.testing.assert_close(
        PretrainedText("hf-hub:org/rs-clip")(PROMPTS),
        theirs(clip, open_clip.get_tokenizer(ARCH)),
        atol=1e-6,
        rtol=0,
    )


def test_tokenizer_of_a_siglip(tmp_path):
    """No causal mask, another tokenizer, a projection with a bias.

    The tokenizer's files lie in the model's folder."""
    tokenizers = pytest.importorskip("tokenizers")
    transformers = pytest.importorskip("transformers")
    in_prompts = sorted({w for p in PROMPTS for w in p.replace(".", " .").split()})
    marks = ["<pad>", "</s>", "<unk>"]
    words = {word: i for i, word in enumerate(marks + in_prompts)}
    raw = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, "<unk>"))
    raw.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    raw.post_processor = tokenizers.processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", 1)]
    )
    sizes = {
        "embed_dim": 32,
        "custom_text": True,
        "init_logit_bias": -10,
        "vision_cfg": SIZES["vision_cfg"],
        "text_cfg": {
            "width": 64,
            "heads": 2,
            "layers": 2,
            "context_length": 16,
            "vocab_size": len(words),
            "hf_tokenizer_name": "nobody/nothing",
            "tokenizer_kwargs": {"clean_up_tokenization_spaces": False},
            "no_causal_mask": True,
            "proj_bias": True,
            "pool_type": "last",
        },
    }
    torch.manual_seed(2)
    siglip = open_clip.CustomTextCLIP(
        **{k: v for k, v in sizes.items() if k != "custom_text"}
    ).eval()
    folder = folder_as_on_the_hub(tmp_path / "siglip", sizes, siglip.state_dict())
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=raw, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    ).save_pretrained(folder)
    encoder = PretrainedText(f"local-dir:{folder}")
    torch.testing.assert_close(
        encoder(PROMPTS),
        theirs(siglip, open_clip.get_tokenizer(f"local-dir:{folder}")),
        atol=1e-6,
        rtol=0,
    )
    encoder(["lawn " * 15])
    with pytest.raises(InputError, match="17 tokens is longer than the 16"):
        encoder(["lawn " * 16])


def test_coca_without_its_decoder(tmp_path):
    sizes = {
        "embed_dim": 32,
        "vision_cfg": {**SIZES["vision_cfg"], "output_tokens": True},
        "text_cfg": {
            **SIZES["text_cfg"],
            "context_length": 76,
            "embed_cls": True,
            "output_tokens": True,
        },
        "multimodal_cfg": {"width": 64, "heads": 2, "layers": 1, "context_length": 76},
    }
    torch.manual_seed(3)
    coca = open_clip.CoCa(**sizes).eval()
    folder = folder_as_on_the_hub(
        tmp_path / "coca", {**sizes, "custom_text": True}, coca.state_dict()
    )
    torch.testing.assert_close(
        PretrainedText(f"local-dir:{folder}")(PROMPTS),
        theirs(coca, open_clip.get_tokenizer(f"local-dir:{folder}")),
        atol=1e-6,
        rtol=0,
    )


def test_the_tag_decides_on_quick_gelu(tmp_path, monkeypatch):
    "ViT-B-32/openai was trained with it, though the architecture does not say so"
    monkeypatch.setattr(open_clip, "download_pretrained", lambda tag: tmp_path)
    assert (
        find_tower("ViT-B-32/openai")[0]["quick_gelu"]
        and not find_tower("ViT-B-32/laion2b_s34b_b79k")[0]["quick_gelu"]
    )
    (tmp_path / "w.pt").touch()
    assert (
        find_tower(f"ViT-B-32-quickgelu:{tmp_path}/w.pt")[0]["quick_gelu"]
        and not find_tower(f"ViT-B-32:{tmp_path}/w.pt")[0]["quick_gelu"]
    )


MEMORY = """
import sys

import open_clip
import torch

from diffclip.text_alignment import PretrainedText


def memory(key):
    lines = open("/proc/self/status").read().splitlines()
    return int(next(line for line in lines if line.startswith(key)).split()[1]) / 1024


torch.zeros(1000, 1000) @ torch.zeros(1000, 1000)
open_clip.SimpleTokenizer()
before = memory("VmRSS")
encoders = [PretrainedText(spec, cache=False) for spec in sys.argv[1:]]
for encoder in encoders:
    encoder(["a lawn"])
weights = [sum(p.numel() for p in e.tower.parameters()) for e in encoders]
print(memory("VmRSS") - before, memory("VmHWM") - before)
print(*(n * 4 / 2**20 for n in weights))
"""


@pytest.mark.skipif(
    not Path("/proc/self/status").exists(),
    reason="resident memory is read from /proc (Linux)",
)
def test_only_the_text_tower_is_in_memory(tmp_path):
    """An image tower of 195 MB beside a text tower of 12 MB, in both kinds of file.

    A fresh process loads them: neither its end nor its peak has room for one."""
    sizes = {
        **SIZES,
        "vision_cfg": {
            "layers": 4,
            "width": 1024,
            "head_width": 64,
            "image_size": 32,
            "patch_size": 16,
        },
    }
    model = open_clip.CLIP(**sizes)
    image = sum(p.numel() for p in model.visual.parameters()) * 4 / 2**20
    specs = []
    for form in ("open_clip_model.safetensors", "open_clip_pytorch_model.bin"):
        folder = tmp_path / form[-3:]
        folder_as_on_the_hub(folder, sizes, model.state_dict(), form)
        specs.append(f"local-dir:{folder}")
    r = subprocess.run(
        [sys.executable, "-c", MEMORY, *specs], capture_output=True, text=True
    )
    assert r.returncode == 0, r.stderr
    grown, peak, *texts = map(float, r.stdout.split())
    assert image > 190 and max(texts) < 20
    assert grown <= peak < 100, (
        f"image tower {image:.0f} MB, text towers {texts} MB: "
        f"memory grew by {grown:.0f} MB, at most {peak:.0f} MB"
    )


def test_checksum_is_of_the_weights_not_of_the_file(clip, tmp_path):
    state = clip.state_dict()
    torch.save(state, tmp_path / "a.pt")
    save_file(state, tmp_path / "b.safetensors")
    save_file(
        {k: v + 1e-3 if k == "text_projection" else v for k, v in state.items()},
        tmp_path / "c.safetensors",
    )
    save_file(
        {k: v + 1 if k.startswith("visual") else v for k, v in state.items()},
        tmp_path / "d.safetensors",
    )
    a, b, c, d = (
        PretrainedText(f"{ARCH}:{tmp_path / f}").checksum
        for f in ("a.pt", "b.safetensors", "c.safetensors", "d.safetensors")
    )
    assert a == b == d != c


def test_cache(clip, tmp_path, monkeypatch):
    "Read where it is, made again where it is damaged; a folder may refuse writing"
    save_file(clip.state_dict(), tmp_path / "w.safetensors")
    spec = f"{ARCH}:{tmp_path / 'w.safetensors'}"
    want = PretrainedText(spec)(PROMPTS)
    files = sorted((default_root() / "text").iterdir())
    assert len(files) == len(PROMPTS) and all(f.suffix == ".npy" for f in files)
    second = PretrainedText(spec)
    assert torch.equal(second(PROMPTS), want) and "tower" not in vars(second)
    for damage in (b"", b"junk", pickle.dumps([1]), files[0].read_bytes()[:-8]):
        files[0].write_bytes(damage)
        assert torch.equal(PretrainedText(spec)(PROMPTS), want)
    np.save(files[1], np.full(32, np.nan, np.float32))
    for _ in range(2):
        assert torch.equal(PretrainedText(spec)(PROMPTS), want)
    (tmp_path / "a file").touch()
    monkeypatch.setenv("DIFFCLIP_CACHE", str(tmp_path / "a file"))
    assert torch.equal(PretrainedText(spec)(PROMPTS), want)
    checksum = PretrainedText(spec).checksum
    assert cache_file(checksum, "a") != cache_file(checksum, "b")
    assert parse_text(spec)[0] == ARCH


class Code:
    def __reduce__(self):
        return (os.system, ("touch ran",))


WAYS_OUT = (
    "'ARCH:/path/to/weights', your own class vectors as an array, or text='scratch'"
)

# name: (files to make, text, what the message must say, classes where they matter)
BAD = {
    "an empty class name": (
        lambda d, clip: None,
        "scratch",
        "class 2 has no name",
        ["a", " "],
    ),
    "two classes of one name": (
        lambda d, clip: None,
        "scratch",
        "two classes have the name 'a'",
        ["a", "a"],
    ),
    "a pickle of code": (
        lambda d, clip: torch.save({"state_dict": Code()}, d / "w.pt"),
        f"{ARCH}:w.pt",
        "never run.*save its state_dict",
    ),
    "a plain pickle of code": (
        lambda d, clip: (d / "w.pt").write_bytes(pickle.dumps(Code())),
        f"{ARCH}:w.pt",
        "never run.*save its state_dict",
    ),
    "a whole module": (
        lambda d, clip: torch.save(torch.nn.Linear(2, 2), d / "w.pt"),
        f"{ARCH}:w.pt",
        "never run.*save its state_dict",
    ),
    "a TorchScript archive": (
        lambda d, clip: torch.jit.save(
            torch.jit.trace(torch.nn.Linear(2, 2), torch.ones(1, 2)), str(d / "w.pt")
        ),
        f"{ARCH}:w.pt",
        "never run.*save its state_dict",
    ),
    "no checkpoint": (
        lambda d, clip: (d / "w.pt").write_bytes(b"no weights"),
        f"{ARCH}:w.pt",
        "could not be loaded.*class vectors as an array",
    ),
    "no safetensors": (
        lambda d, clip: (d / "w.safetensors").write_bytes(b"no weights"),
        f"{ARCH}:w.safetensors",
        "could not be loaded.*class vectors as an array",
    ),
    "half a file": (
        lambda d, clip: (
            torch.save(clip.state_dict(), d / "v.pt"),
            (d / "w.pt").write_bytes((d / "v.pt").read_bytes()[:5000]),
        ),
        f"{ARCH}:w.pt",
        "could not be loaded",
    ),
    "no state dict": (
        lambda d, clip: torch.save(torch.ones(3), d / "w.pt"),
        f"{ARCH}:w.pt",
        "holds no text tower",
    ),
    "an image tower alone": (
        lambda d, clip: save_file(
            {k: v for k, v in clip.state_dict().items() if k.startswith("visual")},
            d / "w.safetensors",
        ),
        f"{ARCH}:w.safetensors",
        "holds no text tower",
    ),
    "another architecture": (
        lambda d, clip: save_file(clip.state_dict(), d / "w.safetensors"),
        "ViT-B-32:w.safetensors",
        "does not fit the text tower of ViT-B-32, it is another architecture's",
    ),
    "a missing file": (
        lambda d, clip: None,
        f"{ARCH}:nowhere.pt",
        "nowhere.pt: no such file",
    ),
    "a missing folder": (
        lambda d, clip: None,
        "local-dir:nowhere",
        "nowhere: no such folder",
    ),
    "a folder without a configuration": (
        lambda d, clip: (d / "m").mkdir(),
        "local-dir:m",
        "could not be loaded.*open_clip_config.json",
    ),
    "a folder without weights": (
        lambda d, clip: (
            (d / "m").mkdir(),
            (d / "m/open_clip_config.json").write_text(
                json.dumps({"model_cfg": SIZES})
            ),
        ),
        "local-dir:m",
        "m holds no weights",
    ),
    "a hub name without a network": (
        lambda d, clip: None,
        "hf-hub:nobody/nothing",
        f"hf-hub:nobody/nothing.*{WAYS_OUT}",
    ),
    "a tag without a network": (
        lambda d, clip: None,
        "ViT-B-32/openai",
        f"ViT-B-32/openai.*{WAYS_OUT}",
    ),
    "a tokenizer without a network": (
        lambda d, clip: save_file(clip.state_dict(), d / "w.safetensors"),
        "ViT-B-16-SigLIP:w.safetensors",
        "tokenizer|another architecture",
    ),
    "an unknown tag": (
        lambda d, clip: None,
        "ViT-B-32/openia",
        "no weights 'openia'; choose from openai",
    ),
    "an unknown architecture": (lambda d, clip: None, "ViT-B32/openai", "ViT-B-32"),
    "no such thing": (lambda d, clip: None, "word2vec", "use 'scratch', 'ARCH/TAG'"),
    "vectors that are missing": (
        lambda d, clip: None,
        "mine.npz",
        "mine.npz: no such file",
    ),
    "vectors for other classes": (
        lambda d, clip: np.savez(d / "mine.npz", water=np.ones(3), snow=np.ones(3)),
        "mine.npz",
        "no vector for trees, lawn.*it has water, snow",
    ),
    "vectors of two widths": (
        lambda d, clip: np.savez(
            d / "mine.npz",
            **{n: np.ones(3 + (n == "lawn")) for n in SYNTHETIC_CLASSES.values()},
        ),
        "mine.npz",
        r"lawn \(4,\).*one width",
    ),
    "vectors that are zero": (
        lambda d, clip: np.savez(
            d / "mine.npz", **{n: np.zeros(3) for n in SYNTHETIC_CLASSES.values()}
        ),
        "mine.npz",
        "zero rows",
    ),
    "vectors that are NaN": (
        lambda d, clip: save_file(
            {n: torch.full((3,), torch.nan) for n in SYNTHETIC_CLASSES.values()},
            d / "mine.safetensors",
        ),
        "mine.safetensors",
        "NaN",
    ),
    "vectors that are objects": (
        lambda d, clip: np.save(d / "mine.npy", np.array([{}]), allow_pickle=True),
        "mine.npy",
        "cannot be read as arrays",
    ),
    "half a file of vectors": (
        lambda d, clip: (
            np.savez(d / "whole.npz", water=np.ones(999)),
            (d / "mine.npz").write_bytes((d / "whole.npz").read_bytes()[:500]),
        ),
        "mine.npz",
        "cannot be read as arrays",
    ),
    "a single number": (
        lambda d, clip: (
            np.save(d / "mine.npy", 3.0),
            (d / "mine.txt").write_text("water\n"),
        ),
        "mine.npy",
        "give one row",
    ),
    "vectors without names": (
        lambda d, clip: np.save(d / "mine.npy", np.ones((8, 3))),
        "mine.npy",
        "one a line, in mine.txt",
    ),
    "vectors and too few names": (
        lambda d, clip: (
            np.save(d / "mine.npy", np.ones((8, 3))),
            (d / "mine.txt").write_text("water\n"),
        ),
        "mine.npy",
        r"shape \(8, 3\), with 1 names",
    ),
    "two vectors of one name": (
        lambda d, clip: (
            np.save(d / "mine.npy", np.ones((2, 3))),
            (d / "mine.txt").write_text("water\nwater\n"),
        ),
        "mine.npy",
        "two rows have the name water",
    ),
    "an array of another length": (
        lambda d, clip: None,
        np.ones((3, 4)),
        "each of the 8 classes",
    ),
    "an array of words": (
        lambda d, clip: None,
        np.array([["a"]] * 8),
        "holds no numbers",
    ),
    "a ragged list": (
        lambda d, clip: None,
        [[1], [1, 2]] * 4,
        "rows of different lengths",
    ),
    "an encoder that returns one row": (
        lambda d, clip: None,
        lambda texts: np.ones(4),
        "<lambda> returned an array of shape",
    ),
    "an encoder that returns nothing": (
        lambda d, clip: None,
        lambda texts: None,
        "<lambda> returned an array",
    ),
    "a text too long": (
        lambda d, clip: folder_as_on_the_hub(
            d / "m",
            {**SIZES, "text_cfg": {**SIZES["text_cfg"], "context_length": 12}},
            open_clip.CLIP(
                **{**SIZES, "text_cfg": {**SIZES["text_cfg"], "context_length": 12}}
            ).state_dict(),
        ),
        "local-dir:m",
        "a text of 13 tokens is longer than the 12.*fusion patch of a tiled roof",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_text(case, clip, tmp_path, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(
        open_clip.pretrained,
        "download_pretrained_from_url",
        lambda *a, **k: pytest.fail("went to the network"),
    )
    monkeypatch.chdir(tmp_path)
    make, text, say, *classes = BAD[case]
    make(tmp_path, clip)
    with pytest.raises((InputError, FileNotFoundError), match=say) as e:
        DiffCLIP(*(classes or [SYNTHETIC_CLASSES]), "tiny", text, "cpu").load_text()
    assert not Path("ran").exists() and "weights_only" not in str(e.value)


def test_texts_too_long_for_scratch():
    with pytest.raises(InputError, match="102 tokens is longer than the 77"):
        fitting_tokens(open_clip.SimpleTokenizer(), ["lawn " * 100])


@pytest.mark.parametrize(
    "names, kw, say",
    [
        (["a", "b"], dict(template=()), "no prompt template"),
        (["a", "b"], dict(template=["{}", "b"]), "must hold {}"),
        (["a", "b"], dict(descriptions={"a": ""}), "description of 'a' is empty"),
        (["a", "b"], dict(descriptions={1: [" "]}), "description of 'a' is empty"),
        (["a", "b"], dict(descriptions={7: "c"}), "given for 7"),
        (["a", "b"], dict(descriptions="builtin"), "no built-in description of a, b"),
        (["a", "b"], dict(descriptions="mine"), "give 'builtin'"),
        (["a", "b"], dict(finetune_text="some"), "'projection' or 'all'"),
        (["a", "b"], dict(finetune_text="all"), "text is 'scratch'"),
        (["a", "b"], dict(text=np.eye(2), finetune_text="all"), "text is 'array'"),
    ],
)
def test_bad_names_and_prompts(names, kw, say):
    with pytest.raises(InputError, match=say):
        DiffCLIP(names, "tiny", device="cpu", **kw)


def test_vectors_are_matched_by_name(tmp_path):
    rng = np.random.default_rng(0)
    names = list(SYNTHETIC_CLASSES.values())
    vectors = {n: rng.normal(size=5).astype(np.float32) for n in names}
    backwards = dict(reversed(vectors.items()))
    tensors = {n: torch.from_numpy(v) for n, v in backwards.items()}
    save_file(tensors, tmp_path / "v.safetensors")
    np.savez(tmp_path / "v.npz", **backwards)
    np.save(tmp_path / "v.npy", np.stack(list(backwards.values())))
    (tmp_path / "v.txt").write_text("\n".join(backwards) + "\n")
    want = open_text(np.stack(list(vectors.values())), names).vectors
    files = [tmp_path / "v.safetensors", str(tmp_path / "v.npz"), tmp_path / "v.npy"]
    for text in (*files, backwards):
        assert torch.equal(open_text(text, names).vectors, want)


def count_letters(texts):
    return [[len(text), 1, 0] for text in texts]


def mean_of_counts(*lengths):
    units = [np.array([n, 1, 0]) / np.hypot(n, 1) for n in lengths]
    mean = np.mean(units, axis=0)
    return mean / np.linalg.norm(mean)


def test_ensembles_are_means_of_unit_vectors():
    model = DiffCLIP(
        ["a", "bb"],
        "tiny",
        count_letters,
        "cpu",
        template=("{}", "a {}."),
        descriptions={2: ["cc", "c c c"]},
    )
    want = [mean_of_counts(1, 4), mean_of_counts(2, 5)]
    np.testing.assert_allclose(model.load_text(), want, atol=1e-6)
    assert (
        model.sentences
        == class_sentences(["a", "bb"], ("{}", "a {}."), {"bb": ["cc", "c c c"]})
        == [["a", "a a."], ["cc", "c c c"]]
    )


def test_text_state_reads_no_more(clip, tmp_path):
    save_file(clip.state_dict(), tmp_path / "w.safetensors")
    assert not [
        k
        for k in text_state(tmp_path / "w.safetensors")
        if k.startswith(("visual", "logit"))
    ]
