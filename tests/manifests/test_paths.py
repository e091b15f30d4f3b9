"""Files that a sheet names: found as people write them, or a remedy that leads to them."""

from __future__ import annotations

import pytest

from manifests.paths import Roots
from manifests.refusal import Refusal

COMPOSED, APART = "Stra\u00dfe/B\u00e4r.png", "Stra\u00dfe/Ba\u0308r.png"


@pytest.fixture
def roots(tmp_path):
    """Roots at a folder that holds `stills/cat.png`."""
    (tmp_path / "stills").mkdir()
    (tmp_path / "stills" / "cat.png").write_bytes(b"x")
    return Roots.of(tmp_path)


def remedy(roots, name):
    with pytest.raises(Refusal) as caught:
        roots.find(name, what="a still")
    return caught.value.remedy


@pytest.mark.parametrize(("on_disk", "typed"), [(COMPOSED, APART), (APART, COMPOSED)])
def test_an_accent_is_the_same_letter_in_both_its_spellings(roots, tmp_path, on_disk, typed):
    """Files copied from a Mac are found by the names that people type elsewhere, and back."""
    path = tmp_path / on_disk
    path.parent.mkdir()
    path.write_bytes(b"x")
    assert roots.find(typed, what="a still") == path.resolve()


def test_of_two_files_with_one_name_in_two_spellings_the_typed_one_is_meant(roots, tmp_path):
    """What is there as it was typed is taken; nothing is chosen between two others."""
    for name in ("a\u0323\u0302.png", "\u1ead.png"):
        (tmp_path / name).write_bytes(b"x")
        assert roots.find(name, what="a still").name == name
    assert remedy(roots, "\u1ea1\u0302.png").startswith("did you mean")


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("Stills/CAT.PNG", "did you mean 'stills/cat.png'?"),
        ("stills/cat", "did you mean 'stills/cat.png'?"),
        ("stills/cat.jpg", "did you mean 'stills/cat.png'?"),
        ("\u201cstills/cat.png\u201d", "write it without the quotes around it"),
        ("'stills/cat.png'", "write it without the quotes around it"),
        ("stills\\cat.png", "write folders with / instead of \\"),
        ("C:\\Users\\anna\\cat.png", "copy it beside the sheet"),
        ("\\\\server\\share\\cat.png", "copy it beside the sheet"),
        ("~/stills/cat.png", "copy it beside the sheet"),
        ("https://cdn/cat.png?key=1", "copy it beside the sheet"),
        ("file:///stills/cat.png", "copy it beside the sheet"),
    ],
)
def test_a_name_that_is_not_there_is_answered_by_what_is_wrong_with_it(roots, typed, said):
    """Case of Windows, quotes of a word processor, paths of other machines, addresses."""
    assert remedy(roots, typed).startswith(said)


def test_a_path_of_windows_is_told_as_it_was_typed(roots):
    """One stroke between folders is not shown as two; what a terminal would obey is escaped."""
    with pytest.raises(Refusal) as caught:
        roots.find("C:\\Users\\anna\\c\x1bt.png", what="a still")
    assert caught.value.problem == r"'C:\Users\anna\c\x1bt.png' is not there"


def test_no_name_outside_is_told_by_its_spelling(roots, tmp_path):
    """A name that leads outside is refused as that, also where a file there is spelled alike."""
    (tmp_path.parent / "B\u00e4r.png").write_bytes(b"x")
    assert remedy(roots, "../Ba\u0308r.png").startswith("copy it beside the sheet, or add")
    assert remedy(roots, "../b\u00c4r.png").startswith("copy it beside the sheet, or add")


@pytest.mark.parametrize("link", ["Ba\u0308r.png", "Ba\u0308r"])
def test_no_link_leads_outside_by_another_spelling(tmp_path, link):
    """A still or folder that is found by its other spelling is followed as any link is."""
    (tmp_path / "root").mkdir()
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "cat.png").write_bytes(b"x")
    is_still = link.endswith(".png")
    (tmp_path / "root" / link).symlink_to(outside / "cat.png" if is_still else outside)
    typed = "B\u00e4r.png" if is_still else "B\u00e4r/cat.png"
    assert "source_roots" in remedy(Roots.of(tmp_path / "root"), typed)


def test_a_name_too_long_for_the_disk_is_refused_where_its_folder_is_spelled_otherwise(roots):
    """The look for another spelling meets what the disk cannot hold, and says it is not there."""
    assert remedy(roots, f"Stills/{'x' * 300}").startswith("make the folder")
