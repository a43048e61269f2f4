"""Class names: validation, the lists of well-known data sets, and synonyms."""

from collections.abc import Sequence

from ssdcore.errors import ParamError

IGNORED = -1
"""Class id of a region that is neither an object nor background; 0 is background, 1..C are classes."""

UNLABELLED = "unlabelled"
"""Name of unlabelled regions, which training ignores; not a class."""

PASCAL_VOC = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog"),
    *("horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)
"""Classes 1 to 20 of Pascal VOC."""

COCO = (
    *("person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat", "traffic light"),
    *("fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat", "dog", "horse", "sheep", "cow"),
    *("elephant", "bear", "zebra", "giraffe", "backpack", "umbrella", "handbag", "tie", "suitcase", "frisbee"),
    *("skis", "snowboard", "sports ball", "kite", "baseball bat", "baseball glove", "skateboard", "surfboard"),
    *("tennis racket", "bottle", "wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple"),
    *("sandwich", "orange", "broccoli", "carrot", "hot dog", "pizza", "donut", "cake", "chair", "couch"),
    *("potted plant", "bed", "dining table", "toilet", "tv", "laptop", "mouse", "remote", "keyboard", "cell phone"),
    *("microwave", "oven", "toaster", "sink", "refrigerator", "book", "clock", "vase", "scissors", "teddy bear"),
    *("hair drier", "toothbrush"),
)
"""Classes 1 to 80 of COCO, without the gaps of its category ids."""

_SYNONYMS = {"airplane": "aeroplane", "motorcycle": "motorbike", "couch": "sofa", "tv": "tvmonitor"}


def same_name(name: str) -> str:
    """One spelling for equal class names: ignores case, spaces, `-`, `_`, and VOC's differences from COCO."""
    plain = "".join(letter for letter in name.casefold() if letter not in " -_")
    return _SYNONYMS.get(plain, plain)


def check_class_names(names: Sequence[str]) -> tuple[str, ...]:
    """The names as a tuple, if there are some, none empty and none repeated.

    Raises:
        ParamError: otherwise.
    """
    texts = isinstance(names, list | tuple) and all(isinstance(name, str) for name in names)
    if not texts or not names or not all(names) or len(set(names)) != len(names):
        raise ParamError(f"class names must be given, and differ from each other; got {', '.join(map(repr, names))}")
    return tuple(names)
