"""`ssd report`: a page that shows how good a detector is, and where it fails."""
