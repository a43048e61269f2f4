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
    "cannot_write_run": "make room there, then continue with --resume",
    "devices_and_cluster": "leave out --devices, or unset TF_CONFIG",
    "evaluation_out_of_memory": "then continue with --resume",
    "low_recall": "'ssd anchors {data} --params PARAMS' proposes better ones",
    "no_checkpoints": "give a run folder made by 'ssd train', or a .npz file",
    "no_run": "start one without --resume",
    "non_finite": "'ssd data show' draws the images",
    "not_a_checkpoint": "use another one, or convert foreign weights with 'ssd weights import'",
    "run_busy": "stop it or wait for its end, or give another --out",
    "run_exists": "give --resume to continue that run, or another --out",
    "run_is_file": "give another --out",
    "slow_data": "convert them smaller ('ssd data convert'), reduce augmentation, or use more cores",
    "worker_lost": "restart all workers with --resume",
    "workers_differ": "give the same shared --out to all, and restart them with --resume",
    # evaluation and detection
    "other_classes": "convert the data with --classes {classes}, or train on this data",
    "unreadable_coco_results": "--annotations names the file of annotations that its ids are from",
    # weights
    "weights_without_classes": "give them (--classes a,b,c), or train from the file (ssd train … train.weights=FILE)",
    "weights_of_another_network": "ssd params list shows the param sets",
    "weights_incomplete": "ssd weights import takes --partial for that",
    "no_checkpoint_map": "ssd backbones list shows the backbones",
}
"""Reason -> advice; `{name}` stands for one of the error's facts."""


def with_advice(error: SsdError) -> str:
    """The error's message and, where there is some, the advice for its reason."""
    advice = ADVICE.get(error.reason)
    return f"{error}; {advice.format(**error.facts)}" if advice else str(error)
