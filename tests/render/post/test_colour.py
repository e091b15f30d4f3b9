"""Grades: what OpenColorIO makes is what ASC CDL v1.2 and the LUT say."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from laws import examples

from manifests.shot import Grade
from render.errors import GradeUnusable
from render.post.colour import Grader, describe

REC709 = np.array([0.2126, 0.7152, 0.0722])


def asc_cdl(rgb: np.ndarray, grade: Grade) -> np.ndarray:
    """ASC CDL v1.2 by its formula, float64."""
    v = np.clip(rgb.astype(np.float64) * grade.slope + grade.offset, 0, 1) ** grade.power
    luma = (v * REC709).sum(axis=-1, keepdims=True)
    return np.clip(luma + grade.saturation * (v - luma), 0, 1)


def trilinear(rgb: np.ndarray, table: np.ndarray) -> np.ndarray:
    """Look up a cube (indexed [r, g, b]) linearly along each axis, float64."""
    last = table.shape[0] - 1
    place = np.clip(rgb.astype(np.float64), 0, 1) * last
    low = np.minimum(place.astype(int), last - 1)
    part = place - low
    out = np.zeros(rgb.shape)
    for corner in np.ndindex(2, 2, 2):
        weight = np.prod(np.where(corner, part, 1 - part), axis=-1, keepdims=True)
        out += weight * table[tuple((low + corner).reshape(-1, 3).T)].reshape(rgb.shape)
    return out


def tetrahedral(rgb: np.ndarray, table: np.ndarray) -> np.ndarray:
    """Look up a cube by the six tetrahedra: walk from corner to corner, largest part first."""
    last = table.shape[0] - 1
    out = np.zeros((rgb.size // 3, 3))
    for row, pixel in enumerate(np.clip(rgb.reshape(-1, 3).astype(np.float64), 0, 1) * last):
        at = np.minimum(pixel.astype(int), last - 1)
        part = pixel - at
        value = table[tuple(at)]
        for axis in np.argsort(-part, kind="stable"):
            before = table[tuple(at)]
            at = at + np.eye(3, dtype=int)[axis]
            value = value + part[axis] * (table[tuple(at)] - before)
        out[row] = value
    return out.reshape(rgb.shape)


def write_cube(path: Path, table: np.ndarray) -> str:
    """Write a cube (indexed [r, g, b]) with red fastest; returns its hash."""
    size = table.shape[0]
    rows = table.transpose(2, 1, 0, 3).reshape(-1, 3)
    text = f"LUT_3D_SIZE {size}\n" + "\n".join(f"{r:.9f} {g:.9f} {b:.9f}" for r, g, b in rows)
    path.write_text(text + "\n")
    return hashlib.sha256(path.read_bytes()).hexdigest()


def lattice(size: int) -> np.ndarray:
    """The identity cube, (size, size, size, 3)."""
    axis = np.linspace(0, 1, size)
    return np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1)


def pixels(seed: int = 0, count: int = 400) -> np.ndarray:
    """Random colours with the corners of the cube among them, (count, 1, 3)."""
    rgb = np.random.default_rng(seed).random((count, 1, 3), dtype=np.float32)
    rgb[:8, 0] = list(np.ndindex(2, 2, 2))
    return rgb


triples = st.tuples(*[st.floats(0.3, 2)] * 3)


@settings(deadline=None, max_examples=examples(40))
@given(
    slope=triples,
    offset=st.tuples(*[st.floats(-0.4, 0.4)] * 3),
    power=triples,
    saturation=st.floats(0, 2),
)
def test_cdl_is_the_formula(
    slope: tuple[float, float, float],
    offset: tuple[float, float, float],
    power: tuple[float, float, float],
    saturation: float,
) -> None:
    """Any CDL agrees with ASC's formula within 5e-6.

    Pixels within 1e-3 of zero before the power are left out: a power below 1 is infinitely steep
    there, and the last bit of float32 becomes anything.
    """
    grade = Grade(slope=slope, offset=offset, power=power, saturation=saturation)
    rgb = pixels()
    tame = (np.abs(rgb * slope + offset) > 1e-3).all(axis=-1)
    assert tame.sum() > 300
    np.testing.assert_allclose(Grader(grade).apply(rgb)[tame], asc_cdl(rgb, grade)[tame], atol=5e-6)


def test_saturation_comes_last() -> None:
    """Saturation works on what slope, offset and power made, not on what came in."""
    grade = Grade(slope=(2.0, 0.5, 1.0), power=(1.0, 1.0, 2.0), saturation=0.0)
    rgb = np.array([[[0.3, 0.6, 0.5]]], np.float32)
    luma = 0.2126 * 0.6 + 0.7152 * 0.3 + 0.0722 * 0.25
    np.testing.assert_allclose(Grader(grade).apply(rgb), np.full((1, 1, 3), luma), atol=1e-6)


@settings(deadline=None, max_examples=10)
@given(seed=st.integers(0, 2**32 - 1))
def test_identity_changes_no_bit(seed: int) -> None:
    """A neutral grade gives back the very frame."""
    rgb = pixels(seed)
    np.testing.assert_array_equal(Grader(Grade()).apply(rgb), rgb)
    np.testing.assert_array_equal(Grader(None).apply(rgb), rgb)
    assert not Grader(Grade()).changes


def test_identity_lut_changes_nothing(tmp_path: Path) -> None:
    """A LUT that maps every colour to itself is the identity within float32."""
    digest = write_cube(tmp_path / "same.cube", lattice(17))
    grade = Grade(lut=tmp_path / "same.cube", lut_sha256=digest)
    np.testing.assert_allclose(Grader(grade).apply(pixels()), pixels(), atol=1e-6)


def _film(size: int) -> np.ndarray:
    r, g, b = np.moveaxis(lattice(size), -1, 0)
    return np.stack([r**0.8 * (0.9 + 0.1 * g), 0.9 * g + 0.1 * r * b, b**1.3], axis=-1)


def test_lut_is_interpolated_in_tetrahedra(tmp_path: Path) -> None:
    """A cube is looked up by tetrahedra, as written out by hand, within 2e-6 (float32)."""
    digest = write_cube(tmp_path / "film.cube", _film(9))
    grade = Grade(lut=tmp_path / "film.cube", lut_sha256=digest)
    got = Grader(grade).apply(pixels())
    np.testing.assert_allclose(got, tetrahedral(pixels(), _film(9)), atol=2e-6)


def test_lut_is_near_trilinear(tmp_path: Path) -> None:
    """Red, green and blue keep their axes: on a 33-cube, trilinear agrees within 5e-4.

    Both methods are exact on the lattice; between, they differ by the curvature of one cell.
    """
    digest = write_cube(tmp_path / "film.cube", _film(33))
    grade = Grade(lut=tmp_path / "film.cube", lut_sha256=digest)
    got = Grader(grade).apply(pixels())
    np.testing.assert_allclose(got, trilinear(pixels(), _film(33)), atol=5e-4)


def test_cdl_comes_before_the_lut(tmp_path: Path) -> None:
    """The LUT sees what the CDL made; the other order is told apart."""
    table = _film(17)
    grade = Grade(
        slope=(1.3, 0.8, 1.0),
        offset=(0.05, 0.0, -0.02),
        saturation=0.7,
        lut=tmp_path / "film.cube",
        lut_sha256=write_cube(tmp_path / "film.cube", table),
    )
    rgb = pixels()
    got = Grader(grade).apply(rgb)
    np.testing.assert_allclose(got, tetrahedral(asc_cdl(rgb, grade), table), atol=1e-5)
    other = asc_cdl(tetrahedral(rgb, table), grade)
    assert np.abs(got - other).max() > 0.02


def test_one_dimensional_lut(tmp_path: Path) -> None:
    """A 1D .cube is a curve per channel, linear between its points."""
    (tmp_path / "curve.cube").write_text("LUT_1D_SIZE 3\n0 0 0\n0.6 0.5 0.2\n1 1 1\n")
    rgb = np.array([[[0.25, 0.5, 0.75]]], np.float32)
    got = Grader(Grade(lut=tmp_path / "curve.cube")).apply(rgb)
    np.testing.assert_allclose(got, [[[0.3, 0.5, 0.6]]], atol=1e-6)


def test_the_frame_that_was_given_is_kept() -> None:
    """Grading makes a new frame."""
    rgb = pixels()
    before = rgb.copy()
    assert not np.array_equal(Grader(Grade(slope=(0.5, 1, 1))).apply(rgb), before)
    np.testing.assert_array_equal(rgb, before)


def test_a_changed_lut_is_refused(tmp_path: Path) -> None:
    """A LUT that is not the one that was planned is refused, with both hashes."""
    path = tmp_path / "look.cube"
    planned = write_cube(path, lattice(3))
    now = write_cube(path, 1 - lattice(3))
    with pytest.raises(GradeUnusable, match="changed since it was planned") as caught:
        Grader(Grade(lut=path, lut_sha256=planned))
    assert now[:12] in str(caught.value)
    assert planned[:12] in str(caught.value)


def test_no_stale_lut(tmp_path: Path) -> None:
    """A LUT planned anew under an old name is read anew by the same process."""
    path = tmp_path / "look.cube"
    rgb = pixels()
    first = Grader(Grade(lut=path, lut_sha256=write_cube(path, lattice(3)))).apply(rgb)
    second = Grader(Grade(lut=path, lut_sha256=write_cube(path, 1 - lattice(3)))).apply(rgb)
    np.testing.assert_allclose(first + second, np.ones_like(rgb), atol=1e-6)


def test_odd_names_of_luts(tmp_path: Path) -> None:
    """A dollar or a percent sign in the path is no variable."""
    path = tmp_path / "$HOME %d" / "a look.cube"
    path.parent.mkdir()
    digest = write_cube(path, 1 - lattice(3))
    got = Grader(Grade(lut=path, lut_sha256=digest)).apply(pixels())
    np.testing.assert_allclose(got, 1 - pixels(), atol=1e-6)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("garbage\n", "Malformed"),
        ("", "unspecified"),
        ("LUT_3D_SIZE 2\n0 0 0\n", "Found 1, expected 8"),
    ],
)
def test_a_broken_lut_is_refused(tmp_path: Path, text: str, reason: str) -> None:
    """What is no LUT is refused by its own path and OCIO's reason."""
    path = tmp_path / "bad.cube"
    path.write_text(text)
    with pytest.raises(GradeUnusable, match=reason) as caught:
        Grader(Grade(lut=path))
    assert str(path) in str(caught.value)
    assert "rushes-lut-" not in str(caught.value)


