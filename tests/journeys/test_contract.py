"""Every endpoint that is promised to programs, through gradio_client against a studio as users start it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import httpx
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError

from jobs.base_models import catalogue
from tests.journeys import tiny_studio
from tests.journeys.studio_process import Studio, wait_until

STATUSES = {"queued", "running", "stopping", "stopped", "finished", "failed"}
PROMISED = {
    "/add_dataset", "/base_models", "/estimate", "/start_job", "/job", "/metrics", "/stop_job", "/compare",
    "/scorecard", "/retry_job", "/move_job", "/delete_job", "/back_up", "/rebuild_database",
    "/inspect_file", "/import_file", "/add_text", "/add_rows", "/add_hub_dataset", "/read_differently", "/datasets",
    "/rows", "/row",
    "/edit_row", "/add_row", "/delete_rows", "/add_corrected", "/fix", "/undo", "/redo", "/go_to_version",
    "/versions", "/diff",
    "/start_scorecard", "/rules", "/set_rules", "/start_study", "/study",
    "/blind_pair", "/blind_vote", "/blind_standing", "/votes", "/keep_strength",
    "/start_prompts", "/start_prompt_file", "/prompt_answers", "/prompt_sets",
}  # fmt: skip
UNKNOWN = "nosuchid"


@pytest.fixture(scope="module")
def studio(own_studio: Studio) -> Studio:
    return own_studio


@pytest.fixture(scope="module")
def base_model_id(studio: Studio, tiny_model: Path) -> str:
    """The id of the tiny model as a folder that a user added."""
    return tiny_studio.add_folder(studio.home, tiny_model)


@pytest.fixture(scope="module")
def added(client: Client, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The answer to /add_dataset for forty examples and two rows that cannot be used."""
    file = tiny_studio.examples_file(tmp_path_factory.mktemp("examples"))
    return client.predict(handle_file(str(file)), "Numbers", api_name="/add_dataset")  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def finished(client: Client, added: dict[str, Any], base_model_id: str) -> dict[str, Any]:
    """The answer to /job for a short run that has finished."""
    settings = {"max_steps": 4, "learning_rate": "1e-3"}
    job_id = client.predict(added["dataset_id"], base_model_id, 4, settings, api_name="/start_job")["job_id"]
    job = tiny_studio.ended(client, job_id)
    assert job["status"] == "finished", job["error"]
    return {**job, "job_id": job_id}


def refusal(client: Client, *values: Any, api_name: str) -> str:
    """What an endpoint says when it refuses."""
    with pytest.raises(AppError) as caught:
        client.predict(*values, api_name=api_name)
    said = str(caught.value)
    assert "Traceback" not in said
    assert 'File "' not in said
    assert re.match(r".+[.!?] .+[.!?]$", said, re.DOTALL), f"not a problem and a remedy: {said}"
    assert "Something unexpected" not in said
    return said


def test_exactly_the_promised_endpoints_are_named(client: Client) -> None:
    named = client.view_api(return_format="dict")["named_endpoints"]  # type: ignore[index]
    assert set(named) == PROMISED


def test_health_answers_what_a_monitor_wants_to_know(studio: Studio) -> None:
    health = httpx.get(f"{studio.url}/healthz", trust_env=False).json()
    assert (health["status"], health["database"], health["worker"]) == ("ok", "ok", "ok")
    assert re.fullmatch(r"\d+\.\d+\.\d+", health["version"])
    assert health["jobs_running"] >= 0
    assert health["jobs_queued"] >= 0


def test_add_dataset(added: dict[str, Any]) -> None:
    assert added["rows"] == 40
    assert added["columns"] == ["prompt", "response"]
    errors = [problem for problem in added["problems"] if problem["severity"] == "error"]
    assert sorted(row for problem in errors for row in problem["rows"]) == [41, 42]
    for problem in added["problems"]:
        assert set(problem) == {"code", "severity", "rows", "count", "message", "fix", "fix_label"}


def test_base_models(client: Client, base_model_id: str) -> None:
    models = client.predict(api_name="/base_models")
    assert all(set(model) >= {"id", "name", "parameters", "licence", "available"} for model in models)
    available = {model["id"] for model in models if model["available"]}
    assert available == {catalogue.STARTER_ID, base_model_id}
    assert len(models) > 5


@pytest.mark.parametrize("target_modules", ["auto", ["q_proj", "v_proj"]])
def test_estimate(client: Client, added: dict[str, Any], base_model_id: str, target_modules: Any) -> None:
    cost = client.predict(base_model_id, 4, target_modules, added["dataset_id"], api_name="/estimate")
    assert cost["reduction"] == pytest.approx(cost["full_parameters"] / cost["lora_parameters"])
    assert min(cost["adapter_bytes"], cost["memory_bytes"], cost["seconds"]) > 0
    if target_modules != "auto":
        # Two layers; q is 32 x 32 and v 16 x 32.
        assert cost["lora_parameters"] == 2 * 4 * ((32 + 32) + (16 + 32))


