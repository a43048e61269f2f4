"""Pure functions on boxes. `xyxy` is (xmin, ymin, xmax, ymax), `cxcywh` centre and size."""
