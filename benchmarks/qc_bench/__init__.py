"""Labelled clips of our own making, and how well `qc/` tells the bad from the good."""
