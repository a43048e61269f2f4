"""The public names of `ssdcore`, and the Python code of the README, the first page and the page on SSD models."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import ssdcore
from ssdcore.contract.plugins import Plugins
from ssdcore.data.synth import synthesize
from ssdcore.errors import ParamError

ROOT = Path(__file__).parent.parent
FEW_STEPS = "epochs=1"


def python_blocks(page: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```$", (ROOT / page).read_text("utf-8"), re.MULTILINE | re.DOTALL)


def run_python(code: str, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Runs a script in a process whose environment says nothing about TensorFlow."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("TF_", "KERAS_"))}
    (folder / "script.py").write_text(code)
    return subprocess.run(
        [sys.executable, "script.py"],
        cwd=folder,
        env=environment | variables,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


def test_every_public_name_is_there() -> None:
    assert [name for name in ssdcore.__all__ if getattr(ssdcore, name, None) is None] == []
    assert dir(ssdcore) == sorted(ssdcore.__all__)
    with pytest.raises(AttributeError, match="no attribute 'detect_everything'"):
        _ = ssdcore.detect_everything


def test_importing_it_and_choosing_parameters_needs_no_tensorflow(tmp_path: Path) -> None:
    done = run_python(
        "import sys, ssdcore; ssdcore.param_set('mobilenet-ssd300'); print({'tensorflow', 'keras'} & {*sys.modules})",
        tmp_path,
    )
    assert (done.stdout, done.stderr) == ("set()\n", "")


def test_pytest_runs_of_others_need_no_tensorflow(tmp_path: Path) -> None:
    """Pytest imports our plugin in every environment that has it."""
    code = "import sys, ssdcore.testing.pytest_plugin; print({'tensorflow', 'keras'} & {*sys.modules})"
    done = run_python(code, tmp_path)
    assert (done.stdout, done.stderr) == ("set()\n", "")


def test_tensorflow_is_loaded_with_defaults_that_give_way_to_the_environment(tmp_path: Path) -> None:
    code = "import os, ssdcore; ssdcore.train; print(*map(os.environ.get, ('TF_ENABLE_ONEDNN_OPTS', 'KERAS_BACKEND')))"
    assert run_python(code, tmp_path).stdout == "1 tensorflow\n"
    loud = run_python(code, tmp_path, TF_ENABLE_ONEDNN_OPTS="0", TF_CPP_MIN_LOG_LEVEL="0")
    assert loud.stdout == "0 tensorflow\n"
    assert "CPU instructions" in loud.stderr


def test_param_set_takes_names_files_and_overrides(plugins: Plugins, tmp_path: Path) -> None:
    shipped = plugins.param_sets["mobilenet025-ssd300"]
    assert ssdcore.param_set("mobilenet025-ssd300") == shipped
    changed = ssdcore.param_set("mobilenet025-ssd300", "train.seed=7", "backbone=vgg_16", plugins=plugins)
    assert (changed.train.seed, changed.backbone) == (7, "vgg_16")
    (tmp_path / "mine.yaml").write_text(changed.to_yaml())
    assert ssdcore.param_set(tmp_path / "mine.yaml") == changed
    with pytest.raises(ParamError, match="did you mean 'mobilenet025-ssd300'"):
        ssdcore.param_set("mobilenet25-ssd300")


def test_the_script_of_the_readme_runs_and_prints_nothing_but_its_results(tmp_path: Path) -> None:
    """On eight images and for one epoch; with a threshold of 0, since a net that has barely learned finds nothing."""
    synthesize(tmp_path / "my_images", 8, 4, seed=1)
    shutil.copy(tmp_path / "my_images/JPEGImages/00000.jpg", tmp_path / "image.jpg")
    (code,) = (block for block in python_blocks("README.md") if "convert(" in block)
    assert code in (ROOT / "docs/index.md").read_text("utf-8")
    few = code.replace("epochs=60", FEW_STEPS).replace("score_threshold=0.5", "score_threshold=0.0")
    assert few.count("\n") == code.count("\n") <= 14
    done = run_python(few, tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    scores, *found = done.stdout.splitlines()
    assert scores.startswith("{'circle': ")
    assert found
    assert {line.split()[0] for line in found} <= {"circle", "square", "triangle"}


@pytest.mark.slow
def test_the_code_of_the_model_page_runs(tmp_path: Path) -> None:
    synthesize(tmp_path / "shapes", 4, 2, seed=1)
    prepare = "from ssdcore import convert\nconvert('shapes', 'records')\n"
    check = "assert boxes.shape == (2386, 4) and np.isfinite(boxes).all() and abs(scores.sum(1) - 1).max() < 1e-5\n"
    done = run_python(prepare + "\n".join(python_blocks("docs/model.md")) + check, tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
