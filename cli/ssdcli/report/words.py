"""What the numbers of a report mean, in words."""

from ssdcli.report.html import tag

METRICS = {
    "voc07": "Pascal VOC 2007's average precision, the mean of the best precision at recalls of at least 0, 0.1, … 1; "
    "mean over the classes",
    "voc12": "Pascal VOC 2010's average precision, the area under the precision-recall curve made monotone; mean over "
    "the classes",
    "coco": "COCO's AP by pycocotools: mean over the classes and over matches at IoU 0.50, 0.55, … 0.95",
}

MATCH = (
    "A detection is true if the object of its class that it overlaps most reaches IoU {iou:g} and no better-scoring "
    "detection has it. Objects marked difficult, and groups, count neither way."
)

KINDS = {
    "classification": ("Classification", "lies on an object of another class (IoU {iou:g} or more)"),
    "localisation": ("Localisation", "right class, but the box fits badly (IoU 0.1 to {iou:g})"),
    "both": ("Class and place", "near an object of another class (IoU 0.1 to {iou:g})"),
    "duplicate": ("Duplicate", "lies on an object that a better-scoring detection has already"),
    "background": ("Background", "lies on nothing (IoU below 0.1 with every object)"),
    "missed": ("Missed", "object that nothing was found on, nor anything near it that one of the first two explains"),
}
"""Name of a kind of error, and what such a detection, or object, is."""

MEANING = tag("th", "the detection or object", scope="col", class_="words")
"""Head of the column that says it."""

GALLERIES = {
    "missed": "Worst misses",
    "background": "False alarms on background",
    "classification": "Confused classes",
    "localisation": "Badly placed boxes",
    "both": "Wrong class, badly placed",
    "duplicate": "Duplicates",
}
ORDER = {
    "missed": "The classes take turns. Those that no detection would have found at any score come first, "
    "large ones before small ones. A solid box on the object, if there is one, scored too low to count.",
    "background": "The best-scoring ones. A few of them are often objects that nobody has labelled.",
}
BEST_FIRST = "The best-scoring ones."
