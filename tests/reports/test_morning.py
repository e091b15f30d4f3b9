from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from manifests.stage import Noise
from reports.media import PAGE_BUDGET
from reports.morning import _environment, render_page, write_morning
from reports.night_report import build_night_report
from reports.records import EventKind
from reports.take import TakeStatus

HOSTILE = """<script>alert(1)</script>"><img src=x onerror=alert(1)> ' & </style></title>{{7*7}}"""


class Page(HTMLParser):
    """Tags, attributes and visible text of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self._raw = False
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self._raw = tag in ("script", "style")
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        self._raw = False

    def handle_data(self, data):
        if not self._raw:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def values(self, *names: str) -> list[str]:
        return [str(attrs[name]) for _, attrs in self.tags for name in names if name in attrs]


@pytest.fixture
def html(night) -> str:
    page = write_morning(build_night_report(night.ledger, night.id), night.maker.root / "report")
    return page.read_text(encoding="utf-8")


def test_the_page_tells_the_night(html):
    """Sentence, numbers, needs, shots, scores, takes, times and recipes are all there."""
    text = Page(html).text
    for words in (
        "2 of 4 shots approved, 2 need you.",
        "1 line of the sheet was refused",
        "None of 2 takes was good enough",
        "flickers: 0.011, at most 0.0065",
        "OutOfMemory , try 1 : the card is full",
        "slow push in",
        "pocket/two-stage",
        "Start σ",
        "0.870",
        "new seed",
        "Take 2",
        "stage 2",
    ):
        assert words.replace(" ,", ",").replace(" :", ":") in text, words


def test_nothing_is_loaded_from_anywhere(html):
    """Every source is a data URL or a plain relative path, and no other scheme is named at all."""
    page = Page(html)
    sources = page.values("src", "href", "poster", "srcset", "action", "data", "xlink:href")
    assert any(source.startswith("data:video/mp4;base64,") for source in sources)
    for source in sources:
        assert re.match(r"(data:(image/jpeg|video/mp4);base64,|#|[\w.%-]+(/|$))", source), source
    without_files = re.sub(r"data:[a-z]+/[a-z0-9]+;base64,[A-Za-z0-9+/=]+", "", html)
    # Base64 of a hash may hold two slashes by chance.
    without_files = re.sub(r"'sha256-[A-Za-z0-9+/=]+'", "", without_files)
    assert "//" not in without_files
    assert not re.search(r"@import|url\(", without_files)


@pytest.mark.slow
def test_the_policy_allows_exactly_the_pages_own_script_and_style(html):
    """The hashes in the policy are those of the inlined text; nothing else may run."""
    policy = next(a["content"] for t, a in Page(html).tags if a.get("http-equiv"))
    assert policy is not None
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy
    for tag, directive in (("script", "script-src"), ("style", "style-src")):
        (text,) = re.findall(rf"<{tag}>(.*?)</{tag}>", html, flags=re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{directive} 'sha256-{digest}'" in policy
    assert not Page(html).values("style", "onclick", "onload", "onerror")


def _hostile_night(maker, text: str):
    ledger = maker.ledger()
    name = maker.begin(ledger)
    recipe = maker.recipe(prompt=text, negative=text, preset=text)
    shot = maker.shot(
        recipe=recipe, title=text, notes=text, style=text, snaps=(text,), warnings=(text,)
    )
    shot_id = maker.run(ledger, shot, name, TakeStatus.REJECTED, TakeStatus.HELD)
    take = maker.add(ledger, shot_id, name, remedy_words=text, take_id=text, recipe=recipe)
    ledger.event(
        kind=EventKind.MACHINE_FAILURE, words=text, night=name, take_id=text, data={"error": text}
    )
    ledger.event(
        kind=EventKind.REFUSED, words=text, night=name, data={"file": text, "problem": text}
    )
    ledger.event(kind=EventKind.NOTE, words=text, night=name)
    ledger.move(take.take_id, TakeStatus.RENDERING, night=name, words=text)
    ledger.move(take.take_id, TakeStatus.FAILED, night=name, words=text)
    ledger.end_night(name, text)
    return build_night_report(ledger, name)


def test_hostile_words_stay_words(maker):
    """Tags, quotes and template marks in every free text are shown, never obeyed."""
    html = render_page(_hostile_night(maker, HOSTILE), maker.root)
    page = Page(html)
    assert [tag for tag, _ in page.tags].count("script") == 1
    assert not any(attrs.get("src") == "x" for _, attrs in page.tags)
    assert not page.values("onerror")
    assert "<script>alert(1)</script>" in page.text
    assert "{{7*7}}" in page.text


@settings(
    deadline=None, max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(text=st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1))
@pytest.mark.slow
def test_no_text_changes_the_pages_structure(maker, text):
    """Whatever the sheet says, the page has the tags that it has for a plain word."""
    counts = []
    for words in ("plain", text):
        for old in maker.root.glob("ledger.db*"):
            old.unlink()
        page = Page(render_page(_hostile_night(maker, words), maker.root))
        counts.append([tag for tag, _ in page.tags])
    assert counts[0] == counts[1]


def test_prompts_in_any_language_are_shown(maker):
    """Chinese, Arabic and emoji prompts come through."""
    text = "缓慢推进，电影质感 حركة بطيئة 🎬"
    with maker.ledger() as ledger:
        name = maker.begin(ledger)
        maker.run(ledger, maker.shot(title=text), name, TakeStatus.APPROVED)
        page = write_morning(build_night_report(ledger, name), maker.root / "r")
    assert text in page.read_text(encoding="utf-8")


@pytest.mark.parametrize("ended", [True, False])
def test_a_night_without_shots_has_a_page(maker, ended):
    """No shots, no toolbar, no division by zero; an open night says so."""
    with maker.ledger() as ledger:
        name = maker.begin(ledger)
        if ended:
            ledger.end_night(name, "no shots")
        text = Page(render_page(build_night_report(ledger, name), maker.root)).text
    assert "Nothing was asked of this night." in text
    assert ("still open" in text) is not ended


def test_a_night_in_which_all_is_held_has_a_page(maker):
    """No approved shot: every one is listed under what needs a person."""
    with maker.ledger() as ledger:
        name = maker.begin(ledger)
        for index in range(3):
            maker.run(ledger, maker.shot(f"sh{index}"), name, TakeStatus.HELD, position=index)
        ledger.end_night(name, "3 held")
        page = Page(render_page(build_night_report(ledger, name), maker.root))
    assert "No shot approved, 3 need you." in page.text
    assert page.text.count("its take was rejected".capitalize()) == 3


@pytest.mark.slow
def test_pictures_that_vanished_leave_a_page_that_says_so(night):
    """Without strips, previews and delivered files the page still tells everything else."""
    for path in [*night.maker.root.rglob("*.jpg"), *night.maker.root.rglob("*.mp4")]:
        path.unlink()
    page = Page(render_page(build_night_report(night.ledger, night.id), night.maker.root))
    assert not any(tag in ("video", "img", "image") for tag, _ in page.tags)
    assert "no picture" in page.text
    assert "the delivered file is no longer where it was put" in page.text
    assert not any(link.endswith(".mp4") for link in page.values("href"))


@pytest.mark.slow
def test_a_file_that_is_no_picture_breaks_nothing(night):
    """A damaged strip is left out of the head; a browser shows it as broken where it stands."""
    for path in night.maker.root.rglob("*.jpg"):
        path.write_bytes(b"not a jpeg")
    page = Page(render_page(build_night_report(night.ledger, night.id), night.maker.root))
    assert not any(tag == "image" for tag, _ in page.tags)


def test_links_go_to_the_delivered_files_and_lead_there(night):
    """Relative, percent-encoded, and true from the page's folder."""
    folder = night.maker.root / "reports" / "2026 #1"
    page = write_morning(build_night_report(night.ledger, night.id), folder)
    links = [link for link in Page(page.read_text()).values("href") if link.endswith(".mp4")]
    assert len(links) == 2
    assert all((folder / link).resolve().is_file() for link in links)


