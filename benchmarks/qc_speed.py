"""How long measuring takes: every metric in one pass, against a plain loop of three.

    OMP_NUM_THREADS=2 python benchmarks/qc_speed.py --out benchmarks/results/qc_speed.json

The clip is a photograph under a moving camera with sensor noise, 81 frames of 832x480. In each
round both sides take their turn, in one process and with as many threads:

* naive: for each pair of frames scikit-image's SSIM (gaussian), `lpips` and OpenCV's Farneback
  flow, at full size and in colour, as one writes it first;
* alike: the same loop with what ours means: SSIM of luma, LPIPS and flow at half size. Its SSIM
  and LPIPS must equal ours;
* ours: `measure_frames` with a source and LPIPS: every metric of the scorecard;
* file: `measure` of the same frames as an H.264 file, decoding included.

Wall time and CPU time, milliseconds a frame; on a machine that others use only ratios of one round
and CPU times mean something. `profile` is CPU time of one thread by module of `qc`: what every
frame costs, and apart from it what is done once a clip with the source and frame 0. `not_measured`
names the metrics that this clip has no number for.
"""

from __future__ import annotations

import argparse
import contextlib
import cProfile
import json
import os
import platform
import pstats
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import cv2
import lpips
import numpy as np
import numpy.typing as npt
import torch
from skimage import data
from skimage.metrics import structural_similarity

from qc import threads
from qc.lpips import LpipsBackbone, load_backbone
from qc.measure import measure, measure_frames
from qc.metrics import METRICS
from qc.scorecard import Scorecard

Clip = npt.NDArray[np.uint8]
"""(N, H, W, 3)."""
# NOTE: scikit-image is untyped, and OpenCV's stubs refuse flow=None, which it documents.
_photographs: Any = data
_ssim: Any = structural_similarity
_cv: Any = cv2
_GAUSSIAN = {"gaussian_weights": True, "sigma": 1.5, "data_range": 255}
_SHARED = {"measure", "flight", "threads", "frame", "flow"}
_ONCE = {"_begin", "_begun"}
"""Of `qc.measure`: what looks at the source, and at frame 0 beside it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Took:
    """Milliseconds a frame."""

    wall: float
    cpu: float
    """Of all threads of the process."""


def film(*, frames: int, width: int, height: int) -> Clip:
    """A photograph under a camera that pans, zooms and trembles, with sensor noise."""
    photograph = cv2.resize(
        _photographs.coffee(), None, fx=2.2, fy=2.2, interpolation=cv2.INTER_CUBIC
    )
    rng = np.random.default_rng(11)
    centre = np.array([photograph.shape[1] / 2, photograph.shape[0] / 2])
    clip = []
    for t in np.linspace(-0.5, 0.5, frames):
        scale = 1.25 * 1.1**-t
        middle = centre + np.array([160 * t, 30 * t]) + rng.normal(0, 0.4, 2)
        at = middle - scale * np.array([width, height]) / 2
        still = cv2.warpAffine(
            photograph,
            np.array([[scale, 0, at[0]], [0, scale, at[1]]]),
            (width, height),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REFLECT,
        )
        noisy = still + rng.normal(0, 1.5, still.shape)
        clip.append(np.rint(noisy).clip(0, 255).astype(np.uint8))
    return np.stack(clip)


def timed(work: Callable[[], Any], frames: int) -> tuple[Took, Any]:
    """What `work` over `frames` frames took, and what it gave."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = work()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return Took(wall=1e3 * wall / frames, cpu=1e3 * cpu / frames), result


# ---------------------------------------------------------------------------- the plain loop


def naive(clip: Clip, network: lpips.LPIPS) -> list[tuple[float, float]]:
    """SSIM, LPIPS and flow of each pair, at full size and in colour."""
    values = []
    for one, other in pairwise(clip):
        alike = _ssim(one, other, channel_axis=2, **_GAUSSIAN)
        far = _distance(network, one, other)
        farneback(grey(one), grey(other))
        values.append((float(alike), far))
    return values


