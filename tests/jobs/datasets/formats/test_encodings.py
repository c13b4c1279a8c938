"""Text arrives as it was written, in whatever encoding; a byte that fits nothing is named, never replaced."""

from __future__ import annotations

from pathlib import Path

import pytest

from storage.errors import StudioError
from tests.jobs.datasets.opened import opened

WESTERN = [("Où est la gare ?", "À gauche — « c’est ici » : 5 €."), ("Größe?", "Für Maß „groß“.")]
WRITTEN = {
    "utf-8": WESTERN,
    "utf-8-sig": WESTERN,
    "utf-16": WESTERN,
    "utf-16-le": [("Is it late?", "No, it is early."), ("Hello there?", "Yes, you.")],
    "utf-16-be": [("Is it late?", "No, it is early."), ("Hello there?", "Yes, you.")],
    "utf-32": WESTERN,
    "cp1252": WESTERN,
    "cp1250": [
        ("Jak się masz? Zażółć gęślą jaźń", "Dobrze, dziękuję bardzo."),
        ("Która jest godzina?", "Późna."),
    ],
    "cp1251": [("Где моя посылка?", "Она уже в пути."), ("Сколько стоит доставка?", "Ничего.")],
    "koi8_r": [("Где моя посылка сегодня?", "Она уже в пути и скоро будет."), ("Сколько стоит?", "Ничего.")],
    "shift_jis": [
        ("荷物はどこにありますか。", "今朝、倉庫を出発しました。"),
        ("送料はいくらですか。", "無料です。"),
    ],
    "gb18030": [("你好，请问怎么退货？", "在网站上点击退货。"), ("我的包裹在哪里？", "今天会到。")],
    "big5": [("你好，請問怎麼退貨？", "在網站上點擊退貨。"), ("我的包裹在哪裡？", "今天會到。")],
    "cp949": [
        ("안녕하세요, 반품하고 싶어요.", "네, 가능합니다."),
        ("배송은 언제 오나요?", "내일 도착합니다."),
    ],
}


def table(rows: list[tuple[str, str]]) -> str:
    return "prompt;response\n" + "".join(f"{q};{a}\n" for q, a in rows)


@pytest.mark.parametrize("codec", WRITTEN)
def test_text_arrives_as_it_was_written(codec: str, tmp_path: Path) -> None:
    found = opened(tmp_path, "a.csv", table(WRITTEN[codec]).encode(codec))
    assert found.pairs == WRITTEN[codec]
    assert found.detected["Encoding"].endswith("(guessed)") == (not codec.startswith("utf"))


def test_windows_1252_is_known_by_its_name(tmp_path: Path) -> None:
    found = opened(tmp_path, "a.csv", table(WESTERN).encode("cp1252"))
    assert found.detected["Encoding"] == "Windows-1252 (guessed)"


def test_rows_that_were_wrongly_decoded_before_do_not_hide_the_encoding(tmp_path: Path) -> None:
    mojibake = [(one.encode().decode("cp1252"), two.encode().decode("cp1252")) for one, two in WESTERN]
    found = opened(tmp_path, "a.csv", table([*WESTERN, *mojibake]).encode("cp1252"))
    assert found.detected["Encoding"] == "Windows-1252 (guessed)"
    assert found.pairs == [*WESTERN, *mojibake], "their repair is another matter"


def test_the_encoding_can_be_chosen(tmp_path: Path) -> None:
    found = opened(tmp_path, "a.csv", table(WESTERN).encode("cp850", "replace"), encoding="cp850")
    assert found.pairs[1] == ("Größe?", "Für Maß ?groß?.")


def test_a_row_with_a_byte_that_does_not_fit_is_left_out_and_the_byte_is_placed(tmp_path: Path) -> None:
    content = table(WESTERN).encode() + b"What?;b\xffd\n" + "Grün?;Ja.\n".encode()
    found = opened(tmp_path, "a.csv", content)
    assert len(found.pairs) == 3 and found.codes() == {3: "broken_character"}
    assert "0xff" in found.left_out[3].reason and "line 4" in found.left_out[3].reason
    assert found.left_out[3].raw == "What?;b\\udcffd"
    offset = content.index(b"\xff")
    assert f"byte 0xff at offset {offset} (line 4)" in found.notes
    assert all("\ufffd" not in answer for _, answer in found.pairs)


def test_a_byte_that_does_not_fit_far_into_a_file_is_found(tmp_path: Path) -> None:
    rows = "Größe?;Für alle, die es möchten.\n" * 60_000
    content = b"prompt;response\n" + rows.encode() + b"What?;b\xffd\n" + rows[:3200].encode()
    found = opened(tmp_path, "a.csv", content)
    assert found.codes() == {60_001: "broken_character"}
    assert "line 60,002" in found.notes


def test_characters_at_the_seam_of_two_pieces_are_whole(tmp_path: Path) -> None:
    for shift in range(3):
        content = "prompt;response\n" + "x" * shift + "€" * 400_000 + ";ja\n"
        found = opened(tmp_path, "a.csv", content.encode())
        assert found.pairs == [("x" * shift + "€" * 400_000, "ja")]


def test_half_a_character_at_the_seam_before_plain_text_is_found(tmp_path: Path) -> None:
    above = "prompt;response\né;è\n".encode()
    filler = b"a;b\n" * ((1 << 18) - 10)
    row = b"c;" + b"d" * ((1 << 20) - len(above) - len(filler) - 3) + b"\xe2"
    found = opened(tmp_path, "a.csv", above + filler + row + b"\n" + b"e;f\n" * 10)
    assert list(found.codes().values()) == ["broken_character"]
    assert f"byte 0xe2 at offset {(1 << 20) - 1:,}" in found.notes


def test_a_row_with_a_nul_byte_is_left_out_with_its_place(tmp_path: Path) -> None:
    found = opened(tmp_path, "a.csv", table(WESTERN).encode() + b"c\0;d\n")
    assert found.codes() == {3: "nul_byte"} and "line 4" in found.left_out[3].reason


@pytest.mark.parametrize(
    ("content", "options", "says"),
    [
        (table(WESTERN).encode("utf-16")[:-1], {}, "half a character at offset"),
        (bytes(range(256)) * 40, {}, "not plain text"),
        (b"\x01\x02\x03\x04" * 40, {}, "not plain text"),
        (b"a;b\n", {"encoding": "utf-9"}, "no encoding “utf-9”"),
        (b"a;b\n", {"encoding": "zlib"}, "no encoding"),
        (b"a;b\n", {"encoding": "unicode_escape"}, "no encoding"),
    ],
)
def test_what_is_no_text_is_said(content: bytes, options: dict[str, str], says: str, tmp_path: Path) -> None:
    with pytest.raises(StudioError, match=says) as caught:
        opened(tmp_path, "a.csv", content, **options)
    assert caught.value.remedy
