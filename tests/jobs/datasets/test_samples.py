"""The three sample data sets: every row keeps the promise its set makes."""

import itertools
import json
import re
from collections import Counter
from pathlib import Path

import pytest

SAMPLES = Path(__file__).resolve().parents[3] / "jobs" / "datasets" / "samples"
ROLES = {
    "tone": ["user", "assistant"],
    "format": ["system", "user", "assistant"],
    "behaviour": ["user", "assistant"],
}
# Most words in a prompt and in an answer; a row of so many characters stays under about 100 tokens.
MOST_WORDS = {"tone": (16, 45), "format": (26, 20), "behaviour": (12, 20)}
MOST_CHARACTERS = 300

SIGN_OFF = " Tailwinds to you."
NEXT_STEP = "Next stop: "

SYSTEM = "Turn the customer's mail into a ticket as JSON."
KEYS = ["topic", "urgency", "order", "summary", "reply_needed"]
TOPICS = {"delivery", "billing", "returns", "product", "account"}
URGENCIES = {"low", "normal", "high"}
ORDER = re.compile(r"\b[A-Z]\d{4}\b")
# A mail is urgent exactly when it names a deadline within a day, says so, or tells of harm.
URGENT = re.compile(
    r"\b(today|tonight|tomorrow|urgent|immediately|at once|asap|smoking|shock|burst|fire)\b", re.IGNORECASE
)
UNHURRIED = re.compile(
    r"\b(no rush|no hurry|whenever|just wondering|curious|thanks?|cheers|fyi|just so you know)\b",
    re.IGNORECASE,
)
NO_REPLY = re.compile(
    r"no (answer|reply) needed|no need to (answer|reply|write|confirm|do)"
    r"|don't (need|have) to (answer|reply|write|confirm)",
    re.IGNORECASE,
)

PREAMBLES = {
    *(
        "absolutely",
        "certainly",
        "great",
        "here",
        "i",
        "my",
        "of",
        "ok",
        "okay",
        "sorry",
        "sure",
        "well",
        "yes",
    ),
}
SPEAKER = {"i", "i'm", "i'd", "i'll", "me", "my", "mine", "we", "us", "our"}


def rows(name: str) -> list[list[dict[str, str]]]:
    lines = (SAMPLES / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["messages"] for line in lines]


def prompts(name: str) -> list[str]:
    return [row[-2]["content"] for row in rows(name)]


def answers(name: str) -> list[str]:
    return [row[-1]["content"] for row in rows(name)]


def tickets() -> list[tuple[str, dict[str, object]]]:
    return list(zip(prompts("format"), map(json.loads, answers("format")), strict=True))


def words(text: str) -> frozenset[str]:
    return frozenset(re.findall(r"[a-z0-9']+", text.lower()))


