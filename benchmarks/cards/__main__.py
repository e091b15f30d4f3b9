"""Nights on two real cards that others use too, that break, and that belong to several hosts.

    python -m benchmarks.cards result.json [--parts found yielding ...] [--rehearse]

The driver is the real one, so are pool, Prefect, ledger and the pocket model; only the seconds of a
take are made longer, by more steps. What is seen is written down after each part. `--rehearse`
runs the same parts without a card, on a fake driver and a fake backend: it shows that they run and
proves nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import signal
import sys
import tempfile
import time
import traceback
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.cards.parts import PARTS
from benchmarks.cards.stand import HERE, Stand


def main() -> int:
    """Run the parts; 1 where one of them was not seen to its end."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("result", type=Path)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--rehearse", action="store_true", help="without a card")
    parser.add_argument("--steps", type=int, default=160, help="of a take's first stage")
    parser.add_argument("--folder", type=Path, help="where roots and logs are kept")
    asked = parser.parse_args()
    # Stopped at a time limit, it ends its nights: they would go on in the cards of what is next.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))
    if asked.rehearse and "CARDS_REHEARSAL" not in os.environ:
        _begin_again()
    try:
        return _run(asked)
    finally:
        if asked.rehearse:
            shutil.rmtree(os.environ["CARDS_REHEARSAL"], ignore_errors=True)


def _run(asked: argparse.Namespace) -> int:
    """The parts, one after the other; 1 where one of them was not seen to its end."""
    found: dict[str, Any] = {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"{os.cpu_count()} CPU cores, Python {platform.python_version()}",
        "what": "a rehearsal: proves nothing" if asked.rehearse else "two cards, the pocket model",
        "parts": {},
    }
    whole = True
    with tempfile.TemporaryDirectory() as temporary:
        folder = asked.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        for name in asked.parts:
            begun = time.monotonic()
            print(f"{name} ...", flush=True)
            try:
                # Nothing that a part started is left for the next one.
                with ExitStack() as ends:
                    seen = PARTS[name](
                        Stand(
                            folder=folder.resolve(),
                            rehearsal=asked.rehearse,
                            steps=asked.steps,
                            ends=ends,
                        )
                    )
            except Exception as error:
                # Written down, and the other parts are run all the same: cards are dear.
                traceback.print_exc()
                seen, whole = {"broke": f"{type(error).__name__}: {error}"[:2000]}, False
            seen["seconds"] = round(time.monotonic() - begun, 1)
            found["parts"][name] = seen
            print(name, json.dumps(seen, indent=1), flush=True)
            asked.result.write_text(json.dumps(found, indent=1) + "\n")
    return 0 if whole else 1


def _begin_again() -> None:
    """As a process that finds the fake driver where others find the real one.

    NOTE: the real one is imported by then: the pool's engine looks for it.
    """
    paths = [HERE, HERE / "benchmarks/cards/rehearsal", HERE / "tests/fakes"]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(map(str, paths)),
        "CARDS_REHEARSAL": tempfile.mkdtemp(prefix="cards-"),
    }
    again = [sys.executable, "-m", "benchmarks.cards", *sys.argv[1:]]
    os.execve(sys.executable, again, environment)


if __name__ == "__main__":
    raise SystemExit(main())
