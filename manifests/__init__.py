"""What was asked: shot sheets, presets and settings, read and checked before anything runs."""
