"""From a failed take to the next one, in a night whose takes are really rendered."""

from __future__ import annotations

import asyncio
import shutil
from html import escape
from pathlib import Path
from typing import Any, ClassVar

import pytest
from fake_pool import FakePool

from manifests.models import POCKET_FOLDER
from render.order import Receipt, RenderOrder
from reports.ledger_reads import LedgerReads
from reports.records import TakeRecord

pytestmark = [pytest.mark.usefixtures("prefect_server"), pytest.mark.slow]

FACTOR = 2.0**17
"""A power of two: scaled by it and back, float32 keeps every bit and float16 overflows."""
ROW = {"shot": "001", "frames": 5, "width": 64, "height": 64, "preset": "draft"}


class RenderingPool(FakePool):
    """Renders with the real backend, in this process; scores are scripted."""

    receipts: ClassVar[list[Receipt]] = []
    """Of every pool of a test."""

    def __init__(self, *scores: dict[str, float]) -> None:
        # NOTE: not above: the quick tests read this file, and need neither torch nor pipelines.
        from render.diffusers_backend import DiffusersBackend

        super().__init__({"001": list(scores), "001 stage-1": [{"flicker": 0.001}]})
        self._backend = DiffusersBackend()  # type: ignore[assignment]

    async def render(self, order: RenderOrder, *, budget: float, place: int = 0) -> Receipt:
        receipt = await super().render(order, budget=budget, place=place)
        self.receipts.append(receipt)
        return receipt


def _narrow_model(folder: Path) -> None:
    """Pocket Wan with attention values too large for float16, and taken back behind them."""
    from safetensors.torch import load_file, save_file

    shutil.copytree(POCKET_FOLDER, folder)
    path = folder / "transformer" / "diffusion_pytorch_model.safetensors"
    weights = load_file(path)
    for name, weight in weights.items():
        if ".attn1.to_v." in name:
            weights[name] = weight * FACTOR
        elif ".attn1.to_out.0.weight" in name:
            weights[name] = weight / FACTOR
    save_file(weights, path, metadata={"format": "pt"})


def _night(studio: Any, row: dict[str, Any], *scores: dict[str, float]) -> dict[str, Any]:
    from flows.night import POOL, night

    async def run() -> dict[str, Any]:
        token = POOL.set(lambda _studio, _listener: RenderingPool(*scores))
        try:
            return await night(manifests=[studio.sheet([row])], root=studio.root)
        finally:
            POOL.reset(token)

    return asyncio.run(run())


def _takes(studio: Any) -> list[TakeRecord]:
    with LedgerReads(studio.root / "rushes.db", must_exist=True) as book:
        (record,) = book.shot_records(book.nights()[-1].id)
        return book.takes_of(record.id)


def test_nan_in_half_precision_is_rendered_again_in_full(studio: Any) -> None:
    """Take 1 turns to NaN in float16 and is rejected by that name; take 2 has the same seed in
    float32 and is approved. Ledger and report say so."""
    _narrow_model(studio.root / "narrow")
    (studio.root / "studio.yaml").write_text(
        "models:\n  narrow: {family: pocket, location: narrow, precision: float16}\n"
    )
    result = _night(studio, {**ROW, "model": "narrow"})
    assert result["shots"]["approved"] == 1
    first, second = _takes(studio)
    assert [take.status.value for take in (first, second)] == ["rejected", "approved"]
    assert first.verdict is not None
    assert first.verdict.failure == "nan"
    assert "latent values are NaN or infinite" in first.verdict.reasons[0]
    assert second.remedy is not None
    assert second.remedy["name"] == "full-precision"
    assert (first.recipe.precision, second.recipe.precision) == ("float16", "float32")
    assert second.recipe.seed == first.recipe.seed
    words = "nan: the same seed in float32 (precision float16 -> float32)"
    assert first.transitions[-1].words == words
    assert escape(words) in Path(result["report"]).read_text(encoding="utf-8")


def test_a_retake_computes_only_what_its_remedy_changes(studio: Any) -> None:
    """Take 1 flickers, and what its stage 1 left, decoded without sampling anything, does not. The
    remedy is less denoise in stage 2: take 2 starts from take 1's stage 1, and a second night with
    the same row renders nothing."""
    RenderingPool.receipts.clear()
    row = {**ROW, "preset": "two-stage"}
    assert _night(studio, row, {"flicker": 1.0})["shots"]["approved"] == 1
    first, second = _takes(studio)
    assert second.remedy is not None
    assert second.remedy["name"] == "denoise-down"
    assert first.receipt is not None
    assert second.receipt is not None
    assert first.receipt.reused == ()
    looked_at = [each for each in RenderingPool.receipts if each.take_id.endswith("/stage-1")]
    assert [(len(each.stages), each.frames) for each in looked_at] == [(1, 5)]
    assert looked_at[0].stages[0].latents_sha256 == first.receipt.stages[0].latents_sha256
    assert not any(span.kind.startswith("stage") for span in looked_at[0].timeline), "decoded only"
    assert "stage 2 made it worse (flicker 0.001 after stage 1, 1 after" in second.remedy_words
    assert second.receipt.reused == ("stage 1",), "prompt and still are warm in the worker"
    stages = zip(first.receipt.stages, second.receipt.stages, strict=True)
    assert [one.latents_sha256 == two.latents_sha256 for one, two in stages] == [True, False]
    assert second.transitions[-2].words.endswith("with stage 1 from the store")
    assert _night(studio, row)["shots"]["approved"] == 1
    assert _takes(studio) == [first, second]
