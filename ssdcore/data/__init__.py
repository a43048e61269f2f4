"""Images and boxes: annotations in, TFRecords between, augmented batches out."""
