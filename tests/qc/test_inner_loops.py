"""What is computed in a faster way than it is defined: equal to the definition."""

from __future__ import annotations

import threading

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from laws import examples
from threadpoolctl import threadpool_info, threadpool_limits

from qc import identity, threads
from qc.boiling import flattest
from qc.frame import cell_means, lengths, single_frames
from qc.measure import measure_frames
from qc.median import median

seeds = st.integers(0, 2**32 - 1)
sizes = st.tuples(st.integers(12, 90), st.integers(12, 90))


@settings(deadline=None, max_examples=examples(60))
@given(seeds, sizes, st.sampled_from([0.0, 0.2, 3.0, 60.0]), st.floats(0.01, 1.0))
def test_the_flattest_quarter_is_that_of_numpys_quantile(seed, size, strength, share):
    """On any gradients, ties and flat ground among them, and however little is seen."""
    rng = np.random.default_rng(seed)
    slope = np.abs(strength * rng.standard_normal(size)).astype(np.float32)
    slope[rng.random(size) < 0.3] = np.float32(0.53033)
    seen = rng.random(size) < share
    seen[0, 0] = True
    expected = slope[seen] <= np.quantile(slope[seen], 0.25)
    np.testing.assert_array_equal(slope[seen] <= flattest(slope, seen), expected)


@settings(deadline=None, max_examples=examples(60))
@given(seeds, st.integers(1, 400), st.sampled_from(["f4", "f8"]), st.sampled_from([0.0, 1.0, 9.0]))
def test_the_median_is_numpys_to_the_last_bit(seed, count, kind, step):
    """Of odd and even numbers of them, of rows as of columns, ties among them."""
    values = np.random.default_rng(seed).normal(0, 5, (count, 2)).astype(kind)
    if step:
        values = (values / step).round() * step
    np.testing.assert_array_equal(median(values.T), np.median(values, axis=0))
    assert median(values[:, 0]) == np.median(values[:, 0])


@settings(deadline=None, max_examples=examples(40))
@given(seeds, sizes, st.integers(1, 12), st.integers(1, 12))
def test_cell_means_are_opencvs_averages_over_areas(seed, size, rows, columns):
    """Whether the rows fit the grid or not."""
    plane = np.random.default_rng(seed).uniform(-9, 9, size).astype(np.float32)
    expected = cv2.resize(plane, (columns, rows), interpolation=cv2.INTER_AREA)
    actual = cell_means(plane, rows=rows, columns=columns)
    np.testing.assert_allclose(actual, expected, atol=1e-5)


@settings(deadline=None, max_examples=examples(30))
@given(seeds, st.floats(0.0, 6.0), st.floats(0.0, 0.2))
def test_whole_tiles_are_those_that_a_least_squares_fit_calls_so(seed, bent, lost):
    """Points that moved apart or were lost are found as by fitting each tile by itself."""
    rng = np.random.default_rng(seed)
    x, y = np.meshgrid(np.arange(identity.COLUMNS) * 20.8, np.arange(identity.ROWS) * 20.0)
    start = np.dstack([x, y]).astype(np.float32)
    moved = start @ np.array([[1.1, 0.05], [-0.08, 0.95]]) + 7
    now = (moved + rng.normal(0, bent, start.shape)).astype(np.float32)
    alive = rng.random(start.shape[:2]) >= lost
    expected = []
    for row, column in identity.corners():
        tile = (slice(row, row + 4), slice(column, column + 4))
        before, after = start[tile].reshape(-1, 2), now[tile].reshape(-1, 2)
        basis = np.column_stack([before, np.ones(16)])
        off = after - basis @ np.linalg.lstsq(basis, after, rcond=None)[0]
        expected.append(alive[tile].all() and np.hypot(*off.T).max() <= 0.15 * 3 * 20.8)
    np.testing.assert_array_equal(identity.whole(start, now, alive), expected)


