"""The camera moves the pocket Wan knows, how far each goes, and the words that ask for it.

Directions are the camera's, not the picture's, as a camera operator says them:

===============  ===========================  ===================================
move             the camera                   what is seen in the frame
===============  ===========================  ===================================
pan left         turns to its left            the content slides to the RIGHT
pan right        turns to its right           the content slides to the LEFT
tilt up          looks higher                 the content slides DOWN
tilt down        looks lower                  the content slides UP
zoom in          comes closer                 the content grows out of the centre
zoom out         goes away                    the content shrinks to the centre
roll clockwise   turns clockwise on its axis  the content turns COUNTER-CLOCKWISE
roll counter...  turns the other way          the content turns CLOCKWISE
static           stands still                 nothing moves
gentle           (no move word in the prompt) the content grows a little, slowly
===============  ===========================  ===================================

A bare "roll" is clockwise. This module is plain Python: no torch, nothing to load.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Move(StrEnum):
    """One camera move; the direction is the camera's."""

    STATIC = "static"
    GENTLE = "gentle"
    PAN_LEFT = "pan left"
    PAN_RIGHT = "pan right"
    TILT_UP = "tilt up"
    TILT_DOWN = "tilt down"
    ZOOM_IN = "zoom in"
    ZOOM_OUT = "zoom out"
    ROLL_CLOCKWISE = "roll clockwise"
    ROLL_COUNTER = "roll counter-clockwise"


@dataclass(frozen=True)
class Travel:
    """How far the camera goes from the first frame to the last, at normal speed."""

    right: float = 0.0
    """Camera travel to the right, as a share of the frame's width; content goes left."""
    down: float = 0.0
    """Camera travel downwards, as a share of the frame's height; content goes up."""
    zoom: float = 1.0
    """Magnification of the last frame over the first; above 1 the content grows."""
    roll: float = 0.0
    """Clockwise turn of the camera, degrees; content turns the other way."""


TRAVEL: dict[Move, Travel] = {
    Move.STATIC: Travel(),
    Move.GENTLE: Travel(zoom=1.08),
    Move.PAN_LEFT: Travel(right=-0.22),
    Move.PAN_RIGHT: Travel(right=0.22),
    Move.TILT_UP: Travel(down=-0.22),
    Move.TILT_DOWN: Travel(down=0.22),
    Move.ZOOM_IN: Travel(zoom=1.35),
    Move.ZOOM_OUT: Travel(zoom=1 / 1.30),
    Move.ROLL_CLOCKWISE: Travel(roll=14.0),
    Move.ROLL_COUNTER: Travel(roll=-14.0),
}
"""Travel of each move at normal speed over 17 frames."""

DIRECTED: tuple[Move, ...] = tuple(m for m in Move if m not in (Move.STATIC, Move.GENTLE))
"""The eight moves that have a direction to get right."""

SLOW_SHARE = 0.55
"""Share of the normal travel when the prompt says slow, gentle, subtle, slight."""
FAST_SHARE = 1.35
"""Share of the normal travel when the prompt says fast, quick, rapid."""

SLOW_WORDS: tuple[str, ...] = ("slow", "gentle", "subtle", "slight", "soft")
FAST_WORDS: tuple[str, ...] = ("fast", "quick", "rapid", "swift")
"""Adjectives; the adverb is the adjective with "ly" ("fast" stays "fast")."""

