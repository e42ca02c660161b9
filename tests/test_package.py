"The wheel: what a user installs"

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LEFT_OUT = (".venv", ".git", "__pycache__", "nbs", "_proc", "_docs", "build")

# what a user does first, in a new process with nothing but the wheel
FIRST_MAP = """
import diffclip, fastcore
from diffclip import DiffCLIP, evaluate, few_shot_split, synthetic_scene
scene = synthetic_scene(seed=0, size=64)
split = few_shot_split(scene, shots=2)
model = DiffCLIP(scene.classes, preset="tiny", device="cpu")
model.pretrain(scene, steps=1).fit(scene, split.train)
report = evaluate(scene, model.predict(scene), split.test)
print(diffclip.__file__, fastcore.__version__, report.n_test)
"""


def run(*command, **options):
    return subprocess.run(
        list(map(str, command)), capture_output=True, text=True, **options
    )


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    out = tmp_path_factory.mktemp("wheel")
    source = out / "source"
    ignore = shutil.ignore_patterns(*LEFT_OUT)
    shutil.copytree(ROOT, source, symlinks=True, ignore=ignore)
    done = run(sys.executable, "-m", "build", "--wheel", "-o", out, source)
    messages = done.stdout + done.stderr
    if "Could not find a version" in messages or "ConnectionError" in messages:
        pytest.skip("no package registry to build the wheel with")
    assert done.returncode == 0, done.stderr[-2000:]
    return next(out.glob("*.whl"))


def test_wheel_holds_the_library_and_nothing_else(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    version = wheel.name.split("-")[1]
    folders = {name.split("/")[0] for name in names}
    assert folders == {"diffclip", f"diffclip-{version}.dist-info"}
    assert any(name.endswith("licenses/LICENSE") for name in names)
    files = [p for p in (ROOT / "diffclip").rglob("*") if p.suffix in (".py", ".yaml")]
    expected = {p.relative_to(ROOT).as_posix() for p in files}
    assert "diffclip/descriptions.yaml" in expected
    assert "diffclip/data/scene.py" in expected
    assert {n for n in names if n.startswith("diffclip/")} == expected


@pytest.mark.parametrize("fastcore", ["fastcore<2", "fastcore>=2"])
def test_works_with_fastcore_1_and_2(wheel, fastcore, tmp_path):
    "The library alone, with either fastcore, makes a map in a new process"
    install = [sys.executable, "-m", "pip", "install", "-q"]
    if uv := shutil.which("uv"):
        install = [uv, "pip", "install", "-q", "--python", sys.executable]
    done = run(*install, "--no-deps", "--target", tmp_path, wheel, fastcore)
    if done.returncode:
        pytest.skip(f"{fastcore} is not to be had: {done.stderr[-200:]}")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = run(sys.executable, "-c", FIRST_MAP, cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stderr
    where, version, n_test = done.stdout.split()
    assert where.startswith(str(tmp_path))
    assert (int(version.split(".")[0]) < 2) == (fastcore == "fastcore<2")
    assert int(n_test) > 1000
