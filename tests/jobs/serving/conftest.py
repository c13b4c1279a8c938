"""The fixture of these tests, where pytest looks for it."""

from tests.jobs.serving.parts import patient_base_model_id as base_model_id

__all__ = ["base_model_id"]
