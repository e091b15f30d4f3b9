"""Linear layers whose product is computed in 8 bits, scaled row by row.

Each row of the weight (an output channel) and each row of the input (a token) is scaled so that
its largest value becomes the largest of float8 e4m3, 448; the product of the two is summed in
float32 by the card and scaled back (`torch._scaled_mm` with row-wise scales). Weights take half
the room of bfloat16, and cannot be turned back: another level needs the model loaded again.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

FLOAT8 = torch.float8_e4m3fn
LARGEST = torch.finfo(FLOAT8).max
GRAIN = 16
"""Both sides of a weight must be multiples of this."""
_SMALLEST = 1e-12
"""Of a row's largest value, so that a row of zeros divides by something."""


class Float8Linear(nn.Module):
    """A linear layer in place of a bfloat16 `nn.Linear`."""

    weight: Tensor
    """float8 (N, K)."""
    scale: Tensor
    """float32 (1, N): what a row of `weight` is multiplied by."""
    bias: Tensor | None
    """bfloat16 (N,)."""

    def __init__(self, linear: nn.Linear, *, device: torch.device) -> None:
        super().__init__()
        home = linear.weight.device
        # The card scales and rounds much faster than the host; the result goes back home.
        weight, scale = scale_rows(linear.weight.detach().to(device))
        self.register_buffer("weight", weight.to(home))
        self.register_buffer("scale", scale.t().contiguous().to(home))
        bias = None if linear.bias is None else linear.bias.detach().to(torch.bfloat16)
        self.register_buffer("bias", bias)

    def forward(self, x: Tensor) -> Tensor:
        """(..., K) in any float type to bfloat16 (..., N)."""
        rows, scale = scale_rows(x.reshape(-1, x.shape[-1]))
        out = torch._scaled_mm(
            rows,
            self.weight.t(),
            scale_a=scale,
            scale_b=self.scale,
            bias=self.bias,
            out_dtype=torch.bfloat16,
        )
        return out.reshape(*x.shape[:-1], self.weight.shape[0])


def scale_rows(x: Tensor) -> tuple[Tensor, Tensor]:
    """(M, K) as float8 (M, K) and float32 (M, 1), whose product is `x` rounded to 8 bits."""
    largest = x.abs().amax(dim=-1, keepdim=True).float()
    scale = largest.clamp(min=_SMALLEST) / LARGEST
    # NOTE: without the clamp a value that rounds past 448 would become NaN.
    return (x.float() / scale).clamp(-LARGEST, LARGEST).to(FLOAT8), scale


def why_not(device: torch.device, dtype: torch.dtype) -> str | None:
    """Why linear layers of `dtype` cannot be computed in 8 bits on `device`; None: they can."""
    if device.type != "cuda":
        return "the CPU has no 8-bit matrix units"
    if torch.cuda.get_device_capability(device) < (8, 9):
        return f"{torch.cuda.get_device_name(device)} has no 8-bit matrix units"
    if dtype is not torch.bfloat16:
        return f"the transformer is in {str(dtype).removeprefix('torch.')}, not bfloat16"
    try:
        with torch.inference_mode(False), torch.no_grad():
            probe = nn.Linear(GRAIN, GRAIN, device=device, dtype=dtype)
            Float8Linear(probe, device=device)(torch.ones(GRAIN, GRAIN, device=device, dtype=dtype))
    except RuntimeError as error:
        return f"torch {torch.__version__} refuses the product ({str(error).splitlines()[0][:120]})"
    return None


def replace_linears(net: nn.Module, *, device: torch.device) -> int:
    """Put a Float8Linear in place of each linear layer in the repeated blocks of `net`.

    Layers of other types than bfloat16, or whose sides are no multiples of 16, stay. Returns how
    many were replaced.
    """
    names = getattr(net, "_repeated_blocks", None) or ()
    blocks = [block for block in net.modules() if type(block).__name__ in names]
    count = 0
    with torch.inference_mode(False), torch.no_grad():
        for parent in {id(part): part for block in blocks for part in block.modules()}.values():
            for name, child in list(parent.named_children()):
                if type(child) is nn.Linear and _fits(child):
                    setattr(parent, name, Float8Linear(child, device=device))
                    count += 1
    return count


def _fits(linear: nn.Linear) -> bool:
    sides = (linear.in_features % GRAIN, linear.out_features % GRAIN)
    return linear.weight.dtype is torch.bfloat16 and sides == (0, 0)
