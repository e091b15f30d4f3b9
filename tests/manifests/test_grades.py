"""Grades: CDL files, LUTs and numbers in words give the same Grade, checked before the night."""

from __future__ import annotations

import pytest

from manifests.cdl import read_cdl
from manifests.cube import check_cube
from manifests.grade import find_grade, read_grade
from manifests.paths import Roots
from manifests.refusal import Refusal

CDL = """<?xml version="1.0"?>
<ColorCorrection xmlns="urn:ASC:CDL:v1.2" id="look">
  <SOPNode><Slope>1.1 1 0.9</Slope><Offset>0.01 0 -0.01</Offset><Power>1 1.2 1</Power></SOPNode>
  <SatNode><Saturation>0.8</Saturation></SatNode>
</ColorCorrection>"""


def cube(path, *, size=2, rows=None, head="LUT_3D_SIZE 2", row="0.5 0.5 0.5"):
    path.write_text("\n".join(["# made here", 'TITLE "x"', head, *[row] * (rows or size**3)]))
    return path


def grade_of(cell, folder, shot="sh"):
    return find_grade(read_grade(cell), roots=Roots.of(folder), shot=shot)


def test_all_ways_to_write_a_grade_agree(tmp_path):
    """A CDL file, inline numbers and a mapping mean the same; a LUT may follow."""
    (tmp_path / "a.cc").write_text(CDL)
    lut = cube(tmp_path / "my lut.cube")
    inline = "slope=1.1,1,0.9 offset=0.01,0,-0.01 power=1,1.2,1 saturation=0.8"
    mapping = {
        "slope": ["1.1", "1", "0.9"],
        "offset": "0.01 0 -0.01",
        "power": ["1", "1.2", "1"],
        "saturation": "0.8",
    }
    from_file = grade_of("a.cc", tmp_path)
    assert from_file == grade_of(inline, tmp_path) == grade_of(mapping, tmp_path)
    assert from_file.slope == (1.1, 1.0, 0.9)
    with_lut = grade_of(f'{inline} lut="my lut.cube"', tmp_path)
    assert (with_lut.lut, len(with_lut.lut_sha256)) == (lut, 64)
    assert with_lut == grade_of('cdl=a.cc; lut="my lut.cube"', tmp_path)


def test_a_grade_that_changes_nothing_is_none(tmp_path):
    """`none` and an identity CDL are no grade."""
    assert grade_of("none", tmp_path) is None
    assert grade_of("slope=1", tmp_path) is None


def test_a_collection_is_searched_by_id_or_shot(tmp_path):
    """`file.ccc#id` finds that one; without an id the shot's own name counts."""
    inner = CDL.partition("?>")[2]
    both = inner + inner.replace("look", "sh010").replace("0.8", "0.5")
    (tmp_path / "a.ccc").write_text(
        f"<ColorCorrectionCollection>{both}</ColorCorrectionCollection>"
    )
    assert grade_of("a.ccc#look", tmp_path).saturation == 0.8
    assert grade_of("a.ccc", tmp_path, shot="sh010").saturation == 0.5
    with pytest.raises(Refusal, match=r"no correction with the id 'lok'.*did you mean 'look'"):
        grade_of("a.ccc#lok", tmp_path)
    with pytest.raises(Refusal, match="no correction with the id 'other'"):
        grade_of("a.ccc", tmp_path, shot="other")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('<!DOCTYPE x [<!ENTITY a "b">]><ColorCorrection/>', "holds a DOCTYPE"),
        ("<ColorCorrection>", "is not valid XML"),
        ("<x/>", "holds no ColorCorrection"),
        ("<ColorCorrection/>", "holds no SOPNode and no SatNode"),
        (CDL.replace("1.1 1 0.9", "1.1 1"), "slope has 2 numbers"),
        (CDL.replace("1.1 1 0.9", "-1 1 1"), "slope -1 is not in 0..100"),
        (CDL.replace("0.8", "nan"), "'nan' is not a number"),
        (CDL.replace("1 1.2 1", "0 1 1"), "power 0 is not in"),
    ],
)
def test_a_bad_cdl_is_refused(tmp_path, text, problem):
    """Entities, broken XML, wrong counts and values outside the standard."""
    (tmp_path / "a.cdl").write_text(text)
    with pytest.raises(Refusal, match=problem):
        read_cdl(tmp_path / "a.cdl", wanted=None, shot="sh")


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"rows": 7}, "holds 7 rows, its header says 8"),
        ({"head": "# none"}, "names no LUT_3D_SIZE"),
        ({"head": "LUT_3D_SIZE 1"}, "LUT_3D_SIZE is not in 2..129"),
        ({"head": "LUT_3D_SIZE 130"}, "LUT_3D_SIZE is not in 2..129"),
        ({"head": "LUT_3D_SIZE two"}, "LUT_3D_SIZE is no number"),
        ({"row": "0.5 0.5"}, "line 4 does not hold 3 numbers"),
        ({"row": "0.5 0.5 nan"}, "line 4 does not hold 3 numbers"),
        ({"row": "<html> x y"}, "line 4 does not hold 3 numbers"),
        ({"row": "0 " * 3000}, "line 4 is longer than 4096 characters"),
    ],
)
def test_a_bad_lut_is_refused(tmp_path, given, problem):
    """A LUT that OpenColorIO would refuse at night is refused at check."""
    with pytest.raises(Refusal, match=problem):
        check_cube(cube(tmp_path / "a.cube", **given))


def test_one_dimensional_and_shaper_luts_pass(tmp_path):
    """1D, 3D and both in one file are read."""
    check_cube(cube(tmp_path / "a.cube", head="LUT_1D_SIZE 8"))
    check_cube(cube(tmp_path / "b.cube", head="LUT_1D_SIZE 2\nLUT_3D_SIZE 2", rows=10))
