"""Pixels out: sampling in stages, the clip on disk, and the finish. Knows nothing of judgement."""
