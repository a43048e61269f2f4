"""The notebook runs from its first cell to its last, and is stored without outputs."""

import ast
import base64
import io
import os
from contextlib import closing
from pathlib import Path

import nbformat
import numpy as np
import pytest
from detect_helpers import short_run
from nbclient import NotebookClient
from PIL import Image
from small_runs import Pond

NOTEBOOK = Path(__file__).parent.parent / "notebooks/minimal.ipynb"


def test_it_is_stored_without_outputs() -> None:
    cells = [cell for cell in nbformat.read(NOTEBOOK, as_version=4).cells if cell.cell_type == "code"]
    assert [(cell.outputs, cell.execution_count) for cell in cells] == [([], None)] * len(cells)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # jupyter_client's and zmq's own
def test_it_detects_and_draws_quietly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a barely trained network and a threshold of 0, the image comes back with boxes on it."""
    with closing(Pond(tmp_path)) as pond:
        image = tmp_path / "voc/JPEGImages/00000.jpg"
        for name in ("TF_CPP_MIN_LOG_LEVEL", "TF_ENABLE_ONEDNN_OPTS"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("SSD_RUN", str(short_run(pond)))
        monkeypatch.setenv("SSD_IMAGE", str(image))
        monkeypatch.setenv("PYTHONPATH", str(pond.path), prepend=os.pathsep)
        notebook = nbformat.read(NOTEBOOK, as_version=4)
        for cell in notebook.cells:
            cell.source = cell.source.replace("score_threshold=0.3", "score_threshold=0.0")
        NotebookClient(notebook, timeout=300, kernel_name="python3").execute()
    before_drawing = notebook.cells[:4]  # supervision, after that, may ask for ipywidgets
    assert [out for cell in before_drawing for out in cell.get("outputs", ()) if out.output_type == "stream"] == []
    (listed,) = (out.data["text/plain"] for out in notebook.cells[3].outputs)
    found = ast.literal_eval(listed)
    assert found
    assert {item["class"] for item in found} <= {"circle", "square", "triangle"}
    shown = notebook.cells[-1].outputs[-1].data["image/png"]
    drawn = np.asarray(Image.open(io.BytesIO(base64.b64decode(shown))).convert("RGB")).astype(int)
    before = np.asarray(Image.open(image).convert("RGB")).astype(int)
    assert drawn.shape == before.shape
    assert (np.abs(drawn - before).max(axis=2) > 50).mean() > 0.01
