"""Packaging: contents and metadata of the five wheels, and an environment with nothing else of ours."""

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from email import message_from_string
from pathlib import Path

import pytest

import ssdcore

ROOT = Path(__file__).resolve().parent.parent
PROJECTS = {
    "ssdcore": ("ssdcore", ROOT),
    "ssd_cli": ("ssdcli", ROOT / "cli"),
    "ssd_vgg": ("ssd_vgg", ROOT / "plugins/ssd-vgg"),
    "ssd_mobilenet": ("ssd_mobilenet", ROOT / "plugins/ssd-mobilenet"),
    "ssd_keras": ("ssd_keras", ROOT / "plugins/ssd-keras"),
}
ENTRY_POINTS = {
    "ssdcore": "[pytest11] ssdcore = ssdcore.testing.pytest_plugin",
    "ssd_cli": "[console_scripts] ssd = ssdcli.main:main",
    "ssd_vgg": "[ssdcore] vgg = ssd_vgg",
    "ssd_mobilenet": "[ssdcore] mobilenet = ssd_mobilenet",
    "ssd_keras": "[ssdcore] keras = ssd_keras",
}
OURS = ("ssdcore", "ssd_cli", "ssd_vgg", "ssd_mobilenet", "ssd_keras", "ssdcli", "__editable__", "__pycache__")


