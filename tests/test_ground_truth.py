"""Records parsed without TensorFlow, against TensorFlow's own messages."""

import subprocess
import sys
from pathlib import Path

import pytest
import tensorflow as tf
from three_images import three_images

from ssdcore.data.formats.record_files import parse_example


def test_all_kinds_of_lists_are_read() -> None:
    features = {
        "floats": tf.train.Feature(float_list=tf.train.FloatList(value=[1, 0.25, -3e38])),
        "bytes": tf.train.Feature(bytes_list=tf.train.BytesList(value=[b"", b"\xff\x00"])),
        "ints": tf.train.Feature(int64_list=tf.train.Int64List(value=[-1, 2**62])),
        "empty": tf.train.Feature(int64_list=tf.train.Int64List()),
        "nothing": tf.train.Feature(),
    }
    content = tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()
    found = parse_example(content)
    assert found.pop("floats") == pytest.approx([1, 0.25, -3e38])
    assert found == {"bytes": [b"", b"\xff\x00"], "ints": [-1, 2**62], "empty": []}


@pytest.mark.parametrize("content", [b"\xff\xff", b"\x0a\x05abc", b"plain text"])
def test_what_is_no_example_is_refused(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"not a tf\.train\.Example"):
        parse_example(content)


def test_ground_truth_and_detections_need_no_tensorflow(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['tensorflow'] = sys.modules['keras'] = None\n"
        "from pathlib import Path\n"
        "from ssdcore import Detections\n"
        "from ssdcore.data.records.ground_truth import read_ground_truth\n"
        "print(len(read_ground_truth(Path(sys.argv[1]), 'test')))"
    )
    data = three_images(tmp_path)
    done = subprocess.run([sys.executable, "-c", code, str(data)], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "3", done.stderr
