"""Stills: one way of opening them, with words for what was done, and clear refusals."""

from __future__ import annotations

import hashlib
import struct
import zlib
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from laws import examples
from PIL import Image, ImageCms

from manifests.errors import BadInput
from manifests.source import inspect_source, open_source


def pixels(image):
    return np.asarray(image).astype(int)


def wide_png(path, array, colour):
    """A 16-bit PNG of a (H, W, C) array; colour type 0 grey, 2 RGB."""

    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    height, width = array.shape[:2]
    lines = b"".join(b"\0" + row.astype(">u2").tobytes() for row in array)
    header = struct.pack(">IIBBBBB", width, height, 16, colour, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(lines))
        + chunk(b"IEND", b"")
    )


def test_a_plain_still_is_read_as_it_is(tmp_path, still):
    """RGB in, the same RGB out, hashed over the file's bytes, nothing to note."""
    path = still(tmp_path / "a.png", size=(40, 30))
    source = inspect_source(path)
    assert (source.width, source.height, source.notes) == (40, 30, ())
    assert source.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert (pixels(open_source(path)) == pixels(Image.open(path))).all()


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation_is_undone(tmp_path, suffix, orientation):
    """A still that its camera marked as turned is opened upright, in every format that marks it."""
    upright = Image.new("RGB", (32, 48))
    upright.paste((255, 255, 255), (0, 0, 16, 16))
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}
    stored = upright.transpose(Image.Transpose(undo[orientation])) if orientation > 1 else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"a.{suffix}"
    stored.save(path, exif=exif, **({"quality": 95} if suffix in ("jpg", "webp") else {}))
    source, image = inspect_source(path), open_source(path)
    assert (source.width, source.height) == image.size == (32, 48)
    assert abs(pixels(image) - pixels(upright))[2:14, 2:14].max() < 30
    assert abs(pixels(image) - pixels(upright))[20:, 20:].max() < 30
    assert pixels(image)[8, 8].min() > 200
    assert ("turned upright by its EXIF tag" in source.notes) == (orientation > 1)


def test_alpha_is_laid_over_black(tmp_path):
    """Half transparent white is grey; opaque alpha is not worth a note; palettes count too."""
    half = Image.new("RGBA", (20, 20), (255, 255, 255, 128))
    half.save(tmp_path / "half.png")
    half.putalpha(255)
    half.save(tmp_path / "full.png")
    palette = Image.new("P", (20, 20), 1)
    palette.putpalette([0, 0, 0, 255, 0, 0])
    palette.save(tmp_path / "palette.png", transparency=1)
    assert open_source(tmp_path / "half.png").getpixel((0, 0)) == (128, 128, 128)
    assert inspect_source(tmp_path / "half.png").notes == ("alpha over black",)
    assert inspect_source(tmp_path / "full.png").notes == ()
    assert open_source(tmp_path / "palette.png").getpixel((0, 0)) == (0, 0, 0)


def test_sixteen_bits_are_scaled_to_eight(tmp_path):
    """Grey is rounded to the nearest level (65535 is 255, 0 is 0); colour is within one level."""
    ramp = np.linspace(0, 65535, 64 * 32).round().astype(np.uint16).reshape(32, 64)
    wide_png(tmp_path / "grey.png", ramp, 0)
    grey = pixels(open_source(tmp_path / "grey.png"))[..., 0]
    assert (grey == np.floor(ramp / 257 + 0.5)).all()
    assert inspect_source(tmp_path / "grey.png").notes == ("16-bit grey scaled to 8 bit",)
    colour = np.stack([ramp, ramp[::-1], ramp], axis=-1)
    wide_png(tmp_path / "colour.png", colour, 2)
    assert abs(pixels(open_source(tmp_path / "colour.png")) - colour / 257).max() < 1
    assert inspect_source(tmp_path / "colour.png").notes == ("16-bit colour reduced to 8 bit",)


def test_cmyk_is_converted_and_said_so(tmp_path):
    """A print file becomes RGB with a note that its colours are approximate."""
    Image.new("CMYK", (20, 20), (0, 255, 255, 0)).save(tmp_path / "a.tif")
    red, green, blue = open_source(tmp_path / "a.tif").getpixel((5, 5))
    assert red > 200 > 60 > max(green, blue)
    assert "CMYK" in inspect_source(tmp_path / "a.tif").notes[0]