@pytest.mark.parametrize("name", ROLES)
class TestEverySet:
    def test_has_enough_rows_of_nothing_but_messages(self, name: str) -> None:
        lines = (SAMPLES / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
        assert len(lines) >= 90
        for line in lines:
            row = json.loads(line)
            assert list(row) == ["messages"], line
            assert all(list(message) == ["role", "content"] for message in row["messages"]), line

    def test_roles_come_in_order(self, name: str) -> None:
        for row in rows(name):
            assert [message["role"] for message in row] == ROLES[name], row

    def test_text_is_clean(self, name: str) -> None:
        for message in itertools.chain.from_iterable(rows(name)):
            text = message["content"]
            assert text and text == text.strip() and text.isascii(), repr(text)
            assert "\n" not in text and "  " not in text, repr(text)

    def test_prompts_and_answers_are_unique(self, name: str) -> None:
        for texts in (prompts(name), answers(name)):
            assert [text for text, count in Counter(map(str.lower, texts)).items() if count > 1] == []

    def test_no_two_rows_are_near_duplicates(self, name: str) -> None:
        said = answers(name)
        if name == "tone":
            said = [answer.removesuffix(SIGN_OFF).replace(NEXT_STEP, "") for answer in said]
        if name == "format":
            said = [json.loads(answer)["summary"] for answer in said]
        for texts, limit in ((prompts(name), 0.65), (said, 0.65)):
            for one, other in itertools.combinations(texts, 2):
                mine, theirs = words(one), words(other)
                assert len(mine & theirs) < limit * len(mine | theirs), (one, other)

    def test_rows_are_short(self, name: str) -> None:
        in_prompt, in_answer = MOST_WORDS[name]
        for row in rows(name):
            assert len(row[-2]["content"].split()) <= in_prompt, row
            assert len(row[-1]["content"].split()) <= in_answer, row
            assert sum(len(message["content"]) for message in row) <= MOST_CHARACTERS, row

    def test_holds_no_addresses_or_numbers_of_people(self, name: str) -> None:
        for message in itertools.chain.from_iterable(rows(name)):
            text = message["content"]
            assert not re.search(r"@|https?:|www\.|\d[\d ()/+-]{5,}\d", text), text


class TestTone:
    def test_opens_with_a_small_exclamation_of_its_own(self) -> None:
        openings = []
        for answer in answers("tone"):
            opening, mark, _ = answer.partition("! ")
            assert mark and len(opening.split()) <= 3 and not re.search(r"[.?:]", opening), answer
            assert answer.count("!") == 1, answer
            openings.append(opening)
        assert len(set(openings)) == len(openings)

    def test_says_two_sentences_the_second_being_the_next_stop(self) -> None:
        for answer in answers("tone"):
            body = answer.partition("! ")[2].removesuffix(SIGN_OFF)
            first, mark, step = body.partition(f". {NEXT_STEP}")
            assert mark and re.fullmatch(r"[A-Z][^.!?:]{14,}", first), answer
            assert re.fullmatch(r"[a-z][^.!?:]{14,}\.", step), answer

    def test_signs_off_with_the_same_words(self) -> None:
        for answer in answers("tone"):
            assert answer.endswith(f".{SIGN_OFF}") and answer.count("Tailwinds") == 1, answer


class TestFormat:
    def test_the_system_message_never_changes(self) -> None:
        assert {row[0]["content"] for row in rows("format")} == {SYSTEM}

    def test_tickets_are_one_line_of_json_with_the_keys_in_order(self) -> None:
        for answer in answers("format"):
            ticket = json.loads(answer)
            assert list(ticket) == KEYS and answer == json.dumps(ticket), answer

    def test_values_are_allowed(self) -> None:
        for _, ticket in tickets():
            assert ticket["topic"] in TOPICS and ticket["urgency"] in URGENCIES, ticket
            assert isinstance(ticket["reply_needed"], bool), ticket

    def test_summaries_are_short_phrases(self) -> None:
        for _, ticket in tickets():
            summary = str(ticket["summary"])
            assert 3 <= len(summary.split()) <= 8, ticket
            assert summary[0].isupper() and summary[-1].isalpha(), ticket

    def test_the_order_is_the_one_in_the_mail(self) -> None:
        for mail, ticket in tickets():
            assert ORDER.findall(mail) == ([] if ticket["order"] is None else [ticket["order"]]), mail

    def test_no_order_comes_twice(self) -> None:
        orders = [ticket["order"] for _, ticket in tickets() if ticket["order"] is not None]
        assert len(set(orders)) == len(orders)

    def test_urgency_follows_the_words_of_the_mail(self) -> None:
        for mail, ticket in tickets():
            assert (ticket["urgency"] == "high") == bool(URGENT.search(mail)), mail
            if UNHURRIED.search(mail):
                assert ticket["urgency"] == "low", mail

    def test_reply_needed_follows_the_words_of_the_mail(self) -> None:
        for mail, ticket in tickets():
            if "?" in mail:
                assert ticket["reply_needed"], mail
            if NO_REPLY.search(mail):
                assert not ticket["reply_needed"], mail
            elif not ticket["reply_needed"]:
                # Without the express wish, only thanks and plain news go unanswered.
                assert ticket["urgency"] == "low" and "please" not in mail.lower(), mail

    @pytest.mark.parametrize(("key", "least"), [("topic", 18), ("urgency", 25), ("reply_needed", 30)])
    def test_labels_are_balanced(self, key: str, least: int) -> None:
        assert min(Counter(ticket[key] for _, ticket in tickets()).values()) >= least

    def test_every_topic_meets_every_other_label(self) -> None:
        for topic in TOPICS:
            mine = [ticket for _, ticket in tickets() if ticket["topic"] == topic]
            assert min(Counter(ticket["urgency"] for ticket in mine).values()) >= 5, topic
            assert min(Counter(ticket["reply_needed"] for ticket in mine).values()) >= 5, topic
            assert {ticket["order"] is None for ticket in mine} == {True, False}, topic

    def test_orders_are_missing_often_enough_to_learn_null(self) -> None:
        assert 30 <= sum(ticket["order"] is None for _, ticket in tickets()) <= 45


class TestBehaviour:
    def test_answers_are_one_plain_sentence(self) -> None:
        for answer in answers("behaviour"):
            assert answer[0].isupper() and answer.endswith("."), answer
            assert not re.search(r"[.!?:;*()\[\]#\"]", answer[:-1]), answer
            assert 8 <= len(answer.split()) <= 20, answer

    def test_answers_have_no_preamble_and_no_speaker(self) -> None:
        for answer in answers("behaviour"):
            assert re.findall(r"[a-z']+", answer.lower())[0] not in PREAMBLES, answer
            assert not words(answer) & SPEAKER, answer

    def test_answers_open_in_many_ways(self) -> None:
        openings = Counter(answer.split()[0] for answer in answers("behaviour"))
        assert max(openings.values()) <= 10 and len(openings) >= 60
