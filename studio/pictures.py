"""The drawings of the Explain page as HTML and SVG: pure functions of the rank."""

from __future__ import annotations

import base64
import html
import io
from functools import cache

import numpy as np
from PIL import Image

from studio import words

SIDE = 24
MAX_RANK = SIDE
# A layer of this width makes rank 8 exactly 50 learned of every 1,000.
LAYER_SIDE = 320
TILES_ACROSS, TILES_DOWN = 50, 20
ADAPTER_RGB = (13, 148, 136)
# The larger example of the page: a layer 40,000 × 10,000.
LARGE_OUT, LARGE_IN = 40_000, 10_000


def learned_of_thousand(rank: int) -> int:
    """How many of every 1,000 values of a LAYER_SIDE-wide square layer a patch of this rank learns."""
    return round(1000 * rank * 2 * LAYER_SIDE / LAYER_SIDE**2)


def thousand(rank: int) -> str:
    """A thousand small squares, as many of them lit as are learned."""
    lit = learned_of_thousand(rank)
    tiles = TILES_ACROSS * TILES_DOWN
    # The golden ratio spreads the lit squares evenly, and a larger rank only ever adds some.
    order = np.argsort((np.arange(tiles) * 0.6180339887498949) % 1.0)
    chosen = set(order[:lit].tolist())
    squares = {True: "", False: ""}
    for tile in range(tiles):
        y, x = divmod(tile, TILES_ACROSS)
        squares[tile in chosen] += f"M{x * 10},{y * 10}h8v8h-8z"
    return _svg(
        TILES_ACROSS * 10,
        TILES_DOWN * 10,
        f"1,000 squares, {lit} of them lit",
        f'<path class="frozen" d="{squares[False]}"/><path class="learned-fill" d="{squares[True]}"/>',
    )


def flow(rank: int) -> str:
    """y = Wx + (alpha / r) · B(Ax): the frozen matrix above, the narrow way through A and B below."""
    strip = 4 + 1.6 * rank
    middle = 150
    arrow = 'marker-end="url(#tip)" class="wire"'
    return _svg(
        640,
        220,
        f"x goes through the frozen matrix W, and beside it through A and B of rank {rank}; the sum is y",
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
        'orient="auto"><path class="tip" d="M0,0L8,4L0,8z"/></marker></defs>'
        f'<path {arrow} d="M44,100H70V60H196"/><path {arrow} d="M44,100H70V{middle + 12}H140"/>'
        f'<path {arrow} d="M316,60H540V88"/><path {arrow} d="M156,{middle + 12}H{280 - strip / 2}"/>'
        f'<path {arrow} d="M{280 + strip / 2},{middle + 12}H384"/><path {arrow} d="M408,{middle + 12}H450"/>'
        f'<path {arrow} d="M506,{middle + 12}H540V112"/><path {arrow} d="M552,100H586"/>'
        '<rect class="frozen" x="200" y="4" width="112" height="112" rx="4"/>'
        f'<rect class="learned-fill" x="144" y="{middle - 20}" width="12" height="64" rx="2"/>'
        f'<rect class="learned-fill" x="{280 - strip / 2}" y="{middle + 2}" width="{strip}" height="20"/>'
        f'<rect class="learned-fill" x="388" y="{middle - 20}" width="20" height="64" rx="2"/>'
        '<circle class="wire" cx="540" cy="100" r="12"/>'
        + _text(30, 106, "x", "big")
        + _text(604, 106, "y", "big")
        + _text(540, 106, "+", "big")
        + _text(256, 56, "W", "big on-frozen")
        + _text(256, 78, "frozen", "on-frozen")
        + _text(150, middle + 64, "A: learned")
        + _text(398, middle + 64, "B: learned")
        + _text(280, middle + 64, f"{rank} wide")
        + _text(478, middle + 17, "× α/r"),
    )


@cache
def patterns() -> dict[str, np.ndarray]:
    """Two fixed pictures (SIDE, SIDE), values from 0 to 1: one that repeats, one whose rows all differ."""
    i = np.arange(SIDE)
    threads = [  # strength, where it runs down, where it runs across: four threads make rank 4
        (0.50, i % 8 < 4, (i % 8 >= 2) & (i % 8 < 4)),
        (0.45, i % 8 >= 4, i % 8 >= 5),
        (0.30, i % 6 < 2, i % 6 < 3),
        (0.35, i % 12 > 8, i % 12 < 2),
    ]
    tartan = sum(strength * np.outer(down, across) for strength, down, across in threads)
    return {"tartan": np.asarray(tartan / np.max(tartan)), "diagonal": np.eye(SIDE)}