def test_estimate_without_examples(client: Client) -> None:
    assert client.predict("Qwen/Qwen3-0.6B", 8, "auto", None, api_name="/estimate")["seconds"] is None


def test_start_job_and_job(finished: dict[str, Any]) -> None:
    assert finished["status"] in STATUSES
    assert (finished["step"], finished["total_steps"]) == (4, 4)
    assert finished["loss"] > 0
    assert finished["held_out_loss"] > 0
    assert finished["error"] is None
    assert re.fullmatch(r"[\w-]{4,16}", finished["adapter_id"])
    assert "seconds_left" in finished


def test_metrics(client: Client, finished: dict[str, Any]) -> None:
    found = client.predict(finished["job_id"], -1, api_name="/metrics")
    assert all(set(metric) == {"step", "name", "value"} for metric in found)
    losses = {metric["step"]: metric["value"] for metric in found if metric["name"] == "loss"}
    assert max(losses) == 4
    assert all(value > 0 for value in losses.values())
    later = client.predict(finished["job_id"], 2, api_name="/metrics")
    assert later == [metric for metric in found if metric["step"] > 2]


def test_stop_job(client: Client, added: dict[str, Any], base_model_id: str) -> None:
    settings = {"max_steps": 100_000, "epochs": 100}
    job_id = client.predict(added["dataset_id"], base_model_id, 2, settings, api_name="/start_job")["job_id"]
    wait_until(lambda: (job := client.predict(job_id, api_name="/job"))["step"] >= 1 or job["error"], 120)
    assert client.predict(job_id, api_name="/stop_job")["status"] in ("stopping", "stopped")
    wait_until(lambda: client.predict(job_id, api_name="/job")["status"] == "stopped", 60)
    assert client.predict(job_id, api_name="/stop_job") == {"status": "stopped"}
    assert client.predict(job_id, api_name="/job")["adapter_id"]


def test_stopping_what_has_finished_changes_nothing(client: Client, finished: dict[str, Any]) -> None:
    assert client.predict(finished["job_id"], api_name="/stop_job") == {"status": "finished"}


def test_compare(client: Client, finished: dict[str, Any]) -> None:
    settings = {"max_new_tokens": 8, "sides": ["base", "few_shot", "adapted"]}
    sides = client.predict(finished["adapter_id"], "What is 7?", settings, api_name="/compare")
    assert [side["side"] for side in sides] == ["base", "few_shot", "adapted"]
    for side in sides:
        assert isinstance(side["text"], str)
        assert 0 < side["tokens"] <= 8
    weights = [side["weights"] for side in sides]
    assert weights[0] == weights[1] != weights[2]


def test_compare_with_no_settings(client: Client, finished: dict[str, Any]) -> None:
    sides = client.predict(finished["adapter_id"], "What is 7?", {}, api_name="/compare")
    assert {"base", "adapted"} <= {side["side"] for side in sides}


def test_compare_answers_at_the_kept_strength(client: Client, finished: dict) -> None:
    adapter_id = finished["adapter_id"]

    def weights(settings: dict) -> str:
        asked = {"sides": ["adapted"], "max_new_tokens": 2, **settings}
        return client.predict(adapter_id, "What is 7?", asked, api_name="/compare")[0]["weights"]

    client.predict(adapter_id, 0.5, api_name="/keep_strength")
    try:
        assert weights({}).endswith("*0.5")
        assert "*" not in weights({"strength": 1})
    finally:
        client.predict(adapter_id, 1, api_name="/keep_strength")


def test_scorecard(client: Client, finished: dict[str, Any]) -> None:
    card = client.predict(finished["adapter_id"], api_name="/scorecard")
    assert card["verdict"]
    names = [side["side"] for side in card["sides"]]
    assert {"base", "adapted"} <= set(names)
    for rule in card["rules"]:
        for name in names:
            score = rule["sides"][name]
            assert 0 <= score["low"] <= score["rate"] <= score["high"] <= 1
    assert client.predict(finished["adapter_id"], api_name="/scorecard") == card, "measured once"
    assert {"measures", "comparisons", "side_effects", "curve", "instruction"} <= set(card)


def test_rules_are_switched_and_the_card_counts_again(client: Client, finished: dict[str, Any]) -> None:
    adapter_id = finished["adapter_id"]
    card = client.predict(adapter_id, api_name="/scorecard")
    assert client.predict(adapter_id, api_name="/rules") == card["rules"]
    first = card["rules"][0]["name"]
    found = client.predict(adapter_id, {"rules": {"off": [first]}}, api_name="/set_rules")
    assert [rule["name"] for rule in found if not rule["on"]] == [first]
    assert client.predict(adapter_id, {"rules": {}}, api_name="/set_rules") == card["rules"]


def test_a_scorecard_of_ones_own_choice_is_a_job(client: Client, finished: dict[str, Any]) -> None:
    asked = (finished["adapter_id"], None, {"rows": 2, "sides": ["few_shot"], "side_effects": False})
    job_id = client.predict(*asked, api_name="/start_scorecard")["job_id"]
    wait_until(lambda: client.predict(job_id, api_name="/job")["status"] == "finished", 120)
    assert "rows" in refusal(client, finished["adapter_id"], None, {"rows": 0}, api_name="/start_scorecard")