def run(*command: str | Path, folder: Path = ROOT) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV")}
    return subprocess.run(
        [str(part) for part in command],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def succeed(*command: str | Path, folder: Path = ROOT) -> str:
    done = run(*command, folder=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def repository_files() -> list[Path]:
    """All files that git does not ignore, relative to the repository."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    listed = succeed("git", "ls-files", "--cached", "--others", "--exclude-standard", "-z")
    return [Path(name) for name in listed.split("\0") if name and (ROOT / name).is_file()]


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Distribution -> its wheel, built from a clean copy of the repository."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheels")
    for name in repository_files():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, source / name)
    folders = [source / folder.relative_to(ROOT) for _, folder in PROJECTS.values()]
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check")
    succeed(*pip, "wheel", "--no-deps", "--no-index", "--no-build-isolation", "-w", out, *folders, folder=out)
    return {path.name.partition("-")[0]: path for path in out.glob("*.whl")}


def members(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as file:
        return set(file.namelist())


def in_dist_info(wheel: Path, name: str) -> str:
    """The text of a file in a wheel's dist-info folder; empty if there is none."""
    with zipfile.ZipFile(wheel) as file:
        found = [member for member in file.namelist() if member.endswith(f".dist-info/{name}")]
        return file.read(found[0]).decode() if found else ""


def test_each_project_builds_one_wheel(wheels: dict[str, Path]) -> None:
    assert set(wheels) == set(PROJECTS)


@pytest.mark.parametrize("project", PROJECTS)
def test_wheel_holds_all_of_its_package_and_nothing_else(wheels: dict[str, Path], project: str) -> None:
    package, folder = PROJECTS[project]
    paths = [(ROOT / name) for name in repository_files()]
    expected = {str(path.relative_to(folder)) for path in paths if path.is_relative_to(folder / package)}
    assert f"{package}/__init__.py" in expected
    assert {name for name in members(wheels[project]) if ".dist-info/" not in name} == expected


@pytest.mark.parametrize("project", PROJECTS)
def test_wheel_is_typed_licensed_and_without_tests(wheels: dict[str, Path], project: str) -> None:
    names = members(wheels[project])
    assert f"{PROJECTS[project][0]}/py.typed" in names
    assert [name for name in names if Path(name).match("test_*.py") or Path(name).name == "conftest.py"] == []
    assert "MIT" in in_dist_info(wheels[project], "licenses/LICENSE")
    assert "License-Expression: MIT" in in_dist_info(wheels[project], "METADATA")


@pytest.mark.parametrize("project", PROJECTS)
def test_wheel_has_metadata_for_an_index(wheels: dict[str, Path], project: str) -> None:
    metadata = message_from_string(in_dist_info(wheels[project], "METADATA"))
    assert metadata["Author"] == "the ssdcore developers"
    assert metadata["Summary"]
    assert "object-detection" in metadata["Keywords"]
    assert "Typing :: Typed" in metadata.get_all("Classifier", [])
    assert metadata["Description-Content-Type"] == "text/markdown"
    description = metadata.get_payload()
    assert description.startswith(f"# {project.replace('_', '-')}\n")
    assert [link for link in re.findall(r"\]\(([^)]+)\)", description) if "://" not in link] == []


def test_all_projects_have_one_version() -> None:
    stated = {name: tomllib.loads((folder / "pyproject.toml").read_text()) for name, (_, folder) in PROJECTS.items()}
    versions = {name: text["project"]["version"] for name, text in stated.items()}
    assert versions == dict.fromkeys(PROJECTS, ssdcore.__version__)


@pytest.mark.parametrize("project", PROJECTS)
def test_wheel_declares_its_entry_points(wheels: dict[str, Path], project: str) -> None:
    declared = in_dist_info(wheels[project], "entry_points.txt")
    assert " ".join(declared.split()) == ENTRY_POINTS[project]


@pytest.mark.parametrize("project", ["ssd_cli", "ssd_vgg", "ssd_mobilenet", "ssd_keras"])
def test_everything_depends_on_the_core_and_the_core_on_nothing_of_ours(wheels: dict[str, Path], project: str) -> None:
    major, minor = map(int, ssdcore.__version__.split(".")[:2])
    bounds = f"Requires-Dist: ssdcore<{major}.{minor + 1},>={major}.{minor}\n"
    assert bounds in in_dist_info(wheels[project], "METADATA")
    core = in_dist_info(wheels["ssdcore"], "METADATA")
    assert "Requires-Dist: tensorflow" in core
    assert f"Requires-Dist: {project.replace('_', '-')}" not in core


@pytest.fixture(scope="module")
def environment(wheels: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin folder of an environment with our wheels and links to their dependencies."""
    home = tmp_path_factory.mktemp("environment")
    succeed(sys.executable, "-m", "venv", "--without-pip", home)
    variables = {"base": str(home), "platbase": str(home)}
    site = Path(sysconfig.get_path("purelib", "venv", variables))
    for entry in Path(sysconfig.get_path("purelib")).iterdir():
        if not entry.name.startswith(OURS) and entry.suffix != ".pth":
            (site / entry.name).symlink_to(entry)
    scripts = Path(sysconfig.get_path("scripts", "venv", variables))
    pip(scripts, "install", "--no-deps", "--no-index", *wheels.values())
    return scripts


def pip(scripts: Path, *arguments: str | Path) -> None:
    succeed(scripts / "python", "-m", "pip", "--disable-pip-version-check", *arguments, folder=scripts)


@pytest.fixture(scope="module")
def before(environment: Path) -> dict[str, dict[str, str]]:
    """Backbone -> its row of `ssd backbones list`, with all five wheels installed."""
    return backbones(environment)


@pytest.fixture(scope="module")
def without_vgg(environment: Path, before: dict[str, dict[str, str]]) -> Path:
    """The same environment after ssd-vgg was uninstalled."""
    assert "vgg_16" in before
    pip(environment, "uninstall", "--yes", "ssd-vgg")
    return environment


def backbones(scripts: Path) -> dict[str, dict[str, str]]:
    shown = json.loads(succeed(scripts / "ssd", "backbones", "list", "--json", folder=scripts))
    assert shown["failures"] == []
    return {row["name"]: row for row in shown["backbones"]}


def test_installed_wheels_are_used_not_the_repository(environment: Path) -> None:
    code = "import ssdcore, ssdcli, ssd_mobilenet as m; print(ssdcore.__file__, ssdcli.__file__, m.__file__, sep='\\n')"
    places = succeed(environment / "python", "-c", code, folder=environment).splitlines()
    assert len(places) == 3
    assert [place for place in places if not Path(place).is_relative_to(environment.parent)] == []


def test_installed_wheels_provide_all_plugins(before: dict[str, dict[str, str]]) -> None:
    assert before["vgg_16"]["distribution"] == "ssd-vgg"
    assert before["mobilenet_v1"]["distribution"] == "ssd-mobilenet"
    assert before["resnet50"]["distribution"] == "ssd-keras"


def test_uninstalled_plugin_is_gone_and_the_others_stay(without_vgg: Path, before: dict[str, dict[str, str]]) -> None:
    assert backbones(without_vgg) == {name: row for name, row in before.items() if row["distribution"] != "ssd-vgg"}


def test_param_sets_of_an_uninstalled_plugin_are_gone(without_vgg: Path) -> None:
    listed = succeed(without_vgg / "ssd", "params", "list", "--json", folder=without_vgg)
    names = {row["name"] for row in json.loads(listed)}
    assert "mobilenet-ssd300" in names
    assert [name for name in names if "vgg" in name] == []


def test_param_set_of_an_uninstalled_plugin_is_one_clear_error(without_vgg: Path) -> None:
    done = run(without_vgg / "ssd", "params", "show", "vgg16-ssd300", folder=without_vgg)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert "'vgg16-ssd300'" in done.stderr


def test_backbone_of_an_uninstalled_plugin_is_one_clear_error(without_vgg: Path) -> None:
    arguments = ("mobilenet-ssd300", "backbone=vgg_16")
    done = run(without_vgg / "ssd", "params", "validate", *arguments, folder=without_vgg)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert all(part in done.stderr for part in ("error: ", "'vgg_16'", "ssd-vgg"))


def test_repository_names_no_machine_and_no_package_registry() -> None:
    forbidden = [b"/root" + b"/", b"/tmp" + b"/w/", b"python" + b"hosted"]
    texts = {name: (ROOT / name).read_bytes() for name in repository_files()}
    assert Path("pyproject.toml") in texts
    assert [(str(name), part) for name, text in texts.items() for part in forbidden if part in text] == []
