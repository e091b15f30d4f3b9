"""What goes wrong while the night is written down.

ReportError (RushesError)
├── IllegalTransition    a take cannot go from this status to that one
├── LedgerBusy           another orchestrator holds the ledger
├── LedgerTooNew         the ledger was written by a later Rushes
├── LedgerDamaged        the file is no ledger, or can no longer be read as one
├── LedgerUnwritable     the disk is full, read-only or gone
├── LedgerOnShare        the ledger lies on another machine's disk
├── LedgerConflict       what is to be written contradicts what is recorded
└── NotInLedger          a night, shot or take that was never recorded
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


class LedgerDamaged(ReportError):
    """The file is no ledger, or can no longer be read as one."""


class LedgerUnwritable(ReportError):
    """The ledger cannot be written: the disk is full, read-only or gone."""


class LedgerOnShare(ReportError):
    """The ledger lies on another machine's disk: neither its lock nor SQLite holds there."""


class LedgerConflict(ReportError):
    """What is to be written contradicts what is recorded; nothing was written."""


class NotInLedger(ReportError):
    """A night, shot or take that was never recorded."""