@pytest.mark.slow
@pytest.mark.parametrize("given_threads", [1, 3])
def test_the_numbers_do_not_depend_on_the_threads(filmed, moves, given_threads, monkeypatch):
    """One thread or several, the scorecard is the same."""
    clip = filmed("chelsea", moves["pan"])
    expected = measure_frames(clip, fps=24).metrics
    monkeypatch.setattr(threads, "_pools", [])
    monkeypatch.setenv("OMP_NUM_THREADS", str(given_threads))
    assert threads.count() == given_threads
    assert measure_frames(clip, fps=24).metrics == expected


@pytest.mark.slow
def test_memory_that_is_used_again_is_not_what_is_measured(filmed, moves):
    """Whoever decodes every frame into one buffer gets the numbers of the frames it gave."""
    clip = filmed("chelsea", moves["pan"])
    buffer = np.empty_like(clip[0])

    def through_one_buffer():
        for frame in clip:
            buffer[:] = frame
            yield buffer

    expected = measure_frames(clip, fps=24).metrics
    assert measure_frames(through_one_buffer(), fps=24).metrics == expected


@settings(deadline=None, max_examples=examples(60))
@given(seeds, sizes, st.integers(0, 15), st.integers(0, 15))
def test_a_length_is_the_same_wherever_it_lies_in_memory(seed, size, one, other):
    """Bit for bit, whatever the addresses of both planes are multiples of."""
    rng = np.random.default_rng(seed)
    across, down = rng.standard_normal((2, *size), np.float32) * np.float32(5)
    expected = np.sqrt(across * across + down * down)
    found = lengths(moved(across, by=one), moved(down, by=other))
    np.testing.assert_array_equal(found, expected)


def moved(plane, *, by):
    """`plane` (H, W) float32 at an address `by` numbers beyond a multiple of 64 bytes."""
    room = np.empty(plane.size + 32, np.float32)
    start = (-room.ctypes.data % 64) // 4 + by
    place = room[start : start + plane.size].reshape(plane.shape)
    place[:] = plane
    return place


def test_what_measures_has_numpy_multiply_on_one_thread(monkeypatch):
    """Its threads would wait for cores that others measure on, and burn them meanwhile."""
    monkeypatch.setattr(threads, "_pools", [])
    with threadpool_limits(limits=2, user_api="blas"):
        assert blas_threads() == {2}
        threads.submit(int, False).result()
        assert blas_threads() == {1}


def blas_threads():
    """How many threads each library of linear algebra has."""
    return {at["num_threads"] for at in threadpool_info() if at["user_api"] == "blas"}


def test_what_breaks_in_a_thread_is_raised_to_the_caller(filmed, moves):
    """A backbone that fails on a frame fails the measuring, with its own error."""

    class Broken:
        name = "broken"

        def measures(self, image):
            return True

        def embed_all(self, images):
            raise RuntimeError("no embedding today")

    with pytest.raises(RuntimeError, match="no embedding today"):
        measure_frames(filmed("chelsea", moves["pan"]), fps=24, lpips=Broken())


@pytest.mark.slow
def test_torch_keeps_its_threads_elsewhere():
    """What measures computes alone; who samples in the same process has the threads it had."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        assert threads.submit(torch.get_num_threads, True).result() == 1
        found = []
        elsewhere = threading.Thread(target=lambda: found.append(torch.get_num_threads()))
        elsewhere.start()
        elsewhere.join()
        assert (torch.get_num_threads(), found) == (3, [3])
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("odd", [None, np.nan, np.inf, -0.1, 1.1])
def test_every_step_of_a_takes_file_becomes_the_nearest_byte(odd):
    """All 4096 of them, also beside values that are none; those become black or are cut."""
    codes = np.random.default_rng(0).permutation(4096 * 3).reshape(64, 64, 3) % 4096
    values = (codes / 4095).astype(np.float32)
    expected = np.rint(values * np.float32(255)).astype(np.uint8)
    if odd is not None:
        values[2, 3, 1], expected[2, 3, 1] = odd, 255 if odd == 1.1 else 0
    ((frame, broken),) = single_frames([values])
    np.testing.assert_array_equal(frame, expected)
    assert broken == pytest.approx(0 if odd is None or np.isfinite(odd) else 1 / values.size)
