"""Where the bundled model lies."""

from __future__ import annotations

from pathlib import Path

MODEL_DIR: Path = Path(__file__).resolve().parent / "model"
"""Absolute folder of the bundled model, in diffusers layout; complete, needs no network."""
