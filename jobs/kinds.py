"""Which function does which kind of job; looked up by name, so that only the job's process imports it."""

from __future__ import annotations

KINDS = {
    "training": "jobs.training.job:run",
    "fetch": "jobs.base_models.job:run",
    "prompts": "jobs.evaluation.prompts_job:run",
    "scorecard": "jobs.evaluation.job:run",
    "study": "jobs.evaluation.study_job:run",
}

# What a process that waits for its job has imported by then: everything that a training uses.
WARM_MODULES = (
    "torch",
    "transformers",
    "jobs.training.job",
    "transformers.models.llama.modeling_llama",
    "peft.utils.transformers_weight_conversion",
)
