"""Face detection and alignment to the 112 x 112 template."""
