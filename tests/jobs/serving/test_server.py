"""The real model server, asked through its client and past it."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import psutil
import pytest

from jobs import gpu
from jobs.generation.engine import Engine, Request
from jobs.serving import address, client, connection
from jobs.serving.address import TOKEN_HEADER
from jobs.serving.schema import ALREADY_RUNNING, CompareSettings, SideRequest
from storage import adapters, config, files
from storage.errors import StudioError
from tests.jobs.device_user import using
from tests.jobs.serving.parts import ADAPTERS, SYSTEM, add_adapter, end_server

PROMPT = "Row 3?"
LONG = CompareSettings(sides=("base", "adapted", ADAPTERS[1]), max_new_tokens=2000)
SHORT = CompareSettings(max_new_tokens=8)


def server_processes() -> list[psutil.Process]:
    folder = str(config.current().data_dir)
    return [
        process
        for process in psutil.process_iter(["cmdline"])
        if "jobs.serving.server" in (process.info["cmdline"] or []) and folder in process.info["cmdline"]
    ]


def by_side(answers: list) -> dict:
    return {answer["side"]: answer for answer in answers}


@pytest.mark.usefixtures("base_model_id")
def test_two_clients_at_once_start_one_server():
    with ThreadPoolExecutor(2) as both:
        first, second = both.map(lambda _: client.ensure_running(), range(2))
    assert first == second
    assert [process.pid for process in server_processes()] == [first.process.pid]


@pytest.mark.usefixtures("base_model_id")
def test_a_second_server_of_the_same_data_folder_leaves_at_once():
    first = client.ensure_running()
    command = [sys.executable, "-m", "jobs.serving.server", "--data-dir", str(config.current().data_dir)]
    assert subprocess.run(command, timeout=120).returncode == ALREADY_RUNNING
    assert address.read() == first


@pytest.mark.usefixtures("base_model_id")
def test_the_address_is_for_this_user_alone():
    client.ensure_running()
    assert (files.root() / "model-server.json").stat().st_mode & 0o777 == 0o600


@pytest.mark.usefixtures("base_model_id")
@pytest.mark.parametrize("method, path", [("GET", "/status"), ("POST", "/free")])
def test_only_the_holder_of_the_token_may_call(method, path):
    server = client.ensure_running()
    assert httpx.request(method, server.url + path).status_code == 403
    assert httpx.request(method, server.url + path, headers={TOKEN_HEADER: "guess"}).status_code == 403


@pytest.mark.usefixtures("base_model_id")
def test_a_foreign_host_name_is_refused_even_with_the_token():
    server = client.ensure_running()
    headers = {TOKEN_HEADER: server.token, "Host": f"evil.example:{server.port}"}
    assert httpx.get(server.url + "/status", headers=headers).status_code == 403


def test_the_base_side_answers_as_the_base_model_alone(base_model_id, tiny_model: Path):
    sides = by_side(client.compare_all(ADAPTERS[0], PROMPT, SHORT))
    messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": PROMPT}]
    alone = "".join(
        delta.text
        for deltas in Engine(tiny_model, "cpu").generate([Request("base", {}, messages)], max_new_tokens=8)
        for delta in deltas
    )
    assert sides["base"]["text"] == alone
    assert sides["adapted"]["text"] != alone


@pytest.mark.usefixtures("base_model_id")
def test_the_weights_say_who_answered():
    sides = by_side(client.compare_all(ADAPTERS[0], PROMPT, SHORT))
    own_hash = files.sha256_of(files.adapter_folder(ADAPTERS[0]) / "adapter_model.safetensors")[:8]
    assert sides["adapted"]["weights"] == f"{sides['base']['weights']}+{own_hash}"
    assert own_hash not in sides["base"]["weights"]
    assert sides["few_shot"]["weights"] == sides["base"]["weights"]
    assert sides["few_shot"]["prompt_tokens"] > sides["base"]["prompt_tokens"]
    assert all(answer["done"] and answer["tokens"] <= 8 for answer in sides.values())


@pytest.mark.usefixtures("base_model_id")
def test_changing_the_adapter_does_not_load_the_base_again():
    first = client.compare_all(ADAPTERS[0], PROMPT, SHORT)
    loads = client.status()["base_loads"]
    second = client.compare_all(ADAPTERS[1], PROMPT, SHORT)
    assert client.status()["base_loads"] == loads == 1
    assert by_side(first)["adapted"]["weights"] != by_side(second)["adapted"]["weights"]


@pytest.mark.usefixtures("base_model_id")
def test_answers_stream_and_grow():
    snapshots = list(client.compare(ADAPTERS[0], PROMPT, LONG))
    lengths = [sum(answer["tokens"] for answer in snapshot) for snapshot in snapshots]
    assert len(snapshots) > 2
    assert lengths == sorted(lengths)
    assert all(answer["finish_reason"] in ("stop", "length") for answer in snapshots[-1])


@pytest.mark.usefixtures("base_model_id")
def test_hanging_up_ends_the_answer():
    begun = time.monotonic()
    client.compare_all(ADAPTERS[0], PROMPT, LONG)
    whole = time.monotonic() - begun
    snapshots = client.compare(ADAPTERS[0], PROMPT, LONG)
    next(snapshots)
    snapshots.close()
    begun = time.monotonic()
    # It would wait for its turn behind the rest of the long answer.
    client.compare_all(ADAPTERS[0], PROMPT, CompareSettings(sides=("base",), max_new_tokens=1))
    assert time.monotonic() - begun < whole / 2


@pytest.mark.usefixtures("base_model_id")
def test_a_second_question_waits_for_its_turn():
    alone = client.compare_all(ADAPTERS[0], PROMPT, SHORT)
    first = client.compare(ADAPTERS[0], PROMPT, LONG)
    next(first)
    seen: list = []
    asking = threading.Thread(target=lambda: seen.extend(client.compare_all(ADAPTERS[0], PROMPT, SHORT)))
    asking.start()
    *_, last = first
    asking.join(30)
    assert all(answer["finish_reason"] != "stopped" for answer in last)
    assert [answer["text"] for answer in seen] == [answer["text"] for answer in alone]


@pytest.mark.usefixtures("base_model_id")
def test_free_gives_the_device_back_and_the_next_question_loads_again():
    client.compare_all(ADAPTERS[0], PROMPT, SHORT)
    assert gpu.holder("cpu") == "the model server"
    connection.free_device()
    assert gpu.holder("cpu") is None
    client.compare_all(ADAPTERS[0], PROMPT, SHORT)
    assert client.status()["base_loads"] == 2


@pytest.mark.usefixtures("base_model_id")
def test_free_in_the_middle_of_an_answer_says_why_it_ended():
    snapshots = client.compare(ADAPTERS[0], PROMPT, LONG)
    next(snapshots)
    connection.free_device()
    with pytest.raises(gpu.Busy, match="busy with a job"):
        list(snapshots)
    assert gpu.holder("cpu") is None


@pytest.mark.usefixtures("base_model_id")
def test_a_device_that_a_job_holds_is_left_to_it():
    with using("the job “Haiku”"), pytest.raises(gpu.Busy, match="busy with the job “Haiku”"):
        list(client.compare(ADAPTERS[0], PROMPT, SHORT))
    assert client.compare_all(ADAPTERS[0], PROMPT, SHORT)


def test_a_prompt_longer_than_the_context_is_refused_with_its_length(base_model_id):
    with pytest.raises(StudioError, match=r"[\d,]+ tokens.* 60,000"):
        client.compare_all(ADAPTERS[0], "word " * 60_000, SHORT)
    assert client.compare_all(ADAPTERS[0], PROMPT, SHORT)


def test_characters_that_look_like_line_ends_survive(base_model_id):
    name = "two\u2028lines\x85"
    asked = [SideRequest(side="base", label=name, messages=[{"role": "user", "content": name}])]
    assert client.answers(base_model_id, asked, SHORT)[0]["label"] == name


def test_answers_come_in_the_order_of_the_requests(base_model_id):
    asked = [
        SideRequest(side="base", label=str(n), messages=[{"role": "user", "content": f"Row {n}?"}])
        for n in range(5)
    ]
    answers = client.answers(base_model_id, asked, SHORT)
    assert [answer["label"] for answer in answers] == ["0", "1", "2", "3", "4"]
    with pytest.raises(StudioError, match="stopped"):
        client.answers(base_model_id, asked, LONG, should_stop=lambda: True)


@pytest.mark.usefixtures("base_model_id")
def test_a_killed_server_is_replaced():
    first = client.ensure_running()
    psutil.Process(first.process.pid).kill()
    assert client.compare_all(ADAPTERS[0], PROMPT, SHORT)
    assert client.ensure_running().process != first.process


@pytest.mark.usefixtures("base_model_id")
def test_an_idle_server_ends_and_takes_its_address_away():
    end_server()
    folder = str(config.current().data_dir)
    command = [sys.executable, "-m", "jobs.serving.server", "--data-dir", folder, "--idle-seconds", "0.5"]
    assert subprocess.run(command, timeout=120).returncode == 0
    assert not (files.root() / "model-server.json").exists()


def test_the_client_brings_no_torch_into_the_page():
    code = (
        "import json, sys, jobs.serving.client, jobs.evaluation.scorecard, jobs.export.adapter\n"
        "print(json.dumps(list(sys.modules)))"
    )
    loaded = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, check=True).stdout
    assert not {"torch", "transformers", "peft", "datasets"} & set(json.loads(loaded))


def test_an_adapter_with_dora_is_compared_like_any_other(base_model_id, tiny_model):
    add_adapter("ddra2222", base_model_id, tiny_model, 7, use_dora=True)
    settings = CompareSettings(sides=("base", "few_shot", "adapted", ADAPTERS[0]), max_new_tokens=8)
    base, shown, adapted, other = client.compare_all("ddra2222", PROMPT, settings)
    plain = client.compare_all(ADAPTERS[0], PROMPT, SHORT)
    assert (base["text"], other["text"]) == (plain[0]["text"], plain[2]["text"])
    assert all(answer["finish_reason"] for answer in (base, shown, adapted, other))
    assert adapted["weights"] == f"{base['weights']}+{adapters.get('ddra2222').weights_sha256[:8]}"