@pytest.mark.slow
def test_beyond_the_budget_files_are_linked(night):
    """A small budget embeds strips of what needs a person first and links the rest."""
    report = build_night_report(night.ledger, night.id)
    folder = night.maker.root / "report"
    full = Page(render_page(report, folder))
    small = Page(render_page(report, folder, budget=9000))
    sources = small.values("src", "href")
    embedded = sum(len(source) for source in sources if source.startswith("data:"))
    assert 0 < embedded <= 9000
    linked = [source for source in small.values("src") if not source.startswith("data:")]
    assert linked
    assert all((folder / source).resolve().is_file() for source in linked)
    assert not [source for source in full.values("src") if not source.startswith("data:")]


@pytest.mark.slow
def test_stages_are_shown_behind_a_fold(night):
    """Each stage that left a strip has it, by take; one whose file is gone is left out, and a
    client sees none."""
    report = build_night_report(night.ledger, night.id)
    folder = night.maker.root / "report"
    page = Page(render_page(report, folder))
    shown = [alt for alt in page.values("alt") if "after stage" in alt]
    assert sorted(shown) == sorted(
        [f"Take {take} after stage {stage}" for stage in (1, 2) for take in (1, 1, 2, 1, 2)]
    )
    for gone in night.maker.root.rglob("stage-2.jpg"):
        gone.unlink()
    again = Page(render_page(build_night_report(night.ledger, night.id), folder))
    assert not [alt for alt in again.values("alt") if "after stage 2" in alt]
    assert len([alt for alt in again.values("alt") if "after stage 1" in alt]) == 5
    client = Page(render_page(report, folder, client_safe=True))
    assert not [alt for alt in client.values("alt") if "after stage" in alt]
    assert "Stage by stage" not in client.text


