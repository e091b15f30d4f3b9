"""Somebody else on a card: takes memory of it, and computes on it if told so.

    CUDA_VISIBLE_DEVICES=<uuid> python -m benchmarks.cards.artist --gib 4 --seconds 30 [--compute]

`--gib` below 0 takes all but so much. Says in lines of JSON when it has what it wanted, when it
begins to compute, and when it ends. With CARDS_REHEARSAL set there is no card: it only says to the
rehearsed driver that it is there.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path


def say(event: str, **more: object) -> None:
    """A line for whoever started this."""
    print(json.dumps({"event": event, "at": time.time(), "pid": os.getpid(), **more}), flush=True)


def on_a_card(gib: float, seconds: float, *, compute: bool) -> None:
    """Hold memory, and multiply matrices if told so, until the time is over."""
    import torch

    free, _ = torch.cuda.mem_get_info()
    size = int(gib * 2**30) if gib >= 0 else free + int(gib * 2**30)
    held = torch.ones(size, dtype=torch.uint8, device="cuda")
    torch.cuda.synchronize()
    left, total = torch.cuda.mem_get_info()
    say("holds", bytes=size, left=left, total=total)
    until = time.monotonic() + seconds
    if compute:
        side = torch.randn(4096, 4096, device="cuda")
        say("computes")
        while time.monotonic() < until:
            side = torch.nn.functional.normalize(side @ side)
            torch.cuda.synchronize()
    else:
        time.sleep(seconds)
    say("ends", held=int(held[0]))


def rehearsed(gib: float, seconds: float) -> None:
    """Be on the rehearsed driver's list for so long."""
    folder = Path(os.environ["CARDS_REHEARSAL"], os.environ["CUDA_VISIBLE_DEVICES"])
    folder.mkdir(parents=True, exist_ok=True)
    size = int(gib * 2**30) if gib >= 0 else 140 * 2**30 + int(gib * 2**30)
    (folder / str(os.getpid())).write_text(str(size))
    say("holds", bytes=size)
    say("computes")
    time.sleep(seconds)
    say("ends")


def main() -> None:
    """As the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gib", type=float, default=4.0)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--compute", action="store_true")
    asked = parser.parse_args()
    if "CARDS_REHEARSAL" in os.environ:
        rehearsed(asked.gib, asked.seconds)
    else:
        on_a_card(asked.gib, asked.seconds, compute=asked.compute)


if __name__ == "__main__":
    main()
