"""Methods on video with text."""
