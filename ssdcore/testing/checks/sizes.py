"""Checks of a base net with the SSD models, at other sizes and in mixed precision."""

from ssdcore.errors import PluginError
from ssdcore.testing.subject import Subject, require

MEASURED = 512


def feature_layers_fit(subject: Subject) -> None:
    """The feature layers exist and have the sizes that each SSD model needs."""
    for model in subject.models.values():
        if model is subject.smallest:
            _ = subject.ssd
        else:
            subject.build(model)


def other_sizes_follow(subject: Subject) -> None:
    """At an odd, oblong image size each map has size / stride cells, rounded up, as with TensorFlow's SAME padding."""
    _, model = subject.ssd, subject.smallest  # a detector that cannot be built is reported by feature_layers_fit
    size = (model.image_size[0] + 21, model.image_size[1] + 37)
    boxes = model.default_boxes.model_copy(update={"steps": None})
    free = model.model_copy(update={"image_size": size, "feature_maps": None, "default_boxes": boxes})
    found = dict(subject.build(free).feature_maps)
    _, _, end_points = subject.make_base_net(MEASURED, subject.scope)
    for name in subject.plugins.feature_layers(subject.backbone.name, model.name):
        # A side that every stride divides shows the stride.
        stride = MEASURED // end_points[name].shape[1]
        wanted = tuple(-(-side // stride) for side in size)
        require(
            found[name] == wanted,
            f"{name} has {found[name][0]}x{found[name][1]} cells for {size[0]}x{size[1]} px; a stride of {stride} "
            f"with TensorFlow's SAME padding gives {wanted[0]}x{wanted[1]}: pad by the size of the map",
        )


def mixed_precision_fits(subject: Subject) -> None:
    """The base net can be built with layers that compute in bfloat16."""
    _ = subject.ssd  # a detector that cannot be built in float32 is reported by feature_layers_fit
    try:
        subject.build(subject.smallest, "mixed_bfloat16")
    except Exception as error:  # a plugin may raise anything
        raise PluginError(
            f"it cannot be built in mixed_bfloat16 ({type(error).__name__}: {' '.join(str(error).split()):.400}); cast "
            "constants to the layer's compute_dtype"
        ) from error
