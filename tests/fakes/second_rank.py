"""The second rank of a gang, as a process of its own: `python second_rank.py order.pickle`.

`die` as a further argument makes it kill itself when it is asked for its third model call, `swap`
has it swap the blocks of its transformers.
"""

from __future__ import annotations

import os
import pickle
import signal
import sys
from pathlib import Path
from typing import Any

import torch
from swapping import bring_swapped

from render.diffusers_backend import DiffusersBackend
from render.families.wan import WanModel
from render.memory import Residence


def _die_at_the_third_call() -> None:
    velocity, calls = WanModel.velocity, iter(range(3))

    def counted(self: WanModel, *args: Any, **kwargs: Any) -> Any:
        if next(calls) == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return velocity(self, *args, **kwargs)

    WanModel.velocity = counted  # type: ignore[method-assign]


if __name__ == "__main__":
    torch.set_num_threads(1)
    if "die" in sys.argv:
        _die_at_the_third_call()
    if "swap" in sys.argv:
        Residence.bring = bring_swapped  # type: ignore[method-assign]
    # A file that this test wrote a moment ago.
    DiffusersBackend().lend(pickle.loads(Path(sys.argv[1]).read_bytes()))
