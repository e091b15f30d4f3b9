"""A night written through the real ledger, with the pictures that its report shows."""

from __future__ import annotations

from collections.abc import Iterator
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


def _pictures(maker: Maker, take_id: str, shade: int) -> None:
    folder = maker.folder(take_id)
    folder.mkdir(parents=True, exist_ok=True)
    ramp = np.linspace(0, 255, 64, dtype=np.uint8)
    frame = np.stack([np.tile(ramp, (64, 1))] * 3, axis=-1)
    frames = [np.roll(frame, 3 * index, axis=1) // 2 + np.uint8(shade) for index in range(8)]
    write_strip(folder / "strip.jpg", frames)
    for stage in (1, 2):
        write_strip(folder / f"stage-{stage}.jpg", frames[::-stage])
    write_film(folder / "preview.mp4", frames)


@dataclass
class Night:
    """A night of four shots in a ledger: approved, retaken, held, failed; and a refused line."""

    maker: Maker
    ledger: Ledger
    id: str
    shots: dict[str, int]


@pytest.fixture
def night(maker: Maker) -> Iterator[Night]:
    ends = {
        "seq010_sh0010": (TakeStatus.APPROVED,),
        "seq010_sh0020": (TakeStatus.REJECTED, TakeStatus.APPROVED),
        "seq010_sh0030": (TakeStatus.REJECTED, TakeStatus.HELD),
        "001": (TakeStatus.FAILED,),
    }
    with maker.ledger() as ledger:
        name = maker.begin(ledger)
        shots = {
            shot: maker.run(ledger, maker.shot(shot, row=row), name, *steps, position=row)
            for row, (shot, steps) in enumerate(ends.items(), start=2)
        }
        for shot_id in shots.values():
            for take in ledger.takes_of(shot_id):
                if take.receipt is not None:
                    _pictures(maker, take.take_id, 20 * take.number)
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
        yield Night(maker=maker, ledger=ledger, id=name, shots=shots)