def test_the_adapter_can_be_taken_away(studio: Studio, finished: dict[str, Any]) -> None:
    answer = httpx.get(f"{studio.url}/download/adapter/{finished['adapter_id']}", trust_env=False)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/zip"
    assert answer.content[:2] == b"PK"


def test_the_same_request_key_is_the_same_run(
    client: Client, added: dict[str, Any], base_model_id: str
) -> None:
    wanted = (added["dataset_id"], base_model_id, 2, {"max_steps": 1}, "a key of the client's own")
    assert client.predict(*wanted, api_name="/start_job") == client.predict(*wanted, api_name="/start_job")


def test_retry_job(client: Client, added: dict[str, Any], base_model_id: str) -> None:
    settings = {"max_steps": 100_000, "epochs": 100}
    job_id = client.predict(added["dataset_id"], base_model_id, 2, settings, api_name="/start_job")["job_id"]
    client.predict(job_id, api_name="/stop_job")
    wait_until(lambda: client.predict(job_id, api_name="/job")["status"] == "stopped", 60)
    assert client.predict(job_id, api_name="/retry_job")["status"] in ("queued", "running")
    client.predict(job_id, api_name="/stop_job")
    wait_until(lambda: client.predict(job_id, api_name="/job")["status"] == "stopped", 60)
    assert client.predict(job_id, api_name="/delete_job") == {"deleted": True}
    assert client.predict(job_id, api_name="/delete_job") == {"deleted": True}, "asking again changes nothing"
    assert job_id in refusal(client, job_id, api_name="/job")


def test_going_on_with_what_has_finished_changes_nothing(client: Client, finished: dict[str, Any]) -> None:
    assert client.predict(finished["job_id"], api_name="/retry_job") == {"status": "finished"}


def test_move_job(client: Client, added: dict[str, Any], base_model_id: str) -> None:
    wanted = (added["dataset_id"], base_model_id, 2, {"max_steps": 100_000, "epochs": 100})
    ids = [client.predict(*wanted, api_name="/start_job")["job_id"] for _ in range(3)]
    wait_until(lambda: client.predict(ids[0], api_name="/job")["status"] == "running", 60)
    assert client.predict(ids[2], "first", api_name="/move_job") == {"place": 1}
    assert client.predict(ids[1], api_name="/job")["place"] == 2
    assert client.predict(ids[2], "down", api_name="/move_job") == {"place": 2}
    assert client.predict(ids[0], "up", api_name="/move_job") == {"place": None}
    assert "sideways" in refusal(client, ids[1], "sideways", api_name="/move_job")
    for job_id in ids:
        client.predict(job_id, api_name="/delete_job")
    wait_until(lambda: httpx.get(f"{client.src}healthz", trust_env=False).json()["jobs_running"] == 0, 90)


def test_back_up(client: Client, studio: Studio) -> None:
    made = client.predict(api_name="/back_up")
    answer = httpx.get(f"{studio.url}/download/backup/{made['file']}", trust_env=False)
    assert len(answer.content) == made["size_bytes"]
    assert answer.content.startswith(b"SQLite format 3")


def test_rebuild_database(client: Client, finished: dict[str, Any]) -> None:
    before = client.predict(finished["job_id"], api_name="/job")
    counts = client.predict(api_name="/rebuild_database")
    assert counts["problems"] == [] and counts["adapters"] >= 1
    assert client.predict(finished["job_id"], api_name="/job") == before


@pytest.mark.parametrize("api_name", ["/job", "/metrics", "/stop_job", "/retry_job", "/scorecard"])
def test_an_unknown_id_is_refused_in_words(client: Client, api_name: str) -> None:
    assert UNKNOWN in refusal(client, UNKNOWN, api_name=api_name)


def test_an_unknown_model_is_refused_in_words(client: Client, added: dict[str, Any]) -> None:
    assert UNKNOWN in refusal(client, UNKNOWN, 8, "auto", None, api_name="/estimate")
    assert UNKNOWN in refusal(client, added["dataset_id"], UNKNOWN, 8, {}, api_name="/start_job")


def test_an_unknown_dataset_is_refused_in_words(client: Client) -> None:
    assert UNKNOWN in refusal(client, UNKNOWN, "starter", 8, {}, api_name="/start_job")
    assert UNKNOWN in refusal(client, "starter", 8, "auto", UNKNOWN, api_name="/estimate")


def test_comparing_nothing_is_refused_in_words(client: Client, finished: dict[str, Any]) -> None:
    assert UNKNOWN in refusal(client, UNKNOWN, "What is 7?", {}, api_name="/compare")
    refusal(client, finished["adapter_id"], "", {}, api_name="/compare")
    assert "temperatur" in refusal(
        client, finished["adapter_id"], "x", {"temperatur": 1}, api_name="/compare"
    )
    refusal(client, finished["adapter_id"], "x", {"sides": ["nobody"]}, api_name="/compare")
