"""A night written through the real ledger, with the pictures that its report shows."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from ledger_maker import Maker
from PIL import Image

from reports.ledger import Ledger
from reports.records import EventKind
from reports.take import TakeStatus

Frames = list[np.ndarray[Any, np.dtype[np.uint8]]]


def write_strip(path: Path, frames: Frames, count: int = 5, height: int = 96) -> None:
    """A contact strip as the worker writes it: `count` frames side by side."""
    chosen = [frames[round(i * (len(frames) - 1) / (count - 1))] for i in range(count)]
    cells = [Image.fromarray(frame) for frame in chosen]
    width = round(cells[0].width * height / cells[0].height)
    strip = Image.new("RGB", (count * (width + 2) - 2, height))
    for index, cell in enumerate(cells):
        strip.paste(cell.resize((width, height)), (index * (width + 2), 0))
    strip.save(path, "JPEG", quality=88)


def write_film(path: Path, frames: Frames) -> None:
    """A small H.264 film."""
    with av.open(path, "w") as container:
        stream = container.add_stream("libx264", rate=8)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))


@pytest.fixture
def maker(tmp_path: Path) -> Maker:
    return Maker(tmp_path)


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Path]:
    """Folder with the strips and the film of a take of that number; made once, to be copied."""
    root = tmp_path_factory.mktemp("pictures")

    def make(number: int) -> Path:
        folder = root / str(number)
        if folder.exists():
            return folder
        folder.mkdir()
        ramp = np.linspace(0, 255, 64, dtype=np.uint8)
        frame = np.stack([np.tile(ramp, (64, 1))] * 3, axis=-1)
        shade = np.uint8(20 * number)
        frames = [np.roll(frame, 3 * index, axis=1) // 2 + shade for index in range(8)]
        write_strip(folder / "strip.jpg", frames)
        for stage in (1, 2):
            write_strip(folder / f"stage-{stage}.jpg", frames[::-stage])
        write_film(folder / "preview.mp4", frames)
        return folder

    return make


@dataclass
class Night:
    """A night of four shots in a ledger: approved, retaken, held, failed; and a refused line."""

    maker: Maker
    ledger: Ledger
    id: str
    shots: dict[str, int]


@pytest.fixture
def night(maker: Maker, pictures: Callable[[int], Path]) -> Iterator[Night]:
    with maker.ledger() as ledger:
        # One transaction: a night's hundred of them would each wait for the disk.
        with ledger.snapshot():
            written = _written(maker, ledger, pictures)
        yield written


def _written(maker: Maker, ledger: Ledger, pictures: Callable[[int], Path]) -> Night:
    ends = {
        "seq010_sh0010": (TakeStatus.APPROVED,),
        "seq010_sh0020": (TakeStatus.REJECTED, TakeStatus.APPROVED),
        "seq010_sh0030": (TakeStatus.REJECTED, TakeStatus.HELD),
        "001": (TakeStatus.FAILED,),
    }
    name = maker.begin(ledger)
    shots = {
        shot: maker.run(ledger, maker.shot(shot, row=row), name, *steps, position=row)
        for row, (shot, steps) in enumerate(ends.items(), start=2)
    }
    for shot_id in shots.values():
        for take in ledger.takes_of(shot_id):
            if take.receipt is not None:
                shutil.copytree(
                    pictures(take.number), maker.folder(take.take_id), dirs_exist_ok=True
                )
        delivered = ledger.delivery_of(shot_id)
        if delivered is not None:
            path = delivered.delivery.path
            path.parent.mkdir(exist_ok=True)
            preview = maker.folder(delivered.take_id) / "preview.mp4"
            path.write_bytes(preview.read_bytes())
    ledger.event(
        kind=EventKind.MACHINE_FAILURE,
        words="OutOfMemory: the card is full",
        night=name,
        take_id=f"shots/{shots['seq010_sh0010']}/t1",
        data={"error": "OutOfMemory", "attempt": 1},
    )
    ledger.event(
        kind=EventKind.REFUSED,
        words="shots.csv row 9",
        night=name,
        data={
            "file": "/studio/shots.csv",
            "row": 9,
            "shot": "seq010_sh0090",
            "column": "fps",
            "value": "twentyfour",
            "problem": "'twentyfour' is not a number",
            "remedy": "write 24 or 23.976",
        },
    )
    ledger.end_night(name, "2 approved, 1 held, 1 failed")
    return Night(maker=maker, ledger=ledger, id=name, shots=shots)
