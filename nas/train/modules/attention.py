"""Self-attention's modules; what they are for, layers/attention.py says."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

ROTARY_BASE = 10_000.0  # of the wavelengths, as in Su et al. 2021


class SelfAttention(nn.Module):
    """(batch, tokens, width) to the same. ``reach`` says which tokens see which: a module of queries, keys and values,
    each (batch, heads, tokens, width of a head).
    """

    def __init__(self, width: int, heads: int, reach: Everything | Squares | Band, rotary: int) -> None:
        super().__init__()
        self.heads, self.reach = heads, reach
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.rotary = Rotary(rotary, width // heads) if rotary else None

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).view(*x.shape[:2], 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        if self.rotary is not None:
            q, k = self.rotary(q), self.rotary(k)
        joined: Tensor = self.out(self.reach(q, k, v).transpose(1, 2).flatten(2))
        return joined


class Everything(nn.Module):
    """All tokens see each other, or if causal those before them and themselves."""

    def __init__(self, causal: bool) -> None:
        super().__init__()
        self.causal = causal

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(q, k, v, is_causal=self.causal)


class Squares(nn.Module):
    """A map's tokens attend within squares; what pads it to whole squares at its right and lower end is seen by none.

    (batch, heads, height * width, head) all; the squares become part of the batch.
    """

    seen: Tensor | None

    def __init__(self, height: int, width: int, window: int) -> None:
        super().__init__()
        self.size, self.window = (height, width), window
        self.pad = (-height % window, -width % window)
        real = torch.zeros(1, 1, *(n + p for n, p in zip(self.size, self.pad, strict=True)), 1)
        real[:, :, :height, :width] = 1
        # (1, squares, 1, queries that broadcast, keys)
        seen = self._divided(real)[..., 0].bool()[:, :, :, None] if any(self.pad) else None
        self.register_buffer("seen", seen, persistent=False)

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        batch, heads, _, head = q.shape
        q, k, v = (self._divided(self._padded(t)).flatten(0, 1) for t in (q, k, v))
        mask = None if self.seen is None else self.seen.expand(batch, -1, -1, -1, -1).flatten(0, 1)
        attended = F.scaled_dot_product_attention(q, k, v, mask)
        return self._joined(attended.view(batch, -1, heads, self.window, self.window, head))

    def _padded(self, t: Tensor) -> Tensor:
        return F.pad(t.reshape(*t.shape[:2], *self.size, -1), (0, 0, 0, self.pad[1], 0, self.pad[0]))

    def _divided(self, t: Tensor) -> Tensor:
        """(batch, heads, height, width, head) to (batch, squares, heads, tokens of a square, head)."""
        w = self.window
        batch, heads, height, width, head = t.shape
        t = t.reshape(batch, heads, height // w, w, width // w, w, head)
        return t.permute(0, 2, 4, 1, 3, 5, 6).flatten(4, 5).flatten(1, 2)

    def _joined(self, t: Tensor) -> Tensor:
        """(batch, squares, heads, w, w, head) to (batch, heads, height * width, head)."""
        batch, _, heads, w, _, head = t.shape
        rows = (self.size[0] + self.pad[0]) // w
        whole = t.view(batch, rows, -1, heads, w, w, head).permute(0, 3, 1, 4, 2, 5, 6).flatten(4, 5).flatten(2, 3)
        return whole[:, :, : self.size[0], : self.size[1]].flatten(2, 3)


class Band(nn.Module):
    """A sequence's tokens see those fewer than ``window`` away; if causal, those before alone.

    Queries are cut into blocks as long as the window; each block meets the keys of its own block and of the one before
    (and, unless causal, the one after), masked to the band. (batch, heads, length, head) all.
    """

    seen: Tensor

    def __init__(self, length: int, window: int, causal: bool) -> None:
        super().__init__()
        self.length, self.window = length, window
        self.pad = -length % window
        self.reach = window * (2 if causal else 3)  # keys that a block meets
        self.around = (window, 0 if causal else window)
        blocks = (length + self.pad) // window
        query = torch.arange(blocks)[:, None, None] * window + torch.arange(window)[:, None]
        key = torch.arange(blocks)[:, None, None] * window - window + torch.arange(self.reach)
        behind = query - key
        near = (behind >= 0) & (behind < window) if causal else behind.abs() < window
        # A padded query would see nothing at all, and softmax make NaN of it; it sees itself, and is cut off again.
        seen = near & ((key >= 0) & (key < length) | (behind == 0))
        self.register_buffer("seen", seen, persistent=False)  # (blocks, window, reach)

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        batch, heads, _, head = q.shape
        q = F.pad(q, (0, 0, 0, self.pad)).reshape(batch * heads, -1, self.window, head)
        k, v = (self._around(t.flatten(0, 1)) for t in (k, v))
        attended = F.scaled_dot_product_attention(q, k, v, self.seen)
        return attended.reshape(batch, heads, -1, head)[:, :, : self.length]

    def _around(self, t: Tensor) -> Tensor:
        """(batch * heads, length, head) to (batch * heads, blocks, reach, head)."""
        before, after = self.around
        return F.pad(t, (0, 0, before, self.pad + after)).unfold(1, self.reach, self.window).transpose(2, 3)


class Rotary(nn.Module):
    """Turns each pair (i, i + half) of a head by position * base^(-i / half) (Su et al. 2021, eq. 34).

    The pairs are those of GPT-NeoX; which numbers form a pair is a matter of naming, as all are learned.
    """

    cos: Tensor
    sin: Tensor

    def __init__(self, length: int, head: int) -> None:
        super().__init__()
        rates = ROTARY_BASE ** (-torch.arange(0, head, 2, dtype=torch.float32) / head)
        angles = torch.outer(torch.arange(length, dtype=torch.float32), rates)
        self.register_buffer("cos", angles.cos(), persistent=False)
        self.register_buffer("sin", angles.sin(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        first, second = x.float().chunk(2, -1)
        turned = (first * self.cos - second * self.sin, second * self.cos + first * self.sin)
        return torch.cat(turned, -1).to(x.dtype)