@pytest.mark.slow
def test_writing_again_replaces_the_page_whole(night):
    """The report is made again from the ledger; no temporary file stays behind."""
    report = build_night_report(night.ledger, night.id)
    folder = night.maker.root / "report"
    first = write_morning(report, folder).read_bytes()
    assert write_morning(report, folder).read_bytes() == first
    assert sorted(path.name for path in folder.iterdir()) == ["index.html", "rushes.csv"]


@pytest.mark.slow
def test_five_hundred_shots_stay_within_the_budget(maker, tmp_path: Path):
    """A page of 500 shots stays small enough to open and to send."""
    with maker.ledger() as ledger:
        name = maker.begin(ledger)
        with ledger._write():
            for index in range(500):
                ends = (TakeStatus.REJECTED,) * (index % 3 == 0) + (TakeStatus.APPROVED,)
                shot_id = maker.run(
                    ledger, maker.shot(f"sh{index:04d}"), name, *ends, position=index
                )
                for take in ledger.takes_of(shot_id):
                    folder = maker.folder(take.take_id)
                    folder.mkdir(parents=True)
                    (folder / "strip.jpg").write_bytes(bytes(18_000))
                    (folder / "preview.mp4").write_bytes(bytes(60_000))
        ledger.end_night(name, "500 approved")
        page = write_morning(build_night_report(ledger, name), tmp_path / "report")
    size = page.stat().st_size
    assert 0.9 * PAGE_BUDGET < size < PAGE_BUDGET + 500 * 20_000


def test_a_level_that_is_no_share_is_told_with_its_share(maker):
    """AnimateDiff's sigma says nothing by itself, and it has no shift."""
    recipe = maker.recipe()
    flow = recipe.stages[0]
    recipe = replace(recipe, stages=(flow, replace(flow, noise=Noise.EPS_LINEAR, shift=1.0)))
    receipt = maker.receipt("s/1/t1", recipe)
    first, second = receipt.stages[0], replace(receipt.stages[1], start_sigma=1.314)
    take = SimpleNamespace(
        number=1, recipe=recipe, receipt=replace(receipt, stages=(first, second))
    )
    module = _environment().get_template("parts.html.j2").module
    cells = [row.split("</td>") for row in str(module.stages(take, False)).split("<tr>")[-2:]]
    told = [[cell.rpartition(">")[2] for cell in row] for row in cells]
    assert {"1.000", f"{flow.shift:g}"} <= set(told[0])
    assert {"1.314 (80 % noise)", "–"} <= set(told[1])
