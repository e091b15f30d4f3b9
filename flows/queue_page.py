"""The queue as a page beside Prefect's: which shots come next, and a priority for each.

Prefect's pages have no place for it: a run of a deployment waits behind the night that it is to
change, and a form of the night's own run stops it. So the server that is ours shows this page, and
the night's page leads to it. What is typed here is said as by `rushes priority`.

Nobody else can say it: the address holds a key of its own (not that of the pictures, whose
addresses people send around), and each form a word that only a page of this server has, so that
another page in the same browser cannot send one.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlencode

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from flows.control import set_priority
from flows.queue_view import Queue, Row, Standing, page_of, queue_of
from manifests.errors import BadInput, RushesError

if TYPE_CHECKING:
    from fastapi import FastAPI
    from starlette.requests import Request
    from starlette.responses import Response

TEMPLATES = Path(__file__).parent / "templates"
MOST_BYTES = 10_000
"""Of a form that is sent: a shot, a number and the word."""
MOST = 1_000_000
"""The highest priority, as in a sheet; the lowest is its negative."""
_NUMBER = re.compile(r"[+-]?[0-9]{1,7}")
_FORM = "application/x-www-form-urlencoded"


def steer(app: FastAPI, root: Path, path: str) -> None:
    """Serve the page at `path`."""
    from starlette.routing import Route

    page = _Page(root, path)
    # NOTE: first of all: Prefect's own page answers whatever else is asked.
    app.router.routes.insert(0, Route(path, page.answer, methods=["GET", "POST"]))


class _Refused(Exception):
    """What was sent is not done; the status of HTTP, and why."""

    def __init__(self, status: int, words: str) -> None:
        super().__init__(words)
        self.status = status


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """Which part of the queue is looked at: the query of the page's address."""

    looked_for: str
    page: str
    said: str
    """Key of the shot whose priority was just set."""

    @classmethod
    def of(cls, query: Mapping[str, str]) -> _Asked:
        """As the browser sent it."""
        return cls(
            looked_for=query.get("q", ""), page=query.get("page", ""), said=query.get("said", "")
        )

    def link(self, **other: str | int) -> str:
        """The address of what is looked at, but for what `other` says: `q`, `page` and `said`."""
        query = {"q": self.looked_for, "page": self.page, **other}
        return "?" + urlencode({name: value for name, value in query.items() if value})


class _Page:
    """The page of one root, for the life of one server."""

    def __init__(self, root: Path, path: str) -> None:
        self._root, self._path = root, path
        self._token = secrets.token_urlsafe(24)
        self._style = (TEMPLATES / "queue.css").read_text(encoding="utf-8")
        self._environment = Environment(
            loader=FileSystemLoader(TEMPLATES),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
        )

    async def answer(self, request: Request) -> Response:
        """A look at the page, or a form of it; who sent one is led back to the page."""
        from starlette.responses import HTMLResponse, RedirectResponse

        status, fault = 200, ""
        asked = _Asked.of(request.query_params)
        if request.method == "POST":
            try:
                shot = await self._say(request)
                back = f"{self._path}{asked.link(said=shot)}"
                return RedirectResponse(back, status_code=303)
            except _Refused as error:
                status, fault = error.status, str(error)
            except BadInput as error:
                status, fault = 400, str(error)
            except (RushesError, OSError) as error:
                status, fault = 500, str(error)
        text, readable = await asyncio.to_thread(self._shown, asked, fault)
        return HTMLResponse(text, status if readable else 500, headers=self._headers)

    async def _say(self, request: Request) -> str:
        """Do what a form says; the shot it speaks of. Raises _Refused, RushesError, OSError."""
        form = await _form_of(request)
        # NOTE: as bytes: of text it compares ASCII alone, and raises for the rest.
        if not secrets.compare_digest(form.get("token", "").encode(), self._token.encode()):
            raise _Refused(403, "This page was older than the server: set it again here.")
        shot, wish = form.get("shot", ""), form.get("do", "set")
        number = await asyncio.to_thread(self._wished, wish, shot, form.get("number", ""))
        await asyncio.to_thread(set_priority, self._root, shot, number)
        return shot

    def _wished(self, wish: str, shot: str, number: str) -> int | None:
        """The priority that is wished for; None: its sheet's."""
        match wish:
            case "sheet":
                return None
            case "first":
                return _above_all(queue_of(self._root).rows, shot)
            case "set" if _NUMBER.fullmatch(number) and -MOST <= int(number) <= MOST:
                return int(number)
            case _:
                raise _Refused(400, f"A priority is a whole number from -{MOST} to {MOST}.")

    def _shown(self, asked: _Asked, fault: str) -> tuple[str, bool]:
        """The page, and whether the queue could be read."""
        readable = True
        try:
            queue = queue_of(self._root)
        except (RushesError, OSError) as error:
            queue, readable = Queue(night=None), False
            fault = f"{fault}\n{error}".strip()
        template = self._environment.get_template("queue.html.j2")
        night = queue.night
        text = template.render(
            title="The queue: no night has run here" if night is None else f"The queue of {night}",
            page=page_of(queue.rows, asked.looked_for, asked.page),
            waiting=queue.count(Standing.WAITING),
            in_work=queue.count(Standing.IN_WORK),
            link=asked.link,
            said=next((row for row in queue.rows if row.key == asked.said), None),
            fault=fault,
            token=self._token,
            # Our own file, not anyone's text: the page allows exactly this one by its hash.
            style=Markup(self._style),  # noqa: S704
        )
        return text, readable

    @property
    def _headers(self) -> Mapping[str, str]:
        digest = base64.b64encode(hashlib.sha256(self._style.encode()).digest()).decode()
        return {
            "Content-Security-Policy": f"default-src 'none'; style-src 'sha256-{digest}'; "
            "form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "same-origin",
            "Cache-Control": "no-store",
        }


def _above_all(rows: Sequence[Row], shot: str) -> int:
    """A priority above all others'; what is first already keeps its own. Raises _Refused."""
    number = max((row.holds + (row.key != shot) for row in rows), default=0)
    if number > MOST:
        raise _Refused(400, f"Another shot has {MOST}, the highest there is: give it less first.")
    return number


async def _form_of(request: Request) -> dict[str, str]:
    """The fields of a form of ours. Raises _Refused for anything else."""
    if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        raise _Refused(403, "This was sent by another page: open the queue itself.")
    if request.headers.get("content-type", "").partition(";")[0].strip() != _FORM:
        raise _Refused(415, "This is no form of this page.")
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > MOST_BYTES:
            raise _Refused(413, "This is longer than a form of this page.")
    try:
        fields: dict[str, Any] = parse_qs(
            body.decode("utf-8"), keep_blank_values=True, max_num_fields=20
        )
    except ValueError:
        raise _Refused(400, "This is no form of this page.") from None
    return {name: values[-1] for name, values in fields.items()}