# Each phrase has one slot: {a} takes an adjective ("slow "), {v} and {e} an adverb before the
# verb or at the end. An empty slot means normal speed.
_SIDES: dict[Move, tuple[str, str, str]] = {
    Move.PAN_LEFT: ("left", "leftward", "leftwards"),
    Move.PAN_RIGHT: ("right", "rightward", "rightwards"),
}
_PAN: tuple[str, ...] = (
    "{a}pan {d}",
    "{a}pan to the {d}",
    "{v}pan {d}",
    "pan {v}to the {d}",
    "pan {d}{e}",
    "camera {v}pans {d}",
    "the camera {v}pans to the {d}",
    "camera pans {d}{e}",
    "{v}panning {d}",
    "panning {v}to the {d}",
    "{a}{d} pan",
    "{a}{w} pan",
    "{a}pan {ws}",
    "camera {v}moves {d}",
    "the camera {v}moves to the {d}",
    "{v}move {d}",
    "camera {v}slides {d}",
    "{a}slide to the {d}",
    "{a}truck {d}",
    "{a}tracking shot to the {d}",
    "camera {v}turns {d}",
    "the camera {v}turns to the {d}",
    "{a}camera pan {d}",
    "{a}camera move to the {d}",
    "{a}sideways move to the {d}",
    "{a}dolly {d}",
)
_TILT: tuple[str, ...] = (
    "{a}tilt {d}",
    "{v}tilt {d}",
    "tilt {v}{d}",
    "tilt {d}{e}",
    "camera {v}tilts {d}",
    "the camera {v}tilts {d}",
    "camera tilts {d}{e}",
    "{v}tilting {d}",
    "{a}tilt {ws}",
    "{a}{w} tilt",
    "the camera {v}tilts {ws}",
    "camera {v}moves {d}",
    "the camera {v}moves {ws}",
    "{a}crane {d}",
    "{a}pedestal {d}",
    "{a}boom {d}",
    "{a}camera tilt {d}",
    "{v}move {d}",
    "camera {v}cranes {d}",
    "{a}vertical pan {d}",
)
PHRASES: dict[Move, tuple[str, ...]] = {
    **{
        move: tuple(p.replace("{d}", d).replace("{ws}", ws).replace("{w}", w) for p in _PAN)
        for move, (d, w, ws) in _SIDES.items()
    },
    Move.TILT_UP: (
        *(
            p.replace("{d}", "up").replace("{ws}", "upwards").replace("{w}", "upward")
            for p in _TILT
        ),
        "camera {v}rises",
        "the camera {v}goes up",
        "{a}rising camera",
        "camera {v}lifts",
    ),
    Move.TILT_DOWN: (
        *(
            p.replace("{d}", "down").replace("{ws}", "downwards").replace("{w}", "downward")
            for p in _TILT
        ),
        "camera {v}descends",
        "the camera {v}goes down",
        "{a}descending camera",
        "camera {v}lowers",
    ),
    Move.ZOOM_IN: (
        "{a}zoom in",
        "{v}zoom in",
        "zoom in{e}",
        "camera {v}zooms in",
        "the camera {v}zooms in",
        "{v}zooming in",
        "{a}zoom into the scene",
        "zoom {v}in on the subject",
        "{a}zoom-in",
        "{a}push in",
        "{a}push-in",
        "camera {v}pushes in",
        "the camera {v}pushes in",
        "pushing in{e}",
        "{v}push in on the subject",
        "{a}dolly in",
        "{v}dolly in",
        "camera {v}dollies in",
        "{a}dolly forward",
        "camera {v}moves closer",
        "the camera {v}moves forward",
        "{v}move closer",
        "{a}punch in",
        "camera {v}moves in",
        "camera {v}comes closer",
        "{a}inward zoom",
        "{a}forward camera move",
    ),
    Move.ZOOM_OUT: (
        "{a}zoom out",
        "{v}zoom out",
        "zoom out{e}",
        "camera {v}zooms out",
        "the camera {v}zooms out",
        "{v}zooming out",
        "{a}zoom-out",
        "zoom {v}out from the subject",
        "{a}pull out",
        "{a}pull back",
        "{v}pull back",
        "{a}pull-back",
        "camera {v}pulls back",
        "the camera {v}pulls out",
        "pulling back{e}",
        "camera {v}pulls away",
        "{a}dolly out",
        "{a}dolly back",
        "camera {v}dollies out",
        "camera {v}moves back",
        "the camera {v}moves backward",
        "{v}move away",
        "camera {v}moves away",
        "camera {v}backs away",
        "{a}outward zoom",
        "{a}backward camera move",
    ),
    Move.ROLL_CLOCKWISE: (
        "{a}roll",
        "{a}camera roll",
        "camera {v}rolls",
        "{a}roll clockwise",
        "roll clockwise{e}",
        "camera {v}rolls clockwise",
        "the camera {v}rolls to the right",
        "{a}roll right",
        "{a}clockwise roll",
        "{v}rolling clockwise",
        "{a}roll to the right",
        "camera {v}rotates clockwise",
        "{v}rotate clockwise",
        "{a}clockwise rotation",
        "{a}dutch roll",
        "{v}rotate right",
        "the camera {v}rotates to the right",
        "{a}right roll",
        "camera {v}rolls right",
    ),
    Move.ROLL_COUNTER: (
        "{a}roll counter-clockwise",
        "roll counterclockwise{e}",
        "{a}roll anticlockwise",
        "camera {v}rolls counter-clockwise",
        "camera {v}rolls counterclockwise",
        "the camera {v}rolls to the left",
        "{a}roll left",
        "{a}counter-clockwise roll",
        "{a}counterclockwise roll",
        "{v}rolling counterclockwise",
        "{a}roll to the left",
        "camera {v}rotates counter-clockwise",
        "{v}rotate counterclockwise",
        "{a}anti-clockwise roll",
        "{a}counterclockwise rotation",
        "{v}rotate left",
        "the camera {v}rotates to the left",
        "{a}left roll",
        "camera {v}rolls left",
    ),
    Move.STATIC: (
        "static",
        "static shot",
        "static camera",
        "locked off",
        "locked-off shot",
        "still camera",
        "the camera holds still",
        "camera holds",
        "no camera movement",
        "no camera motion",
        "no motion",
        "fixed camera",
        "tripod shot",
        "the camera does not move",
        "the camera stays still",
        "motionless camera",
        "stationary camera",
        "hold still",
        "camera locked off",
        "the camera is fixed",
        "freeze",
        "static frame",
        "no movement",
    ),
    Move.GENTLE: (),
}
"""Phrases per move, the words trained on; free text may stand around them."""
