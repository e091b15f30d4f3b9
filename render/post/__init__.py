"""The finish: upscale, grade, encode, deliver."""
