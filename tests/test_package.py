"The wheel: what a user installs"

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    out = tmp_path_factory.mktemp("wheel")
    source = out / "source"
    shutil.copytree(
        ROOT,
        source,
        symlinks=True,
        ignore=shutil.ignore_patterns(
            ".venv", ".git", "__pycache__", "nbs", "_proc", "_docs"
        ),
    )
    r = subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "-o", str(out), str(source)],
        capture_output=True,
        text=True,
    )
    if (
        "Could not find a version" in r.stdout + r.stderr
        or "ConnectionError" in r.stderr
    ):
        pytest.skip("no package registry to build the wheel with")
    assert r.returncode == 0, r.stderr[-2000:]
    return next(out.glob("*.whl"))


def test_wheel_holds_the_library_and_nothing_else(wheel):
    names = {n.split("/")[0] for n in zipfile.ZipFile(wheel).namelist()}
    assert names == {"diffclip", f"diffclip-{wheel.name.split('-')[1]}.dist-info"}
    assert any(
        n.endswith("licenses/LICENSE") for n in zipfile.ZipFile(wheel).namelist()
    )
    assert "diffclip/descriptions.yaml" in zipfile.ZipFile(wheel).namelist()


@pytest.mark.parametrize("fastcore", ["fastcore<2", "fastcore>=2"])
def test_works_with_fastcore_1_and_2(wheel, fastcore, tmp_path):
    "The library alone, with either fastcore, does its job in a new process"
    uv = shutil.which("uv")
    pip = (
        [uv, "pip", "install", "-q", "--python", sys.executable]
        if uv
        else [sys.executable, "-m", "pip", "install", "-q"]
    )
    r = subprocess.run(
        [*pip, "--no-deps", "--target", str(tmp_path), str(wheel), fastcore],
        capture_output=True,
        text=True,
    )
    if r.returncode:
        pytest.skip(f"{fastcore} is not to be had: {r.stderr[-200:]}")
    code = (
        "import fastcore, diffclip, numpy as np; from diffclip import *; s = synthetic_scene(0, 64); p = few_shot_split(s, 2)\n"
        "m = DiffCLIP(s.classes, 'tiny', device='cpu').pretrain(s, steps=1).fit(s, p.train)\n"
        "print(diffclip.__file__, fastcore.__version__, evaluate(s, m.predict(s), p.test).n_test)"
    )
    r = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
    )
    assert r.returncode == 0, r.stderr
    where, version, n = r.stdout.split()
    assert (
        where.startswith(str(tmp_path))
        and (int(version.split(".")[0]) < 2) == (fastcore == "fastcore<2")
        and int(n) > 1000
    )
