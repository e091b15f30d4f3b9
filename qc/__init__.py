"""Pixels to numbers: every metric, the scorecard and the verdict. Knows nothing of rendering."""