def test_a_lut_that_is_gone_or_no_cube_is_refused(tmp_path: Path) -> None:
    """A missing file and another format are refused by name."""
    with pytest.raises(GradeUnusable, match=r"gone\.cube: the LUT cannot be read"):
        Grader(Grade(lut=tmp_path / "gone.cube"))
    with pytest.raises(GradeUnusable, match=r"look\.3dl: not a \.cube file"):
        Grader(Grade(lut=tmp_path / "look.3dl"))


@pytest.mark.parametrize(
    "grade",
    [
        Grade(slope=(-1.0, 1.0, 1.0)),
        Grade(power=(0.0, 1.0, 1.0)),
        Grade(saturation=-0.5),
        Grade(offset=(float("nan"), 0.0, 0.0)),
    ],
)
def test_impossible_cdls_are_refused(grade: Grade) -> None:
    """Numbers that ASC forbids are refused."""
    with pytest.raises(GradeUnusable, match="CDL"):
        Grader(grade)


def test_words(tmp_path: Path) -> None:
    """The grade in words has every number and the hash of the LUT."""
    digest = write_cube(tmp_path / "warm.cube", lattice(2))
    grade = Grade(slope=(1.1, 1, 0.9), saturation=0.85)
    cdl = "CDL slope 1.1 1 0.9, offset 0 0 0, power 1 1 1, saturation 0.85"
    assert describe(None) == "none"
    assert describe(Grade()) == "none"
    assert describe(grade) == cdl
    lut = replace(grade, lut=tmp_path / "warm.cube", lut_sha256=digest)
    assert describe(lut) == f"{cdl}; LUT warm.cube (sha256 {digest[:12]})"
    only = Grade(lut=tmp_path / "warm.cube")
    assert describe(only) == f"LUT warm.cube (sha256 {digest[:12]})"
