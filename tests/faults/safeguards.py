"""The safeguards of the project, each with the change that takes it away and the test that has to notice."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Safeguard:
    """`text`, which `file` has once, becomes `instead`; then `test` has to fail."""

    name: str
    file: str
    text: str
    instead: str
    test: str


FILES = "tests/storage/test_files.py::"
STATES = "tests/jobs/training/test_states.py::"
JOBS = "tests/storage/test_jobs.py::"
RECOVERY = "tests/jobs/test_recovery.py::"
RUN_JOB = "tests/jobs/test_run_job.py::"
WORKER = "tests/jobs/test_worker.py::"
SQLITE = "tests/storage/test_sqlite_file.py::"
DATABASE = "tests/storage/test_database.py::"
EXECUTOR = "tests/jobs/executors/test_local.py::"
STARTING = "tests/faults/test_starting.py::"
POWER = "tests/faults/test_power.py::test_whatever_a_power_cut_leaves_the_studio_goes_on_from_it"

ON_THE_DISK = [
    Safeguard(
        "a file is on the disk before it has its name",
        "storage/files.py",
        "                os.fsync(file.fileno())\n            os.replace(temporary, path)",
        "            os.replace(temporary, path)",
        f"{FILES}test_content_is_on_the_disk_before_its_name_and_its_name_before_the_return",
    ),
    Safeguard(
        "a file's name is on the disk before the return",
        "storage/files.py",
        "            os.replace(temporary, path)\n            sync(path.parent)",
        "            os.replace(temporary, path)",
        f"{FILES}test_content_is_on_the_disk_before_its_name_and_its_name_before_the_return",
    ),
    Safeguard(
        "files of a folder are on the disk before it is published",
        "storage/files.py",
        "                sync(Path(folder, name))",
        "                pass",
        f"{FILES}test_a_folder_is_published_whole_with_everything_synced_first",
    ),
    Safeguard(
        "the name of a published folder is on the disk",
        "storage/files.py",
        "        sync(final.parent)",
        "        pass",
        f"{FILES}test_a_folder_is_published_whole_with_everything_synced_first",
    ),
    Safeguard(
        "the folders above the states are on the disk",
        "jobs/training/states.py",
        "    for above in list(folder.parents)[:3]:",
        "    for above in []:",
        POWER,
    ),
    Safeguard(
        "a compiled function is on the disk before it is trusted",
        "jobs/training/kernels/compiled.py",
        "            os.fsync(file.fileno())  # a power cut",
        "            pass  # a power cut",
        POWER,
    ),
    Safeguard(
        "the folder of the backups is on the disk",
        "storage/backups.py",
        "                files.make_lasting(folder)\n                half_made.mkdir()\n",
        "                half_made.mkdir(parents=True)\n",
        POWER,
    ),
    Safeguard(
        "the manifest is written last",
        "jobs/training/states.py",
        "{**content, MANIFEST_FILE: _signed(manifest)}",
        "{MANIFEST_FILE: _signed(manifest), **content}",
        f"{STATES}test_a_state_has_its_name_only_once_it_is_on_the_disk_and_the_older_ones_go_last",
    ),
    Safeguard(
        "the files of a state have their checksums",
        "jobs/training/states.py",
        'if _sha256(content[name]) != manifest["files"][name]["sha256"]:',
        "if False:",
        f"{STATES}test_damage_at_any_place_is_found",
    ),
    Safeguard(
        "the manifest has its own checksum",
        "jobs/training/states.py",
        "        sound = _signed(manifest) == raw",
        "        sound = True",
        "tests/faults/test_damage.py",
    ),
    Safeguard(
        "no training from the first step unasked",
        "jobs/training/states.py",
        "    if damaged:\n",
        "    if False:\n",
        f"{STATES}test_without_a_sound_state_a_person_decides_and_then_it_is_the_first_step",
    ),
    Safeguard(
        "two states are kept",
        "jobs/training/states.py",
        "KEPT_STATES = 2",
        "KEPT_STATES = 1",
        f"{STATES}test_only_the_newest_two_stay_and_the_newest_is_taken",
    ),
    Safeguard(
        "a state of another run is refused",
        "jobs/training/states.py",
        '        refuse_another_run(state.steps, manifest["parts"], run)\n',
        "",
        f"{STATES}test_another_runs_state_is_refused_by_the_name_of_what_changed",
    ),
    Safeguard(
        "a run goes to the trash before it is forgotten",
        "jobs/finishing.py",
        "    trash.to_trash(files.run_folder(job.id))\n    jobs.remove(job.id)",
        "    jobs.remove(job.id)\n    trash.to_trash(files.run_folder(job.id))",
        "tests/faults/test_disk.py::test_a_run_that_cannot_be_moved_to_the_trash_is_not_forgotten",
    ),
    Safeguard(
        "what is asked of the queue is in the run's folder",
        "jobs/queue.py",
        "    run_state.write(job.id)\n    return job\n",
        "    return job\n",
        "tests/jobs/test_run_state.py::test_what_is_asked_of_the_queue_is_in_the_folder_when_the_answer_comes",
    ),
    Safeguard(
        "an adapter that was published before a crash is taken as it is",
        "jobs/finishing.py",
        "    if not folder.exists():\n",
        "    if True:\n",
        "tests/jobs/test_finishing.py::test_a_crash_after_the_move_is_made_good",
    ),
]

IN_THE_DATABASE = [
    Safeguard(
        "a change names its attempt",
        "storage/jobs.py",
        "JobRow.id == id, JobRow.attempt == attempt, JobRow.status.in_(statuses)",
        "JobRow.id == id, JobRow.status.in_(statuses)",
        f"{JOBS}test_a_stale_attempt_changes_nothing",
    ),
    Safeguard(
        "a change names the status",
        "storage/jobs.py",
        "JobRow.attempt == attempt, JobRow.status.in_(statuses), workers.fence()",
        "JobRow.attempt == attempt, workers.fence()",
        f"{JOBS}test_an_ended_job_changes_no_more",
    ),
    Safeguard(
        "a change names the worker's generation",
        "storage/jobs.py",
        "JobRow.status.in_(statuses), workers.fence())",
        "JobRow.status.in_(statuses))",
        "tests/storage/test_workers.py::test_after_another_worker_has_entered_the_old_one_changes_nothing",
    ),
    Safeguard(
        "a claim names the worker's generation",
        "storage/jobs.py",
        '.where(JobRow.status == "queued", JobRow.device.not_in(device_lanes_busy), workers.fence())',
        '.where(JobRow.status == "queued", JobRow.device.not_in(device_lanes_busy))',
        "tests/storage/test_workers.py::test_an_old_worker_claims_nothing",
    ),
    Safeguard(
        "a claim looks at the room on the disk",
        "storage/jobs.py",
        "    if free_bytes is not None:\n",
        "    if False:\n",
        f"{JOBS}test_a_job_that_waits_for_room_is_passed_over_until_there_is_some",
    ),
    Safeguard(
        "the same request is one job",
        "jobs/queue.py",
        "            request_key=request_key,\n",
        "            request_key=None,\n",
        "tests/jobs/test_queue.py::test_start_clicked_five_times_is_one_job",
    ),
    Safeguard(
        "events taken in twice are there once",
        "storage/metrics.py",
        '{"events_offset": events_offset, **job_fields}',
        "{**job_fields}",
        f"{WORKER}test_a_job_runs_to_its_end_and_its_metrics_are_its_events",
    ),
    Safeguard(
        "each attempt's events are read from their beginning",
        "storage/jobs.py",
        "        row.events_offset = 0  # every attempt writes its own file of events\n",
        "",
        f"{STARTING}test_a_further_attempts_events_are_read_from_their_beginning",
    ),
    Safeguard(
        "a writer says so when it begins",
        "storage/database.py",
        '_connected().execution_options(sqlite_begin="IMMEDIATE")',
        "_connected()",
        f"{DATABASE}test_a_writer_has_the_lock_from_its_first_look",
    ),
    Safeguard(
        "every commit waits for the disk",
        "storage/sqlite_file.py",
        "PRAGMA synchronous = FULL",
        "PRAGMA synchronous = NORMAL",
        "tests/faults/test_dbfaults.py::test_every_process_of_the_studio_asks_sqlite_to_be_careful",
    ),
    Safeguard(
        "an affected SQLite uses no write-ahead log",
        "storage/database.py",
        "if write_ahead_log_is_safe(sqlite3.sqlite_version_info) else",
        "if True else",
        f"{DATABASE}test_the_journal_follows_the_version_of_sqlite",
    ),
    Safeguard(
        "a replaced database is noticed",
        "storage/sqlite_file.py",
        '        if _identity(self._file) != record.info["file"]:\n',
        "        if False:\n",
        f"{SQLITE}test_a_database_in_its_place_is_used_at_once",
    ),
    Safeguard(
        "a database that is gone is not made anew",
        "storage/sqlite_file.py",
        "            raise failures.gone(self._file)",
        "            return sqlite3.connect(self._file, **named)",
        f"{SQLITE}test_a_file_that_is_gone_is_said_and_not_made_anew",
    ),
    Safeguard(
        "a backup goes through SQLite",
        "storage/backups.py",
        "        opened.backup(target, progress=look_at_the_clock, sleep=0.02)\n",
        "        shutil.copyfile(database, copy)\n",
        "tests/storage/test_backups.py",
    ),
]

PROCESSES = [
    Safeguard(
        "a process is known by its start time",
        "jobs/executors/processes.py",
        "    return handle_of(handle.pid) == handle",
        "    now = handle_of(handle.pid)\n    return now is not None and now.boot_id == handle.boot_id",
        f"{EXECUTOR}test_a_process_is_known_by_more_than_its_number",
    ),
    Safeguard(
        "a process is known by the computer's start",
        "jobs/executors/processes.py",
        "    return handle_of(handle.pid) == handle",
        "    now = handle_of(handle.pid)\n    return now is not None and now.started == handle.started",
        f"{EXECUTOR}test_a_process_is_known_by_more_than_its_number",
    ),
    Safeguard(
        "the first processes are nobody's job",
        "jobs/executors/processes.py",
        "    if pid <= 1:\n",
        "    if False:\n",
        f"{EXECUTOR}test_the_first_processes_are_nobodys_job",
    ),
    Safeguard(
        "one worker for a data folder",
        "jobs/worker.py",
        '    lock = locks.take(files.root() / "worker.lock")\n',
        '    lock = (files.root() / "worker.lock").open("a")\n',
        f"{WORKER}test_of_ten_workers_started_at_once_one_works",
    ),
    Safeguard(
        "one process for an attempt",
        "jobs/run_folder.py",
        "        os.link(draft, attempt_folder / PROCESS_FILE)  # unlike a rename, it never replaces\n",
        "        (attempt_folder / PROCESS_FILE).write_bytes(draft.read_bytes())\n",
        f"{RUN_JOB}test_of_two_processes_for_one_attempt_one_works",
    ),
    Safeguard(
        "a job goes on by itself three times",
        "jobs/recovery.py",
        "MOST_RESUMES = 3",
        "MOST_RESUMES = 30",
        f"{RECOVERY}test_a_job_that_kills_its_process_again_and_again_is_started_three_times",
    ),
    Safeguard(
        "a job goes on by itself only when it came further",
        "jobs/recovery.py",
        "    if before and not any(\n",
        "    if False and not any(\n",
        f"{RECOVERY}test_a_job_that_comes_no_further_is_not_started_for_ever",
    ),
    Safeguard(
        "want of memory is not tried again",
        "jobs/finishing.py",
        "    if was_killed and not restarted and ",
        "    if False and ",
        f"{RECOVERY}test_want_of_memory_ends_a_job_for_good",
    ),
    Safeguard(
        "a retried job forgets that it was stopped",
        "jobs/worker.py",
        "            run_folder.forget_stop(folder)\n",
        "",
        f"{RECOVERY}test_a_stopped_job_goes_on_when_it_is_retried_however_often",
    ),
    Safeguard(
        "the result has its own room",
        "jobs/run_folder.py",
        "    files.write_bytes(attempt_folder / RESERVE_FILE, bytes(RESERVE_BYTES))\n",
        "",
        f"{RUN_JOB}test_the_room_for_the_result_is_kept_from_the_start",
    ),
    Safeguard(
        "a worker that cannot log lives on",
        "jobs/worker.py",
        "            with suppress(OSError):  # a full disk takes no log either\n",
        "            if True:\n",
        "tests/faults/test_disk.py::test_a_worker_that_cannot_even_log_lives_on",
    ),
    Safeguard(
        "a worker that is being started is not started again",
        "jobs/worker.py",
        "    elif _is_starting():\n",
        "    elif False:\n",
        f"{STARTING}test_a_worker_that_is_being_started_is_not_started_again",
    ),
    Safeguard(
        "a full disk is a pause",
        "jobs/run_job.py",
        "    if files.is_full_disk(error):\n",
        "    if False:\n",
        f"{RUN_JOB}test_a_full_disk_pauses_a_job_and_says_what_it_needs",
    ),
    Safeguard(
        "half a line of events is taken back",
        "jobs/progress.py",
        "                self._events.truncate(begin)\n",
        "                pass\n",
        "tests/jobs/test_progress.py::test_a_full_disk_is_said_and_leaves_no_half_of_a_line",
    ),
    Safeguard(
        "a job that wants the device keeps the model server away",
        "jobs/gpu.py",
        "        job = wanted_by(device)\n        if lock is not None and job is None:",
        "        job = None\n        if lock is not None and job is None:",
        "tests/jobs/test_gpu.py::test_the_model_server_does_not_come_back_in_between",
    ),
    Safeguard(
        "a job has its own session",
        "jobs/executors/local.py",
        "                    start_new_session=True,\n",
        "",
        f"{STARTING}test_a_job_has_a_session_of_its_own",
    ),
]

SAFEGUARDS = [*ON_THE_DISK, *IN_THE_DATABASE, *PROCESSES]
