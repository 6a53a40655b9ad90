"""Lists of image pairs in the forms in which they are published."""
