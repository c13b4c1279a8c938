"""What becomes of a job whose process has ended: its adapter is published, its end is written down."""

from __future__ import annotations

import dataclasses
from signal import SIGKILL, SIGTERM
from typing import Any

from jobs import adapter_record, recovery, run_folder, run_state
from jobs.evaluation import study_runs, submission
from jobs.evaluation.submission import CARD_FILE, PARTIAL_FILE
from jobs.executors import processes
from jobs.training import folders
from storage import adapters, checkpoints, evaluations, files, jobs, trash
from storage.errors import DiskFull, StudioError
from storage.jobs import Job

SEE_LOG = "Start it again; the last lines of its log are on the run page."


def finish(job: Job, exit_status: int | None = None) -> bool:
    """Write down how the job ended, from its result.json, or give it back to the queue to go on.

    Harmless to do again after a crash. `exit_status` is its process's, None where nobody knows it.
    Returns False when the attempt is no longer the current one.
    Raises DiskFull when there is no room to publish its adapter: to be done again later.
    """
    done = _finish(job, exit_status)
    run_state.write(job.id)
    if done:
        _keep_what_is_there(job.id)
    return done


def _keep_what_is_there(job_id: str) -> None:
    """Let disk and database agree about the checkpoints: a finished run has none, and damaged ones count no more."""
    folder = files.run_folder(job_id)
    if jobs.get(job_id).status == "finished":
        folders.forget_states(folder)
        for name in (CARD_FILE, PARTIAL_FILE):  # the card lies in its adapter's folder now
            for file in folder.glob(f"attempt-*/{name}"):
                file.unlink(missing_ok=True)
        return
    saved = [state.folder for state in checkpoints.list_of(job_id)]
    checkpoints.keep_only(job_id, [state for state in saved if files.safe_join(folder, state).is_dir()])


def _finish(job: Job, exit_status: int | None) -> bool:
    adapter: dict[str, Any] | None = None
    try:
        result = run_folder.result_of(files.attempt_folder(job.id, job.attempt))
        if result is None:
            return _interrupted(job, exit_status)
        if result["status"] == "failed":
            return jobs.finish(job.id, job.attempt, "failed", error=StudioError(**result["error"]))
        if job.deleting or result["status"] in ("interrupted", "paused"):
            return _ended_in_order(job, result)
        if not jobs.update(job.id, job.attempt):  # given up meanwhile: nothing of it is published
            return False
        if result.get("adapter") is not None:
            adapter = _published(job, result["adapter"])
        card = _card(job, result)
    except DiskFull:
        raise
    except (StudioError, OSError, KeyError, TypeError) as error:
        if files.is_full_disk(error):
            raise files.full_disk() from error
        return jobs.finish(job.id, job.attempt, "failed", error=_unusable(error))
    # Outside: a busy database is no fault of the result, and the worker comes back to it.
    if adapter:
        adapters.add(**adapter)
        if result["status"] == "finished":
            # Before the end is written down: a crash in between comes here again, and it is queued once.
            _queue_what_follows(job, adapter["id"])
    if card:
        if card["adapter_id"] not in {one.id for one in adapters.list_all()}:
            gone = StudioError(
                "The adapter was deleted before its scorecard was done.", "Choose another one."
            )
            return jobs.finish(job.id, job.attempt, "failed", error=gone)
        adapter_record.keep_scorecard(evaluations.add(**card))
    return jobs.finish(
        job.id, job.attempt, result["status"], adapter_id=adapter["id"] if adapter else None, result=result
    )


def _ended_in_order(job: Job, result: dict[str, Any]) -> bool:
    """The end of an attempt that the system asked to end, or that has no room on the disk: it goes on later."""
    if job.status == "stopping":
        return jobs.finish(job.id, job.attempt, "stopped")
    if result["status"] == "interrupted":
        return jobs.requeue(job.id, job.attempt, recovery.interruption(job, recovery.ASKED))
    return _paused(job, result.get("needs_bytes"))