def test_a_colour_profile_is_converted_to_srgb(tmp_path):
    """A profile of sRGB changes nothing, another is converted, a broken one is told."""
    plain = Image.new("RGB", (20, 20), (200, 80, 40))
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    plain.save(tmp_path / "srgb.png", icc_profile=lab)
    assert inspect_source(tmp_path / "srgb.png").notes == ()
    assert open_source(tmp_path / "srgb.png").getpixel((0, 0)) == (200, 80, 40)
    plain.save(tmp_path / "broken.png", icc_profile=b"nothing")
    assert "taken as sRGB" in inspect_source(tmp_path / "broken.png").notes[0]
    # A space of its own name whose red primary is sRGB's green and the other way round.
    other = lab.replace("sRGB".encode("utf-16-be"), "xRGB".encode("utf-16-be"))
    for old, new in ((b"rXYZ", b"temp"), (b"gXYZ", b"rXYZ"), (b"temp", b"gXYZ")):
        other = other.replace(old, new, 1)
    plain.save(tmp_path / "other.png", icc_profile=other)
    red, green, blue = open_source(tmp_path / "other.png").getpixel((0, 0))
    assert max(abs(red - 80), abs(green - 200), abs(blue - 40)) <= 2
    assert (
        "converted from its colour profile 'xRGB" in inspect_source(tmp_path / "other.png").notes[0]
    )


def test_of_several_frames_the_first_is_taken(tmp_path):
    """An animated GIF gives its first frame, and says so."""
    first, second = (Image.new("RGB", (20, 20), colour) for colour in ((255, 0, 0), (0, 0, 255)))
    first.save(tmp_path / "a.gif", save_all=True, append_images=[second])
    assert open_source(tmp_path / "a.gif").getpixel((0, 0)) == (255, 0, 0)
    assert inspect_source(tmp_path / "a.gif").notes == ("first of its 2 frames",)


def test_grey_and_one_bit_stills_are_rgb(tmp_path, still):
    """Whatever the mode, RGB comes back."""
    for mode in ("L", "1", "LA", "P"):
        assert open_source(still(tmp_path / f"{mode}.png", mode=mode)).mode == "RGB"


def refusal(path):
    with pytest.raises(BadInput) as caught:
        inspect_source(path)
    with pytest.raises(BadInput):
        open_source(path)
    (fault,) = caught.value.faults
    assert fault.file == path
    assert fault.remedy
    return fault.problem


def test_bad_stills_are_refused_by_name(tmp_path, still):
    """Empty, cut short, foreign, tiny, 32-bit and missing files: each told apart."""
    empty = tmp_path / "empty.png"
    empty.touch()
    whole = {
        suffix: still(tmp_path / f"whole.{suffix}", size=(200, 200)) for suffix in ("jpg", "png")
    }
    for suffix, path in whole.items():
        (tmp_path / f"cut.{suffix}").write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    (tmp_path / "text.png").write_text("not an image")
    still(tmp_path / "tiny.png", size=(15, 200))
    Image.new("F", (32, 32)).save(tmp_path / "float.tif")
    assert "is empty (0 bytes)" in refusal(empty)
    assert "is cut short or damaged" in refusal(tmp_path / "cut.jpg")
    assert "is cut short or damaged" in refusal(tmp_path / "cut.png")
    assert "is no still that can be read" in refusal(tmp_path / "text.png")
    assert "has only 15x200 pixels" in refusal(tmp_path / "tiny.png")
    assert "holds 32-bit data" in refusal(tmp_path / "float.tif")
    assert "cannot be read" in refusal(tmp_path / "missing.png")


@pytest.mark.parametrize("size", [(10_100, 10_000), (60_000, 60_000)])
def test_huge_stills_are_refused_before_they_are_decoded(tmp_path, size):
    """A header that promises more than 100 million pixels is enough."""
    wide_png(tmp_path / "bomb.png", np.zeros((1, 1)), 0)
    data = bytearray((tmp_path / "bomb.png").read_bytes())
    data[16:24] = struct.pack(">II", *size)
    data[29:33] = struct.pack(">I", zlib.crc32(bytes(data[12:29])))
    (tmp_path / "bomb.png").write_bytes(data)
    assert "pixels" in refusal(tmp_path / "bomb.png")


@settings(
    max_examples=examples(60),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    place=st.integers(0, 2000), value=st.integers(0, 255), suffix=st.sampled_from(["png", "jpg"])
)
def test_damaged_bytes_are_read_or_refused(tmp_path, still, place, value, suffix):
    """One wrong byte anywhere gives a picture or a BadInput, nothing else."""
    data = bytearray(still(tmp_path / f"a.{suffix}", size=(32, 32)).read_bytes())
    data[place % len(data)] = value
    path = tmp_path / f"b.{suffix}"
    path.write_bytes(data)
    with suppress(BadInput):
        assert open_source(path).mode == "RGB"


def test_a_still_in_lab_colours_is_refused_as_that(tmp_path, still):
    """It is whole: to copy it again would help nobody."""
    with pytest.raises(BadInput, match="holds Lab colours; export it as RGB"):
        inspect_source(still(tmp_path / "a.tif", mode="LAB"))


def test_a_sheet_s_fault_says_which_still_it_is(sheet, tmp_path):
    """Row and column are found at once; who exports it again wants the file's name."""
    (tmp_path / "sheets").mkdir()
    (tmp_path / "sheets" / "text.png").write_text("hello")
    manifest = sheet("shot,source\na,text.png\nb,text.png\n")
    assert len(manifest.faults) == 2
    for fault in manifest.faults:
        assert fault.problem.startswith("'text.png' is no still that can be read (")
