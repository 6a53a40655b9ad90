"""Decisions about the faces before a camera: frames, votes over frames, and the loop over both."""