def naive_alike(clip: Clip, network: lpips.LPIPS) -> list[tuple[float, float]]:
    """What ours means by them: SSIM of luma; LPIPS and flow at half size."""
    values = []
    for one, other in pairwise(clip):
        alike = _ssim(grey(one), grey(other), **_GAUSSIAN)
        far = _distance(network, half(one), half(other))
        farneback(half(grey(one)), half(grey(other)))
        values.append((float(alike), far))
    return values


def grey(frame: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    return np.asarray(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), np.uint8)


def half(frame: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    size = (frame.shape[1] // 2, frame.shape[0] // 2)
    return np.asarray(cv2.resize(frame, size, interpolation=cv2.INTER_AREA), np.uint8)


def farneback(one: npt.NDArray[np.uint8], other: npt.NDArray[np.uint8]) -> None:
    _cv.calcOpticalFlowFarneback(one, other, None, 0.5, 3, 15, 3, 5, 1.2, 0)


@torch.inference_mode()
def _distance(
    network: lpips.LPIPS, one: npt.NDArray[np.uint8], other: npt.NDArray[np.uint8]
) -> float:
    first, second = (
        torch.from_numpy(image).permute(2, 0, 1)[None].float() / 127.5 - 1 for image in (one, other)
    )
    return float(network(first, second))


# ---------------------------------------------------------------------------- ours


def ours(clip: Clip, backbone: LpipsBackbone) -> Scorecard:
    """Every metric, from frames in memory."""
    return measure_frames(iter(clip), fps=16, source=clip[0], lpips=backbone)


def written(clip: Clip, folder: Path) -> Path:
    """The clip as an H.264 file at crf 18, as studios get it."""
    import av

    path = folder / "clip.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=16, options={"crf": "18"})
        stream.width, stream.height, stream.pix_fmt = clip.shape[2], clip.shape[1], "yuv420p"
        stream.codec_context.colorspace, stream.codec_context.color_range = 1, 1
        for picture in clip:
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame = frame.reformat(format="yuv420p", dst_colorspace=1, dst_color_range=1)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


class _AtOnce(Executor):
    """Does what it is given on the caller's thread, so that a profile sees it."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        done: Future[Any] = Future()
        done.set_result(fn(*args, **kwargs))
        return done


def profile(clip: Clip, backbone: LpipsBackbone) -> tuple[dict[str, float], dict[str, float]]:
    """CPU milliseconds by module of `qc`, on one thread: of each frame, and once a clip.

    Of each frame `lpips` is that of neighbours; what the tiles take is with their module. Once a
    clip: what is done with the source (SSIM, PSNR and LPIPS are all `conditioning`).
    """
    kept = threads._pools[:]
    torch.set_num_threads(1)
    threads._pools[:] = [_AtOnce()]  # type: ignore[list-item]
    profiler = cProfile.Profile(time.thread_time)
    try:
        profiler.runcall(ours, clip, backbone)
    finally:
        threads._pools[:] = kept
    stats = pstats.Stats(profiler).stats  # type: ignore[attr-defined]
    each, once = {"lpips": 1e3 * sum(_lpips_seconds(stats)) / len(clip)}, dict[str, float]()
    for (path, _, name), (_, _, _, _, callers) in stats.items():
        module = _module(path)
        if module in {None, "lpips", *(_SHARED - {"flow", "frame"})}:
            continue
        for (caller, _, calling), (_, _, _, seconds) in callers.items():
            above = _module(caller)
            if above in _SHARED - {"flow"} and above != module:
                label = "frames in" if name == "single_frames" else str(module)
                found, share = (once, 1) if calling in _ONCE else (each, len(clip))
                found[label] = found.get(label, 0.0) + 1e3 * seconds / share
    return _largest_first(each), _largest_first(once)


def _largest_first(found: dict[str, float]) -> dict[str, float]:
    # Digits enough that no row reads 0.0 that took any time.
    return {
        name: float(f"{value:.3g}")
        for name, value in sorted(found.items(), key=lambda item: -item[1])
    }


def _lpips_seconds(stats: dict[Any, Any]) -> Iterator[float]:
    """Of embedding the frames of a clip, and of their distances."""
    for (path, _, name), (_, _, _, seconds, _) in stats.items():
        if (_module(path), name) == ("flight", "_apart"):
            yield seconds


def _module(path: str) -> str | None:
    folder, _, name = path.replace("\\", "/").rpartition("/")
    return name.removesuffix(".py") if folder.rpartition("/")[2] == "qc" else None


# ---------------------------------------------------------------------------- the rounds


def rounds(
    clip: Clip, backbone: LpipsBackbone, *, number: int, pairs: int, file: bool
) -> dict[str, Any]:
    """`number` rounds of all sides; the naive ones on `pairs` pairs, time a pair for a frame."""
    count, found = threads.count(), []
    few = clip[: pairs + 1]
    card = ours(clip[:9], backbone)  # warm
    torch.set_num_threads(count)
    with tempfile.TemporaryDirectory() as folder:
        path = written(clip, Path(folder)) if file else None
        for _ in range(number):
            cv2.setNumThreads(count)
            one = {"naive": timed(lambda: naive(few, backbone.network), pairs)[0]}
            one["alike"], values = timed(lambda: naive_alike(few, backbone.network), pairs)
            cv2.setNumThreads(1)
            one["ours"], card = timed(lambda: ours(clip, backbone), len(clip))
            if path is not None:
                work = partial(measure, path, source=None, expected=None, lpips=backbone)
                one["file"], _ = timed(work, len(clip))
            found.append(one)
            print({side: round(took.wall, 1) for side, took in one.items()}, flush=True)
    curves = card.curves or {}
    apart = [
        max(abs(value[k] - got) for value, got in zip(values, curves[name], strict=False))
        for k, name in enumerate(("ssim", "lpips"))
    ]
    assert apart[0] <= 1e-5, f"SSIM is {apart[0]} off scikit-image's"
    assert apart[1] <= 1e-4, f"LPIPS is {apart[1]} off that of lpips"
    return {
        "ms_a_frame": {
            side: {
                "wall": round(median(one[side].wall for one in found), 2),
                "cpu": round(median(one[side].cpu for one in found), 2),
            }
            for side in found[0]
        },
        "best_wall_ms_a_frame": {
            side: round(min(one[side].wall for one in found), 2) for side in found[0]
        },
        "rounds_wall_ms": [{side: round(t.wall, 2) for side, t in one.items()} for one in found],
        "times_faster_than_naive": _ratio(found, "naive"),
        "times_faster_than_alike": _ratio(found, "alike"),
        "largest_difference": {"ssim": apart[0], "lpips": apart[1]},
        "metrics_ours": len(card.metrics),
        "not_measured": sorted(METRICS.keys() - card.metrics),
    }


def _ratio(found: list[dict[str, Took]], side: str) -> dict[str, float]:
    """Median over rounds of that side's time over ours, by wall and by CPU."""
    return {
        "wall": round(median(one[side].wall / one["ours"].wall for one in found), 2),
        "cpu": round(median(one[side].cpu / one["ours"].cpu for one in found), 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--frames", type=int, default=81)
    parser.add_argument("--pairs", type=int, default=16, help="pairs of the naive loops")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--no-file", action="store_true", help="where PyAV is not at hand")
    parser.add_argument("--size", type=int, nargs=2, default=(832, 480))
    arguments = parser.parse_args()
    width, height = arguments.size
    clip = film(frames=arguments.frames, width=width, height=height)
    backbone = load_backbone(weights_dir=None)
    result = {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores seen, "
        f"{threads.count()} threads used, load {os.getloadavg()[0]:.1f} when it began",
        "versions": {name: version(name) for name in ("torch", "numpy", "scikit-image", "lpips")}
        | {"opencv": cv2.__version__},
        "clip": f"{len(clip)} frames of {width}x{height}",
        **rounds(
            clip,
            backbone,
            number=arguments.rounds,
            pairs=arguments.pairs,
            file=not arguments.no_file,
        ),
    }
    each, once = profile(clip, backbone)
    result |= {"profile_cpu_ms_a_frame": each, "profile_cpu_ms_once_a_clip": once}
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        result["processor"] = next(at for at in lines if at.startswith("model name")).split(": ")[1]
    arguments.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
