"""From a photo to a feature: reading, detection, alignment, quality and the network."""
