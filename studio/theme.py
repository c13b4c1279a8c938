"""The look: one theme object, one style sheet, and what goes into the page's head. Everything is served from here."""

from __future__ import annotations

from pathlib import Path

import gradio as gr

ASSETS = Path(__file__).parent / "assets"
SYSTEM_FONTS = ["system-ui", "-apple-system", "Segoe UI", "sans-serif"]
STYLES = ("studio.css", "pages.css", "data.css", "scorecard.css", "playground.css", "blind.css")
MONO_FONTS = ["ui-monospace", "SFMono-Regular", "Menlo", "monospace"]


def theme() -> gr.themes.Base:
    """Gradio's plain theme with one accent and the system's own fonts; no file is fetched for it."""
    base = gr.themes.Base(
        primary_hue="teal", neutral_hue="stone", font=SYSTEM_FONTS, font_mono=MONO_FONTS, radius_size="md"
    )
    return base.set(
        body_background_fill="#fafaf9",
        body_background_fill_dark="#141414",
        block_shadow="none",
        block_shadow_dark="none",
        button_primary_background_fill="#0f766e",
        button_primary_background_fill_hover="#115e59",
        button_primary_background_fill_dark="#0f766e",
        button_primary_background_fill_hover_dark="#115e59",
        button_secondary_background_fill="#ffffff",
        button_secondary_background_fill_dark="#1f1f1e",
        button_secondary_background_fill_hover="#f5f5f4",
        button_secondary_background_fill_hover_dark="#2a2928",
        button_secondary_border_color="#d6d3d1",
        button_secondary_border_color_dark="#57534e",
        button_border_width="1px",
        button_primary_border_color="#0f766e",
        button_primary_border_color_dark="#0f766e",
        input_background_fill="#ffffff",
        input_background_fill_dark="#141414",
        input_border_width="1px",
        input_border_color="#8a837d",
        input_border_color_dark="#78716c",
        body_text_color_subdued="#57534e",
        body_text_color_subdued_dark="#c4bfba",
        button_primary_text_color="#ffffff",
        button_primary_text_color_dark="#ffffff",
        block_label_text_color="#44403c",
        block_label_text_color_dark="#e7e5e4",
        block_info_text_color="#57534e",
        block_info_text_color_dark="#c4bfba",
    )


def css() -> str:
    """The style sheets, read once at start."""
    return "\n".join((ASSETS / name).read_text() for name in STYLES)


def head() -> str:
    """The scripts of every page; live.js fetches plotly as pip installed it where there is a curve to draw."""
    return (
        '<meta name="color-scheme" content="light dark">'
        '<script src="/studio-assets/queue.js"></script>'
        '<script src="/studio-assets/live.js" defer></script><script src="/studio-assets/studio.js" defer></script>'
        '<script src="/studio-assets/data.js" defer></script>'
        '<script src="/studio-assets/playground.js" defer></script>'
        '<script src="/studio-assets/blind.js" defer></script>'
        '<script src="/studio-assets/keyboard.js" defer></script>'
    )
