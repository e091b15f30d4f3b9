"""What goes wrong while pixels are measured.

QCError (RushesError)
├── NotAVideo            the file cannot be decoded as video at all
├── UnsupportedColour    its pixels are no display-referred colours: HDR, log, linear light
├── BackboneUnavailable  LPIPS weights were asked for and are missing or damaged
└── SourceMissing        the still to compare with cannot be read
"""

from __future__ import annotations

from manifests.errors import RushesError


class QCError(RushesError):
    """Root of what goes wrong while pixels are measured."""


class NotAVideo(QCError):
    """The file cannot be decoded as video at all."""


class UnsupportedColour(QCError):
    """The pixels of the file are no display-referred colours that limits mean anything for."""


class BackboneUnavailable(QCError):
    """LPIPS weights were asked for and are missing or damaged."""


class SourceMissing(QCError):
    """The still to compare with cannot be read."""
