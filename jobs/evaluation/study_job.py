"""The job of kind "study": held-out losses of the three adapters of a study, through the model server; no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jobs.adapter_record import FACTS_FILE
from jobs.evaluation import learning_curve
from jobs.evaluation.arms import base_folder
from jobs.evaluation.asking import Asking, Stopped
from jobs.evaluation.held_out import rows_of, that_fit
from jobs.evaluation.learning_curve import Size
from jobs.progress import Progress
from jobs.serving.sides import behind, shared_system
from storage import adapters, database, files, rebuilding
from storage.adapters import Adapter
from storage.errors import StudioError

HELD_OUT_ROWS = 100


def run(spec: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
    """Measure and fit; the study stands in the result."""
    if rebuilding.is_missing():
        raise StudioError("The studio's database is gone.", "Open the studio, then start the study again.")
    database.connect()
    made = [adapters.get(adapter_id) for adapter_id in spec["settings"]["adapter_ids"]]
    try:
        sizes = _sizes(spec, made, progress)
    except Stopped:
        return {"status": "stopped"}
    return {"status": "finished", "study": learning_curve.measured(sizes)}


def _sizes(spec: Mapping[str, Any], made: list[Adapter], progress: Progress) -> list[Size]:
    """Each adapter's losses on the same held-out rows, the smallest share first."""
    dataset_id = made[-1].dataset_id
    system = shared_system(dataset_id)
    before = [{"role": "system", "content": system}] if system else []
    folder = base_folder(made[-1].base_model_id)
    rows = that_fit(folder, rows_of(dataset_id, "held_out", HELD_OUT_ROWS), before)
    if not rows:
        raise StudioError(
            "There is no held-out example that the base model can read.",
            "Add shorter examples; some of them are then kept aside for the test.",
        )
    asking = Asking(
        made[-1].base_model_id,
        made[-1].base_weights_sha256,
        files.run_folder(spec["job_id"]),
        spec["attempt"],
        progress,
    )
    asking.expect(len(made) * len(rows))
    sizes = []
    for adapter in made:
        likely = asking.likelihoods(
            "Measuring held-out losses",
            [
                # As it was trained, whatever strength is kept with it.
                {
                    "adapters": {adapter.id: 1.0},
                    "messages": behind(row.messages, system),
                    "answer": row.reference,
                }
                for row in rows
            ],
        )
        trained = int(files.read_json(files.adapter_folder(adapter.id) / FACTS_FILE)["rows_trained"])
        sizes.append(Size(trained, [one["nats"] for one in likely], [one["tokens"] for one in likely]))
    return sizes