def _paused(job: Job, needed_bytes: int | None) -> bool:
    # What it waits for, and says: never less than what it asked for at first, which counts in what it gives back now.
    needed_bytes = max(needed_bytes or recovery.ROOM_BYTES, job.needs_bytes or 0)
    return jobs.requeue(
        job.id,
        job.attempt,
        recovery.interruption(job, recovery.FULL),
        paused_for=recovery.waits_for_room(dataclasses.replace(job, needs_bytes=needed_bytes)),
        needs_bytes=needed_bytes,
    )


def _interrupted(job: Job, exit_status: int | None) -> bool:
    """The end of a job whose process said nothing: it goes on by itself, unless that is of no use."""
    if job.status == "stopping":
        where = f" at step {job.step}" if job.total_steps else ""
        error = StudioError(f"Stopped{where}: the job's process had to be ended.", SEE_LOG)
        return jobs.finish(job.id, job.attempt, "stopped", error=error)
    if files.free_bytes() < recovery.FULL_BYTES:
        return _paused(job, None)
    restarted = job.boot_id not in (None, "", processes.boot_id())
    was_killed = exit_status is None or exit_status == -SIGKILL
    if was_killed and not restarted and run_folder.memory_ran_out(files.attempt_folder(job.id, job.attempt)):
        return jobs.finish(job.id, job.attempt, "failed", error=recovery.out_of_memory(job))
    if exit_status == -SIGTERM:  # so early that it had not begun to listen
        return jobs.requeue(job.id, job.attempt, recovery.interruption(job, recovery.ASKED))
    now = recovery.interruption(job, recovery.RESTARTED if restarted else recovery.KILLED)
    refusal = recovery.refusal(job, now)
    if refusal is not None:
        return jobs.finish(job.id, job.attempt, "failed", error=refusal)
    return jobs.requeue(job.id, job.attempt, now)


def forget(job: Job) -> None:
    """Put an ended job's folder into the trash, then forget it: in this order a crash between loses nothing."""
    trash.to_trash(files.run_folder(job.id))
    jobs.remove(job.id)


def _published(job: Job, made: dict[str, Any]) -> dict[str, Any]:
    """The record of this attempt's adapter, once its folder has its final place.

    Each attempt has one id, so that a worker that died after the move, and the next one, mean the same.
    """
    name = f"{job.name} · rank {made['rank']}" if several_ranks(job) else job.name
    folder = files.adapter_folder(f"{job.id}-{job.attempt}")
    if not folder.exists():
        draft = files.attempt_folder(job.id, job.attempt) / "adapter"
        for half_written in draft.glob(".*.tmp"):  # a power cut's, and of no use to anybody
            half_written.unlink()
        adapter_record.described(draft, job, made, name)
        files.publish_folder(draft, folder)
    return adapter_record.described(folder, job, made, name)


def _card(job: Job, result: dict[str, Any]) -> dict[str, Any] | None:
    """The scorecard that a job has left; each attempt has one id, so that a second time it is the same."""
    name = result.pop("card", None)
    if name is None:
        return None
    card = files.read_json(files.safe_join(files.attempt_folder(job.id, job.attempt), name))
    return {"id": f"{job.id}-{job.attempt}", "adapter_id": card["adapter_id"], "card": card}


def _queue_what_follows(job: Job, adapter_id: str) -> None:
    """Let a new adapter be judged, or measured with the others of its study, where that is wanted and can be done."""
    queued = submission.after_training(job, adapter_id) or study_runs.after_training(job, adapter_id)
    if queued is not None:
        run_state.write(queued.id)


def several_ranks(job: Job) -> bool:
    """Whether a training tries several ranks, of which its adapter then has one."""
    return len(job.settings.get("try_ranks") or ()) > 1


def _unusable(error: Exception) -> StudioError:
    """The failure of a job that left something that cannot be used."""
    if isinstance(error, StudioError):
        return error
    return StudioError(f"The job's result cannot be used: {type(error).__name__}: {error}.", SEE_LOG)
