"""Files and pasted text in the shapes that people bring become examples; nothing is lost without a word."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest

from jobs.datasets import importing, publishing, versions
from jobs.datasets.child import Cancelled
from jobs.datasets.importing import add_dataset, add_pasted, add_sample
from jobs.datasets.records import ReadOptions
from jobs.datasets.rows import load_rows
from storage import datasets, files
from storage.errors import StudioError
from tests.jobs.datasets.imported import Imported, from_text, read_examples

PAIRS = [("Do you ship to Norway?", "We do!"), ("Is it late?", "It is, a little."), ("Hi", "Hello.")]


def jsonl(*rows: Any) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def pairs(imported: Imported) -> list[tuple[str, str]]:
    return [(e.messages[-2]["content"], e.messages[-1]["content"]) for e in imported.examples]


def problem(imported: Imported, code: str) -> Any:
    return next(found for found in imported.problems if found.code == code)


OPENAI = jsonl(
    *({"messages": [{"role": "user", "content": q}, {"role": "assistant", "content": a}]} for q, a in PAIRS)
)
SHAREGPT = [{"conversations": [{"from": "human", "value": q}, {"from": "gpt", "value": a}]} for q, a in PAIRS]
CSV_ROWS = 'Do you ship to Norway?,We do!\nIs it late?,"It is, a little."\nHi,Hello.\n'
TSV_ROWS = "Do you ship to Norway?\tWe do!\nIs it late?\tIt is, a little.\nHi\tHello.\n"
SHAPES = {
    "openai messages": OPENAI,
    "sharegpt": json.dumps(SHAREGPT),
    "alpaca": json.dumps([{"instruction": q, "input": "", "output": a} for q, a in PAIRS], indent=2),
    "question and answer": jsonl(*({"question": q, "answer": a} for q, a in PAIRS)),
    "a list inside an object": json.dumps({"v": "1", "data": [{"Query": q, "Reply": a} for q, a in PAIRS]}),
    "csv": "prompt,response\n" + CSV_ROWS,
    "csv with semicolons": "Prompt;Response\n" + TSV_ROWS.replace("\t", ";"),
    "tsv": "customer mail\tagent reply\n" + TSV_ROWS,
    "a spreadsheet range without header": TSV_ROWS.replace("\n", "\r\n"),
    "unknown names": "Frage,Antwort\n" + CSV_ROWS,
    "messages as JSON in a csv cell": "id,messages\n"
    + "".join(
        '{},"{}"\n'.format(n, line.replace('"', '""'))
        for n, line in enumerate(json.dumps(json.loads(row)["messages"]) for row in OPENAI.splitlines())
    ),
}


@pytest.mark.parametrize("shape", SHAPES)
class TestEveryShape:
    def test_gives_the_same_examples_pasted(self, shape: str) -> None:
        assert pairs(from_text(SHAPES[shape])) == PAIRS

    @pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
    @pytest.mark.parametrize("suffix", ["csv", "json", "txt"])
    def test_gives_the_same_examples_whatever_the_files_name(
        self, shape: str, mark: bytes, suffix: str, tmp_path: Path
    ) -> None:
        path = tmp_path / f"examples.{suffix}"
        path.write_bytes(mark + SHAPES[shape].encode())
        assert pairs(read_examples(path)) == PAIRS

    def test_survives_windows_line_ends(self, shape: str) -> None:
        text = SHAPES[shape].replace("\r\n", "\n").replace("\n", "\r\n")
        assert pairs(from_text(text)) == PAIRS


class TestColumns:
    def test_alpacas_input_goes_below_the_instruction(self) -> None:
        row = {"instruction": "Sum up.", "input": "A long text.", "output": "Short."}
        assert pairs(from_text(jsonl(row, {**row, "input": ""})))[:2] == [
            ("Sum up.\n\nA long text.", "Short."),
            ("Sum up.", "Short."),
        ]

    def test_a_system_column_becomes_a_system_message_where_it_is_filled(self) -> None:
        imported = from_text("system,prompt,response\nBe kind.,Hi,Hello\n,Ho,Hey\n")
        assert [[m["role"] for m in e.messages] for e in imported.examples] == [
            ["system", "user", "assistant"],
            ["user", "assistant"],
        ]

    def test_a_guess_is_said(self) -> None:
        found = problem(from_text(SHAPES["unknown names"]), "column_guess")
        assert (found.severity, "Frage" in found.message, "Antwort" in found.message) == ("info", True, True)

    def test_known_names_are_no_guess(self) -> None:
        assert "column_guess" not in {p.code for p in from_text(SHAPES["csv"]).problems}

    def test_a_missing_header_is_said_and_its_row_kept(self) -> None:
        imported = from_text(SHAPES["a spreadsheet range without header"])
        assert problem(imported, "no_header").severity == "info"
        assert [e.row for e in imported.examples] == [1, 2, 3]

    def test_unused_columns_are_said(self) -> None:
        imported = from_text("id,answer_id,question,answer\n1,a b,Hi there,Hello\n2,c d,Ho there,Hey\n")
        assert imported.mapping == {"prompt": "question", "response": "answer"}
        assert "“id”, “answer_id”" in problem(imported, "unused_columns").message

    def test_an_id_of_an_answer_is_no_answer(self) -> None:
        imported = from_text("the question,the answer id,the answer\na b,i one,c d\ne f,i two,g h\n")
        assert imported.mapping == {"prompt": "the question", "response": "the answer"}

    def test_three_unknown_text_columns_are_not_guessed(self) -> None:
        with pytest.raises(StudioError, match="“eins”, “zwei”, “drei”") as caught:
            from_text("eins,zwei,drei\na b,c d,e f\ng h,i j,k l\n")
        assert "“prompt”" in caught.value.remedy


class TestContent:
    def test_parts_of_text_are_joined(self) -> None:
        parts = [{"type": "text", "text": "Is it "}, {"type": "text", "text": "late?"}]
        row = {"messages": [{"role": "user", "content": parts}, {"role": "assistant", "content": "No."}]}
        assert pairs(from_text(jsonl(row, row)))[0] == ("Is it late?", "No.")

    def test_an_answer_that_is_an_object_becomes_json_text(self) -> None:
        imported = from_text(jsonl({"mail": "a", "ticket": {"é": 1}}, {"mail": "b", "ticket": 1.5}))
        assert pairs(imported) == [("a", '{"é": 1}'), ("b", "1.5")]

    def test_spaces_and_unusual_line_ends_in_answers_stay(self) -> None:
        imported = from_text(
            jsonl({"prompt": "a", "response": " b\u2028c\r\nd "}, {"prompt": "e", "response": "f"})
        )
        assert pairs(imported)[0] == ("a", " b\u2028c\nd ")

    def test_a_line_break_in_a_quoted_cell_is_part_of_it(self) -> None:
        assert pairs(from_text('prompt,response\n"a\nb",c\nd,e\n'))[0] == ("a\nb", "c")


GOOD = [{"prompt": "a", "response": "b"}, {"prompt": "c", "response": "d"}]


def said(*turns: tuple[str, Any]) -> dict[str, Any]:
    return {"messages": [{"role": role, "content": content} for role, content in turns]}


GOOD_CHATS = [said(("user", "a"), ("assistant", "b")), said(("user", "c"), ("assistant", "d"))]
UNUSABLE_ROWS = {
    "empty answer": ("empty_answer", GOOD, jsonl({"prompt": "x", "response": " \n"})),
    "missing answer": ("empty_answer", GOOD, jsonl({"prompt": "x"})),
    "empty prompt": ("empty_prompt", GOOD, jsonl({"prompt": None, "response": "x"})),
    "broken line": ("broken_json", GOOD, '{"prompt": "x", \n'),
    "too long a number": ("broken_json", GOOD, '{"prompt": "x", "response": ' + "9" * 5000 + "}\n"),
    "nested too deep": ("broken_json", GOOD, '{"prompt": ' + "[" * 100_000 + "}\n"),
    "not a number": ("broken_json", GOOD, '{"prompt": "x", "response": NaN}\n'),
    "too large a number": ("not_text", GOOD, '{"prompt": "x", "response": [1e999]}\n'),
    "a field twice": ("duplicate_key", GOOD, '{"prompt": "x", "response": "y", "response": "z"}\n'),
    "half a character": ("broken_character", GOOD, '{"prompt": "x", "response": "\\ud800"}\n'),
    "no object": ("not_an_object", GOOD, "[1]\n"),
    "assistant first": ("role_order", GOOD_CHATS, jsonl(said(("assistant", "x"), ("user", "y")))),
    "user last": ("role_order", GOOD_CHATS, jsonl(said(("user", "x"), ("assistant", "y"), ("user", "z")))),
    "user twice": ("role_order", GOOD_CHATS, jsonl(said(("user", "x"), ("user", "y"), ("assistant", "z")))),
    "late system": (
        "role_order",
        GOOD_CHATS,
        jsonl(said(("user", "x"), ("assistant", "y"), ("system", "z"))),
    ),
    "only system": ("one_sided", GOOD_CHATS, jsonl(said(("system", "x")))),
    "unknown role": ("unknown_role", GOOD_CHATS, jsonl(said(("user", "x"), ("tool", "y")))),
    "no role": ("unknown_role", GOOD_CHATS, jsonl({"messages": [{"text": "x"}]})),
    "no list": ("bad_messages", GOOD_CHATS, jsonl({"messages": "hello"})),
    "a list of texts": ("bad_messages", GOOD_CHATS, jsonl({"messages": ["hello"]})),
    "a picture": ("not_text", GOOD_CHATS, jsonl(said(("user", [{"type": "image_url"}])))),
    "an empty turn": ("empty_answer", GOOD_CHATS, jsonl(said(("user", "x"), ("assistant", None)))),
}


class TestRowsThatCannotBeUsed:
    @pytest.mark.parametrize("case", UNUSABLE_ROWS)
    def test_are_named_with_reason_while_the_others_are_taken(self, case: str) -> None:
        code, good, bad_line = UNUSABLE_ROWS[case]
        imported = from_text(jsonl(good[0]) + bad_line + jsonl(good[1]))
        assert [e.row for e in imported.examples] == [1, 3]
        found = problem(imported, code)
        assert (found.severity, found.rows) == ("error", [2])
        assert found.message and found.fix

    def test_a_broken_line_is_placed_by_line_and_column(self) -> None:
        imported = from_text(jsonl(*GOOD) + '\n{"prompt": oops}\n')
        assert "line 4, column 12" in problem(imported, "broken_json").message

    def test_a_csv_row_with_too_many_cells_is_not_cut_to_fit(self) -> None:
        found = problem(from_text("prompt,response\na,b\nc,d, and more\ne,f\n"), "broken_row")
        assert (found.rows, "3 cells" in found.message) == ([2], True)

    def test_a_csv_row_with_wrong_quotes_is_left_out(self) -> None:
        imported = from_text('prompt,response\na,b\n"c "d" e",f\ng,h\n')
        assert pairs(imported) == [("a", "b"), ("g", "h")]
        assert problem(imported, "broken_row").rows == [2]

    def test_rows_of_one_kind_make_one_problem(self) -> None:
        imported = from_text("prompt,response\na,\nb,c\nd,\ne,f\n,,\n")
        assert (problem(imported, "empty_answer").rows, problem(imported, "blank_row").rows) == ([1, 3], [5])

    def test_every_row_is_an_example_or_in_a_problem(self) -> None:
        lines = [bad for _, good, bad in UNUSABLE_ROWS.values() if good is GOOD]
        imported = from_text(jsonl(GOOD[0]) + "".join(lines) + jsonl(GOOD[1]))
        named = [row for p in imported.problems if p.severity == "error" for row in p.rows]
        assert sorted([*named, *(e.row for e in imported.examples)]) == list(range(1, len(lines) + 3))


def stored(home: Path) -> list[Path]:
    return [p for name in ("datasets", "tmp") for p in (home / name).iterdir()]


class TestAddingADataset:
    def test_keeps_rows_original_and_what_was_found(self, home: Path, tmp_path: Path) -> None:
        path = tmp_path / "mails.csv"
        path.write_text(SHAPES["csv"] + "Empty,\n")
        dataset = add_dataset(path, "mails.csv")
        assert datasets.get(dataset.id) == dataset
        assert (dataset.name, dataset.source_name, dataset.format) == ("mails", "mails.csv", "csv")
        assert (dataset.rows, dataset.train_rows, dataset.held_out_rows) == (3, 2, 1)
        assert dataset.problems[0]["rows"] == [4]
        assert dataset.sha256 == files.sha256_of(path)
        folder = files.dataset_folder(dataset.id)
        assert (folder / "original" / "mails.csv").read_bytes() == path.read_bytes()
        told = files.read_json(folder / "dataset.json")
        assert told["mapping"] == {"prompt": "prompt", "response": "response"}
        remembered = dataclasses.asdict(dataset)
        assert remembered.pop("is_current")
        assert told.items() >= {**remembered, "seed": 0, "base": dataset.id}.items()
        assert [row["row"] for row in load_rows(dataset.id)] == [1, 2, 3]
        assert list((home / "tmp").iterdir()) == []

    def test_a_taken_name_gets_a_number(self, home: Path) -> None:
        names = [add_pasted(SHAPES["csv"], "Mails").name for _ in range(3)]
        assert names == ["Mails", "Mails (2)", "Mails (3)"]

    def test_odd_names_are_made_harmless(self, home: Path) -> None:
        name = add_pasted(SHAPES["csv"], "../\udcff\x00\n" + "x" * 500).name
        assert name.isprintable() and len(name) <= 120

    @pytest.mark.parametrize("sample_id", ["tone", "format", "behaviour"])
    def test_a_sample_is_added_without_a_problem(self, home: Path, sample_id: str) -> None:
        dataset = add_sample(sample_id)
        assert dataset.rows >= 90 and dataset.held_out_rows >= 8
        assert dataset.problems == []

    def test_an_unknown_sample_is_refused(self, home: Path) -> None:
        with pytest.raises(StudioError, match="nonsense") as caught:
            add_sample("nonsense")
        assert "tone" in caught.value.remedy

    def test_one_prompt_throughout_holds_nothing_out_and_says_so(self, home: Path) -> None:
        dataset = add_pasted(jsonl(*({"prompt": "Tell a joke", "response": f"Ha {n}"} for n in range(9))))
        assert (dataset.held_out_rows, "no_held_out" in {p["code"] for p in dataset.problems}) == (0, True)

    def test_a_full_disk_is_said_and_leaves_nothing(
        self, home: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def full(descriptor: int) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(StudioError, match="disk is full"):
            add_pasted(SHAPES["csv"])
        monkeypatch.undo()
        assert (stored(home), datasets.list_all()) == ([], [])

    def test_a_database_that_fails_leaves_no_folder(
        self, home: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuses(**record: Any) -> None:
            raise StudioError("The database is locked.", "Try again.")

        monkeypatch.setattr(publishing.datasets, "add", refuses)
        with pytest.raises(StudioError, match="locked"):
            add_pasted(SHAPES["csv"])
        assert stored(home) == []


class TestWhereTheFileLies:
    def test_an_upload_moves_into_the_dataset_without_being_copied(self, home: Path) -> None:
        upload = home / "tmp" / "0123abcd" / "mails.csv"
        upload.parent.mkdir()
        upload.write_text(SHAPES["csv"])
        number = upload.stat().st_ino
        dataset = add_dataset(upload)
        original = files.dataset_folder(dataset.id) / "original" / "mails.csv"
        assert original.stat().st_ino == number
        assert list((home / "tmp").iterdir()) == []

    def test_a_users_own_file_stays_and_changing_it_changes_nothing(self, home: Path, tmp_path: Path) -> None:
        path = tmp_path / "mails.csv"
        path.write_text(SHAPES["csv"])
        dataset = add_dataset(path)
        with path.open("r+") as file:
            file.write("overwritten in place")
        original = files.dataset_folder(dataset.id) / "original" / "mails.csv"
        assert original.read_text() == SHAPES["csv"]

    def test_an_upload_that_cannot_be_read_stays_to_be_read_in_another_way(self, home: Path) -> None:
        upload = home / "tmp" / "0123abcd" / "odd.csv"
        upload.parent.mkdir()
        upload.write_text("eins,zwei,drei\na b,c d,e f\ng h,i j,k l\n")
        with pytest.raises(StudioError, match="“eins”"):
            add_dataset(upload)
        options = ReadOptions(mapping={"prompt": "drei", "response": "eins"})
        assert load_rows(add_dataset(upload, options=options).id)[0]["messages"][0]["content"] == "e f"


class TestLooking:
    def test_shows_the_first_rows_as_what_they_will_be(self, home: Path, tmp_path: Path) -> None:
        path = tmp_path / "mails.csv"
        path.write_text(SHAPES["csv"] * 4)
        look = importing.inspect(path)
        assert (look.format, look.columns, look.certain) == ("csv", ["prompt", "response"], True)
        assert look.mapping == {"prompt": "prompt", "response": "response"}
        assert look.rows[0]["messages"][1] == {"role": "assistant", "content": "We do!"}
        assert len(look.rows) == 5
        assert stored(home) == []

    def test_shows_the_cells_where_the_columns_cannot_be_told(self, home: Path) -> None:
        look = importing.inspect_pasted("eins,zwei,drei\na b,c d,e f\ng h,i j,k l\n")
        assert (look.mapping, look.certain) == ({}, False)
        assert look.rows[1] == {"row": 2, "eins": "g h", "zwei": "i j", "drei": "k l"}
        again = importing.inspect_pasted(
            "eins,zwei,drei\na b,c d,e f\n", ReadOptions(mapping={"prompt": "zwei", "response": "eins"})
        )
        assert again.rows[0]["messages"][0]["content"] == "c d"

    def test_a_file_that_is_none_is_refused_in_words(self, home: Path, tmp_path: Path) -> None:
        (tmp_path / "photo.csv").write_bytes(b"\x89PNG\r\n\x1a\n\0\0")
        with pytest.raises(StudioError, match="PNG"):
            importing.inspect(tmp_path / "photo.csv")
        with pytest.raises(StudioError, match="No such file"):
            importing.inspect(tmp_path / "gone.csv")


class TestOtherWaysIn:
    def test_typed_rows(self, home: Path) -> None:
        chat = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello."}]
        dataset = importing.add_rows([("Is it late?", "It is."), ("Is 2 < 3?", "Yes,\nit is.")], "Mine")
        assert (dataset.name, dataset.rows) == ("Mine", 2)
        assert load_rows(dataset.id)[1]["messages"][1]["content"] == "Yes,\nit is."
        assert load_rows(importing.add_rows([chat, chat]).id)[0]["messages"] == chat

    def test_the_same_file_read_in_another_way_is_another_dataset(self, home: Path) -> None:
        first = add_pasted(SHAPES["csv"], "Mails")
        turned = ReadOptions(mapping={"prompt": "response", "response": "prompt"})
        assert importing.inspect_again(first.id, turned).rows[0]["messages"][0]["content"] == "We do!"
        second = importing.reread(first.id, turned)
        assert (second.name, second.family, second.version) == ("Mails (2)", second.id, 1)
        assert load_rows(second.id)[0]["messages"][0]["content"] == "We do!"
        assert load_rows(first.id)[0]["messages"][0]["content"] == "Do you ship to Norway?"
        assert importing.reread(second.id).rows == first.rows  # its own file came with it

    def test_a_later_version_is_read_from_the_same_file(self, home: Path) -> None:
        first = add_pasted(SHAPES["csv"], "Mails")
        chat = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello."}]
        later = versions.apply(first.id, {"kind": "add", "messages": chat})
        assert importing.inspect_again(later.id).rows == importing.inspect_again(first.id).rows
        assert importing.reread(later.id).rows == first.rows

    def test_the_hub_without_a_network_is_a_sentence(
        self, home: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
        with pytest.raises(StudioError) as caught:
            importing.add_hub("somebody/something")
        assert "unexpectedly" not in caught.value.message
        assert stored(home) == []


class TestOnTheWay:
    def test_progress_is_reported_and_cancel_leaves_nothing(self, home: Path, tmp_path: Path) -> None:
        path = tmp_path / "many.jsonl"
        path.write_text(jsonl(*({"prompt": f"{n}?", "response": "x"} for n in range(20_000))))
        heard: list[tuple[str, int | None, int | None]] = []
        with pytest.raises(Cancelled):
            add_dataset(
                path,
                report=lambda *told: heard.append(told),
                should_stop=lambda: any(words == "Checking the rows" for words, _, _ in heard),
            )
        assert any(words == "Reading many.jsonl" and total for words, _, total in heard)
        assert (stored(home), datasets.list_all()) == ([], [])
