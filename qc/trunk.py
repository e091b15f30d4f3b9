"""Which weights LPIPS can be given, in words. Torch-free: the doctor says it too."""

from __future__ import annotations

TRUNK_FILES = ("alexnet-owt-7be5be79.pth", "alexnet-owt-4df8aa71.pth", "alexnet.safetensors")
"""Looked for in this order: torchvision's own files (the name ends in the first eight digits of
their SHA-256, which is checked) or the same tensors, under torchvision's names, as safetensors."""
HOW_TO_BRING = (
    f"put torchvision's AlexNet into a folder, as {TRUNK_FILES[0]} (its SHA-256 begins with "
    f"{TRUNK_FILES[0].rsplit('-', 1)[1].removesuffix('.pth')}, which is checked) or its tensors as "
    f"{TRUNK_FILES[-1]}, and name the folder in studio.yaml: lpips_weights_dir: FOLDER"
)
"""For a machine without a network too: nothing is ever downloaded."""
