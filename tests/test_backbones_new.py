"""`ssd backbones new`: what it refuses, whole folders or none, names that have a meaning in the generated code."""

import resource
import shlex
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from ssd_program import assert_one_clear_line

from ssdcore.contract.plugins import load_plugins
from ssdcore.model.end_points import base_net_end_points

Ssd = Callable[..., tuple[int, str, str]]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "work"


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that is searched for modules; those that come from it are forgotten."""
    (tmp_path / "site").mkdir()
    monkeypatch.syspath_prepend(tmp_path / "site")
    known = set(sys.modules)
    yield tmp_path / "site"
    for name in set(sys.modules) - known:
        if name.startswith("ssd_"):
            del sys.modules[name]


def describe_package(site: Path, name: str, entry_points: str = "") -> None:
    """What pip leaves behind."""
    info = site / f"{name.replace('-', '_')}-1.5.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.5\n")
    (info / "entry_points.txt").write_text(entry_points)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("cli", "the package ssd-cli "),
        ("vgg", "ssd-vgg has an entry point 'vgg' already"),
        ("lake_2", "the package ssd-lake-2 1.5 is installed already; choose another name"),
        ("sea", "there is a module ssd_sea ("),
        ("mobilenet025", "provides a param set 'mobilenet025-ssd300' already"),
        ("class", "'class' cannot name a backbone"),
        ("a__b", "'a__b' cannot name a backbone"),
    ],
)
def test_a_name_that_would_replace_or_break_something(
    name: str, says: str, folder: Path, site: Path, ssd_here: Ssd
) -> None:
    describe_package(site, "ssd-lake-2")
    (site / "ssd_sea.py").write_text("")
    code, _, err = ssd_here("backbones", "new", name)
    assert_one_clear_line(code, err, [says])
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("name", ["preprocessing", "hookimpl", "enumerate", "base_net", "scope"])
def test_names_that_the_generated_code_uses_itself(name: str, folder: Path, site: Path, ssd_here: Ssd) -> None:
    code, _, err = ssd_here("backbones", "new", name)
    assert code == 0, err
    describe_package(site, f"ssd-{name.replace('_', '-')}", f"[ssdcore]\n{name} = ssd_{name}\n")
    (site / f"ssd_{name}").symlink_to(next(folder.glob("ssd-*")) / f"ssd_{name}")
    plugins = load_plugins()
    assert plugins.failures == ()
    assert plugins.param_sets[f"{name.replace('_', '-')}-ssd300"].backbone == name
    ends = base_net_end_points(plugins.backbone(name), 300)
    assert [(one.name, one.size) for one in ends] == [
        (f"stage{number}", (size, size)) for number, size in enumerate((150, 75, 38, 19, 10), start=1)
    ]


def test_a_full_disk_leaves_nothing(folder: Path, ssd_here: Ssd) -> None:
    """Some files are shorter than 800 bytes and are written; then one is not."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (800, limits[1]))
    try:
        code, out, err = ssd_here("backbones", "new", "lagoon")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert_one_clear_line(code, err, [f"cannot write {folder}/ssd-lagoon: File too large"])
    assert out == ""
    assert list(folder.iterdir()) == []
    assert ssd_here("backbones", "new", "lagoon")[0] == 0


def test_a_file_where_a_folder_should_be(folder: Path, ssd_here: Ssd) -> None:
    (folder / "file").write_text("mine")
    code, _, err = ssd_here("backbones", "new", "lagoon", "--out", "file/lagoon")
    assert_one_clear_line(code, err, [f"cannot write {folder}/file/lagoon: Not a directory"])
    assert (folder / "file").read_text() == "mine"


def test_the_command_to_go_on_with_fits_a_shell(folder: Path, ssd_here: Ssd) -> None:
    code, out, _ = ssd_here("backbones", "new", "lagoon", "--out", "my dir/p'ond")
    assert code == 0
    *paths, _, command = out.splitlines()
    assert all(Path(path).is_file() for path in paths)
    assert len(paths) == 6
    words = ["next:", "pip", "install", "-e", "my dir/p'ond", "&&", "ssd", "backbones", "check", "lagoon"]
    assert shlex.split(command) == words
