"""Models of the hub as they lie on this machine: nothing is asked of the network."""

from __future__ import annotations

from pathlib import Path

from manifests.refusal import Refusal


def hub_folder(location: str, *, revision: str) -> Path:
    """The folder of `owner/name` at that commit in the hub's cache here. Raises Refusal."""
    # Here, not above: only studios with hub models need it, and it takes a third of a second.
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError

    try:
        found = snapshot_download(location, revision=revision, local_files_only=True)
    except (OSError, ValueError, HfHubHTTPError):
        raise Refusal(
            f"{location} at {revision[:12]} is not on this machine, and a night downloads nothing",
            f"run `hf download {location} --revision {revision}`",
        ) from None
    return Path(found)
