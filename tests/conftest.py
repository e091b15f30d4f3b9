"""For all tests: laws are tried without a deadline, and what was imported is left alone."""

from __future__ import annotations

import atexit
import gc
import sys
from collections.abc import Iterator

import pytest
from hypothesis import settings

# What is imported is not looked at by the collector while it comes in, nor, frozen, at the end.
gc.disable()
atexit.register(gc.unfreeze)

# A machine that does something else as well is no fault: no law is timed. `quick` is for
# `make check-fast`; the whole suite tries as many examples as each law asks for.
settings.register_profile("rushes", deadline=None)
settings.register_profile("quick", deadline=None, max_examples=6)
settings.load_profile("rushes")


ADVICE = (
    "that takes seconds of every quick run; name its file in WITH_TORCH of the Makefile, or mark "
    "it slow and import it inside"
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """`make check-fast` runs the tests that need no torch in a process without it."""
    parser.addoption("--no-torch", action="store_true", help="refuse modules that import torch")


@pytest.fixture(scope="session", autouse=True)
def _torch_stays_out(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    kept_out = request.config.getoption("--no-torch")
    assert not (kept_out and "torch" in sys.modules), f"a test imported torch: {ADVICE}"


def pytest_collection_finish(session: pytest.Session) -> None:
    """Modules live to the end: the collector need not look at them again and again."""
    if session.config.getoption("--no-torch") and "torch" in sys.modules:
        raise pytest.UsageError(f"a test imports torch as it is read: {ADVICE}")
    gc.collect()
    gc.freeze()


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop() -> None:
    """Here, as who only hands tests out to other processes collects none of them itself."""
    gc.enable()
