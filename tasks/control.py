"""What a person has said about the night that runs: pause, cancel, what is more urgent.

A small file beside the ledger: what holds until it is taken back is no history. It outlives the
night, a pause as well as a priority.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from manifests.errors import BadInput, Fault
from manifests.files import write_atomic
from manifests.sequence import shot_key as shot_key  # a shot's name in the file, too

NAME = "control.json"
PAUSED = "paused by a person: nothing new is started until `rushes resume`"
RESUMED = "resumed by a person"


@dataclass(frozen=True, slots=True, kw_only=True)
class Control:
    """What holds now. Shots are named `sheet/shot`."""

    paused: bool = False
    """Nothing new is started; what is in work goes on to the end of its step."""
    ended: str | None = None
    """A night that is to end as soon as the steps in work are done."""
    cancelled: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """Night -> shots on which nothing more is to be done in it."""
    priority: Mapping[str, int] = field(default_factory=dict)
    """Shot -> priority that holds in place of its sheet's."""

    def stops(self, shot: str, *, night: str) -> str | None:
        """Why nothing more is to be done on a shot in this night; None: it goes on."""
        if self.ended == night:
            return "the night was cancelled"
        if shot in self.cancelled.get(night, frozenset()):
            return "cancelled for this night"
        return None

    def priority_of(self, shot: str, typed: int) -> int:
        """The priority that holds: `typed` is the sheet's."""
        return self.priority.get(shot, typed)


def read_control(state_dir: Path) -> Control:
    """What holds now; nothing special where there is no file. Raises BadInput when damaged."""
    path = state_dir / NAME
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        return Control(
            paused=bool(data["paused"]),
            ended=None if data["ended"] is None else str(data["ended"]),
            cancelled={
                str(night): frozenset(map(str, shots)) for night, shots in data["cancelled"].items()
            },
            priority={str(shot): int(number) for shot, number in data["priority"].items()},
        )
    except FileNotFoundError:
        return Control()
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        fault = Fault(
            file=path,
            problem=f"cannot be read ({error})",
            remedy="remove it, then pause, cancel or set priorities again",
        )
        raise BadInput([fault]) from None


class Said:
    """What a person has said, asked again and again: the file is read only when it changed, and
    at each look while it cannot be."""

    def __init__(
        self,
        state_dir: Path,
        *,
        complain: Callable[[str], None],
        pauses: Callable[[str], None],
    ) -> None:
        """`complain` is told once for each file that cannot be read; what held before holds on.
        `pauses` is told of each pause that is found, also of one from before the night, and of its
        end."""
        self._state_dir = state_dir
        self._complain = complain
        self._pauses = pauses
        self._seen: tuple[int, int, int] | None = None
        """What the file looked like that was read."""
        self._told: tuple[int, int, int] | None = None
        """What the one looked like that `complain` was told of."""
        self._control = Control()

    def __call__(self) -> Control:
        """What holds now."""
        try:
            status = (self._state_dir / NAME).stat()
            seen = (status.st_mtime_ns, status.st_size, status.st_ino)
        except FileNotFoundError:
            self._seen = None
            self._hold(Control())
            return self._control
        except OSError:  # a disk that does not answer has taken nothing back
            return self._control
        if seen != self._seen:
            self._read(seen)
        return self._control

    def _read(self, seen: tuple[int, int, int]) -> None:
        try:
            control = read_control(self._state_dir)
        except BadInput as error:
            # NOTE: not seen yet: it may be the system that could not, and the file be whole.
            if seen != self._told:
                self._told = seen
                self._complain(str(error))
        else:
            self._seen = seen
            self._hold(control)

    def _hold(self, control: Control) -> None:
        before, self._control = self._control, control
        if control.paused != before.paused:
            self._pauses(PAUSED if control.paused else RESUMED)


def change_control(state_dir: Path, change: Callable[[Control], Control]) -> Control:
    """Put what `change` makes of the present control in its place; two changes never lose one."""
    with _alone(state_dir):
        made = change(read_control(state_dir))
        write_atomic(state_dir / NAME, json.dumps(_plain(made), indent=2) + "\n")
    return made


def cancel_shots(control: Control, shots: frozenset[str], *, night: str) -> Control:
    """With these shots cancelled too in a night; other nights' cancels are forgotten."""
    known = control.cancelled.get(night, frozenset())
    return replace(control, cancelled={night: known | shots})


def _plain(control: Control) -> dict[str, Any]:
    return {
        "paused": control.paused,
        "ended": control.ended,
        "cancelled": {night: sorted(shots) for night, shots in control.cancelled.items()},
        "priority": dict(sorted(control.priority.items())),
    }


@contextmanager
def _alone(state_dir: Path) -> Iterator[None]:
    state_dir.mkdir(parents=True, exist_ok=True)
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
    descriptor = os.open(state_dir / f"{NAME}.lock", flags, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
