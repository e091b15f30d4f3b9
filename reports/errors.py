"""What goes wrong while the night is written down.

ReportError (RushesError)
├── IllegalTransition    a take cannot go from this status to that one
├── LedgerBusy           another orchestrator holds the ledger
└── LedgerTooNew         the ledger was written by a later Rushes
"""

from __future__ import annotations

from manifests.errors import RushesError


class ReportError(RushesError):
    """Root of what goes wrong while the night is written down."""


class IllegalTransition(ReportError):
    """A take cannot go from this status to that one."""


class LedgerBusy(ReportError):
    """Another orchestrator holds the ledger."""


class LedgerTooNew(ReportError):
    """The ledger was written by a later Rushes than this one."""
