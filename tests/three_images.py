"""Makes records of three images, some of whose objects are difficult or crowds."""

import json
from pathlib import Path

from voc_files import draw

from ssdcore.data.convert import convert
from ssdcore.data.formats import read_labelled

CLASSES = ("cat", "polar bear", "bear")
NAMES = ("000012", "000007", "2008 x.1")
SIZE = (333, 517)
# Image, class, box as xywh, ignore, iscrowd.
OBJECTS = (
    (0, 0, [33.33, 41.07, 101.6, 77.77], 0, 0),
    (0, 1, [1, 2, 50, 60], 0, 0),
    (0, 1, [200, 2, 50, 60], 1, 0),
    (1, 0, [10.01, 20.02, 300.03, 200.04], 0, 0),
    (1, 2, [400, 300, 10, 20], 0, 1),
    (1, 2, [100, 100, 99, 99], 0, 0),
)


def three_images(root: Path) -> Path:
    """Records of three images of 517 x 333 px, the last without objects, in the split `test`."""
    (root / "coco/test").mkdir(parents=True)
    for seed, name in enumerate(NAMES):
        draw(root / f"coco/test/{name}.jpg", seed, SIZE)
    objects = [
        {"id": number, "image_id": image, "category_id": label, "bbox": box, "ignore": ignore, "iscrowd": crowd}
        for number, (image, label, box, ignore, crowd) in enumerate(OBJECTS)
    ]
    contents = {
        "images": [{"id": number, "file_name": f"{name}.jpg"} for number, name in enumerate(NAMES)],
        "categories": [{"id": number, "name": name} for number, name in enumerate(CLASSES)],
        "annotations": objects,
    }
    (root / "coco/test.json").write_text(json.dumps(contents))
    convert(read_labelled(root / "coco"), root / "records", classes=CLASSES)
    return root / "records"
