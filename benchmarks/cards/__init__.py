"""Nights on real cards that others use too, that break, and that belong to several hosts."""
