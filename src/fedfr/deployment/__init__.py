"""A run whose clients are sites with their own faces: what they agree on, a site's folder, the two Flower apps."""
