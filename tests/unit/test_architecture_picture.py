"""The picture at the top of docs/architecture.md is drawn from its source, and shows the paths of the page."""

import re
import runpy
import tomllib
from pathlib import Path

SCRIPT = runpy.run_path(str(Path(__file__).parents[2] / "docs" / "draw_architecture.py"))
SOURCE = tomllib.loads(SCRIPT["SOURCE"].read_text())


def test_the_picture_is_as_its_source_says() -> None:
    assert SCRIPT["PICTURE"].read_text() == SCRIPT["drawn"](SOURCE), "run: uv run python docs/draw_architecture.py"


def test_the_picture_has_the_paths_of_the_page_in_their_order() -> None:
    page = (SCRIPT["SOURCE"].parents[1] / "architecture.md").read_text()
    told = re.findall(r"^### (\d)\. (.*)$", page, re.MULTILINE)
    assert [(str(path["number"]), path["title"]) for path in SOURCE["path"]] == [
        (number, title[0].lower() + title[1:]) for number, title in told
    ]


def test_each_path_is_told_in_five_to_eight_numbered_sentences_and_the_words_are_few() -> None:
    page = (SCRIPT["SOURCE"].parents[1] / "architecture.md").read_text()
    for path in re.findall(r"^### \d\. .*?(?=^##)", page, re.MULTILINE | re.DOTALL):
        assert 5 <= len(re.findall(r"^\d\. ", path, re.MULTILINE)) <= 8, path
    words = page.partition("## Words")[2].partition("\n## ")[0]
    assert len(re.findall(r"^\| ", words, re.MULTILINE)) - 2 <= 25
