from __future__ import annotations

from tests.jobs.serving.parts import base_model_id

__all__ = ["base_model_id"]
