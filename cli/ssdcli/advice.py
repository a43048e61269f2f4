"""What the command line adds to the core's errors: the command or option that helps, by the error's reason."""

from ssdcore.errors import SsdError

ADVICE = {
    # files
    "cannot_write": "make room there, or choose another --out",
    "folder_in_use": "remove it, or choose another --out",
    # data
    "faulty_annotations": "'ssd data check' lists them all, --skip-faulty leaves such images out",
    "faulty_image": "--skip-faulty leaves such images out",
    "unknown_class": "--classes names those allowed, --skip-faulty leaves such images out",
    "no_data_folder": "make one with 'ssd data convert'",
    "not_records": "make one from your images with 'ssd data convert {folder} --out DIR'",
    # training
    # evaluation and detection
    "other_classes": "convert the data with --classes {classes}, or train on this data",
    "unreadable_coco_results": "--annotations names the file of annotations that its ids are from",
    # weights
}
"""Reason -> advice; `{name}` stands for one of the error's facts."""


def with_advice(error: SsdError) -> str:
    """The error's message and, where there is some, the advice for its reason."""
    advice = ADVICE.get(error.reason)
    return f"{error}; {advice.format(**error.facts)}" if advice else str(error)
