"""`ssd info` and the provenance that checkpoints carry."""

import json
import subprocess
from pathlib import Path

import numpy as np

from ssdcore.contract.plugins import Plugins
from ssdcore.model import build_ssd
from ssdcore.model.variables import named_variables
from ssdcore.runs.checkpoint import load_checkpoint, save_checkpoint
from ssdcore.runs.provenance import provenance
from ssdcore.runs.run_folder import RunFolder


def git(folder: Path, *arguments: str) -> str:
    command = ["git", "-c", "user.name=a", "-c", "user.email=a@b.c", *arguments]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


def test_provenance_names_the_commit_and_marks_changes(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert provenance(tmp_path, "x", [])["git_commit"] is None
    git(tmp_path, "init", "-q")
    (tmp_path / "file").write_text("one")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "first")
    commit = git(tmp_path, "rev-parse", "HEAD")
    assert provenance(tmp_path, "x", [])["git_commit"] == commit
    (tmp_path / "file").write_text("two")
    assert provenance(tmp_path, "x", [])["git_commit"] == f"{commit}-dirty"


def test_provenance_has_the_versions_of_plugins() -> None:
    made = provenance(Path("folder"), "digest", ["ssd-mobilenet", "no-such-thing"])
    assert made["versions"]["ssd-mobilenet"] == "0.1.0"
    assert made["versions"]["no-such-thing"] is None
    assert (made["data"], made["data_digest"]) == (str(Path.cwd() / "folder"), "digest")


def test_info_tells_what_a_checkpoint_is(plugins: Plugins, tmp_path: Path, ssd_here) -> None:
    params = plugins.param_sets["mobilenet025-ssd300"]
    ssd = build_ssd(params, ("cat", "Katze ü"), plugins)
    count = sum(int(np.prod(variable.shape)) for variable in named_variables(ssd).values())
    progress = {"stage": 0, "stage_step": 7, "step": 7, "best": 0.5, "images": 3}
    made = provenance(Path("records"), "abc123", ["ssd-mobilenet"])
    save_checkpoint(tmp_path / "model.npz", ssd, params, progress, {}, made)
    found = json.loads(ssd_here("info", tmp_path / "model.npz", "--json")[1])
    assert (found["backbone"], found["classes"]) == ("mobilenet_v1_025", ["cat", "Katze ü"])
    assert (found["weights"], found["averaged"]) == (count, False)
    assert (found["step"], found["stage"], found["best_map"]) == (7, "everything, step 7", 0.5)
    assert (found["data_digest"], found["versions"]["ssdcore"]) == ("abc123", "0.1.0")
    assert found["params"] == params.model_dump(mode="json")
    text = ssd_here("info", tmp_path / "model.npz")[1]
    assert f"{count:,}" in text
    assert "abc123" in text


def test_averages_are_what_a_checkpoint_stands_for(plugins: Plugins, tmp_path: Path, ssd_here) -> None:
    params = plugins.param_sets["mobilenet025-ssd300"]
    ssd = build_ssd(params, ("cat",), plugins)
    averages = {f"averages/{name}": variable.numpy() + 1 for name, variable in named_variables(ssd).items()}
    save_checkpoint(tmp_path / "model.npz", ssd, params, {}, averages)
    checkpoint = load_checkpoint(tmp_path / "model.npz")
    name = "block9_conv1/kernel"
    np.testing.assert_array_equal(checkpoint.weights()[name], checkpoint.weights(averaged=False)[name] + 1)
    assert json.loads(ssd_here("info", tmp_path / "model.npz", "--json")[1])["averaged"] is True


def test_info_shows_the_best_scores_of_training_and_of_watchers(plugins: Plugins, tmp_path: Path, ssd_here) -> None:
    """The first step of the best mAP; rows without one, and half a row, do not count."""
    params = plugins.param_sets["mobilenet025-ssd300"]
    run = RunFolder(tmp_path)
    run.checkpoints.mkdir()
    save_checkpoint(run.last, build_ssd(params, ("cat",), plugins), params)
    run.metrics.write_text("step,stage,map\n2,first,\n4,first,0.25\n6,first,0.5\n8,first,0.5\n10")
    run.watches.mkdir()
    (run.watches / "test.csv").write_text("step,metric,map\n3,voc07,0.75\n9,voc07,0.125\n9,coco,0.25\n")
    found = json.loads(ssd_here("info", tmp_path, "--json")[1])
    assert found["best_training"] == {"map": 0.5, "step": 6}
    assert found["best_watch_test_voc07"] == {"map": 0.75, "step": 3}
    assert found["best_watch_test_coco"] == {"map": 0.25, "step": 9}
    assert "map 0.75, step 3" in ssd_here("info", tmp_path)[1]
    assert "best_training" not in json.loads(ssd_here("info", run.last, "--json")[1])
