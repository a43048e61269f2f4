"""`ssd compare`: cost and accuracy of backbones and runs, measured side by side."""
