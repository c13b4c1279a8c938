"""Which function does which kind of job; looked up by name, so that only the job's process imports it."""

from __future__ import annotations

KINDS = {
    "training": "jobs.training.job:run",
    "fetch": "jobs.base_models.job:run",
}
