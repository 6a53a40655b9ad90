"""Reading of lists of image pairs in the published formats."""