@cache
def approximation(name: str, rank: int) -> tuple[np.ndarray, float]:
    """The best picture of that rank (Eckart & Young, 1936), and the share of the wanted one that it holds.

    The share is 1 - |wanted - held|² / |wanted|², from 0 to 1.
    """
    wanted = patterns()[name]
    left, sizes, right = np.linalg.svd(wanted)
    held = (left[:, :rank] * sizes[:rank]) @ right[:rank]
    share = 1 - np.square(wanted - held).sum() / np.square(wanted).sum()
    return held, max(0.0, float(share))


def low_rank(rank: int) -> str:
    """Both pictures, wanted and as this rank holds them, with the share in words."""
    return _pair("tartan", "A habit: the same few threads everywhere", rank) + _pair(
        "diagonal", "Many single facts: every row its own", rank
    )


def _pair(name: str, caption: str, rank: int) -> str:
    held, share = approximation(name, rank)
    # Rounded down: only a picture that is really whole may say 100 %.
    percent = int(100 * share + 1e-9)
    verdict = "all of it" if percent == 100 else f"{percent} % of it"
    return (
        f'<figure class="pair"><div>{_picture(patterns()[name], f"{caption}: wanted")}'
        f"{_picture(held, f'{caption}: at rank {rank}')}</div>"
        f"<figcaption>{html.escape(caption)}<br><b>Rank {rank} holds {verdict}.</b></figcaption></figure>"
    )


def layers(rank: int) -> str:
    """The tartan taken apart into its rank-1 layers, those of this rank lit, and their sum."""
    left, sizes, right = np.linalg.svd(patterns()["tartan"])
    shares = sizes**2 / np.square(sizes).sum()
    parts = [
        _layer(index, np.outer(left[:, index], right[index]), shares[index], index < rank)
        for index in np.flatnonzero(shares > 1e-9)
    ]
    total = _picture(approximation("tartan", rank)[0], "The lit layers together")
    joined = '<span class="sign">+</span>'.join(parts)
    return (
        f'<div class="layers">{joined}<span class="sign">=</span>'
        f"<figure>{total}<figcaption>together</figcaption></figure></div>"
    )


def _layer(index: int, values: np.ndarray, share: float, used: bool) -> str:
    picture = _picture(np.abs(values) / np.abs(values).max(), f"Layer {index + 1}")
    state = "" if used else ", not used"
    return (
        f'<figure class="{"used" if used else "unused"}">{picture}'
        f"<figcaption>layer {index + 1}<br>{words.share(share, 1)}{state}</figcaption></figure>"
    )


def large_example(rank: int) -> str:
    """The 40,000 × 10,000 layer: two bars in one scale, and the numbers beside them."""
    full, learned = LARGE_OUT * LARGE_IN, rank * (LARGE_OUT + LARGE_IN)
    return (
        '<div class="bars">'
        f"<p>W: {LARGE_OUT:,} × {LARGE_IN:,} = <b>{words.count(full)}</b> values, frozen</p>"
        '<div class="meter base"><i style="width:100%"></i></div>'
        f"<p>B: {LARGE_OUT:,} × {rank} and A: {rank} × {LARGE_IN:,} = <b>{learned:,}</b> values, learned: "
        f"<b>1 of every {full / learned:,.0f}</b></p>"
        f'<div class="meter"><i style="width:{max(100 * learned / full, 0.15):.2f}%"></i></div></div>'
    )


def _picture(values: np.ndarray, described: str) -> str:
    """An (n, n) array as an image whose opacity is the value, so that it fits a light and a dark page."""
    pixels = np.empty((*values.shape, 4), dtype=np.uint8)
    pixels[..., :3] = ADAPTER_RGB
    pixels[..., 3] = np.clip(255 * values, 0, 255).round()
    png = io.BytesIO()
    Image.fromarray(pixels, "RGBA").save(png, "PNG")
    encoded = base64.b64encode(png.getvalue()).decode()
    return f'<img class="pixels" alt="{html.escape(described)}" src="data:image/png;base64,{encoded}">'


def _svg(width: int, height: int, described: str, content: str) -> str:
    return (
        f'<svg class="drawing" viewBox="0 0 {width} {height}" role="img" xmlns="http://www.w3.org/2000/svg" '
        f'aria-label="{html.escape(described)}">{content}</svg>'
    )


def _text(x: float, y: float, text: str, look: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="middle" class="{look}">{html.escape(text)}</text>'
