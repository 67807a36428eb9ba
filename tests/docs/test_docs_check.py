"""Each class of problem is found where it is, and what is in order is left alone."""

from pathlib import Path

import pytest

from tests import docs_check
from tests.docs import commands, limits, links, proofs, shipped, words
from tests.docs.pages import read


def write(root: Path, name: str, text: str) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


# Generated pages


@pytest.mark.parametrize("place", range(len(docs_check.GENERATED)))
def test_a_generated_page_that_was_edited_or_is_missing_is_named_with_what_makes_it(tmp_path: Path, place: int) -> None:
    for name, make, _ in docs_check.GENERATED:
        write(tmp_path, name, make())
    assert list(docs_check.stale_pages(tmp_path)) == []
    name, make, command = docs_check.GENERATED[place]
    write(tmp_path, name, make().replace("the", "The", 1))
    assert list(docs_check.stale_pages(tmp_path)) == [f"{name}: is not what the code says; run: .venv/bin/{command}"]
    (tmp_path / name).unlink()
    assert len(list(docs_check.stale_pages(tmp_path))) == 1


# Links


def test_a_link_to_a_file_or_heading_that_is_not_there_is_named_with_its_line(tmp_path: Path) -> None:
    write(tmp_path, "docs/other.md", "# Other\n\n## Two `words`, here!\n\n## Twice\n\n## Twice\n")
    write(
        tmp_path,
        "docs/page.md",
        "# Page\n[a](other.md) [b](other.md#two-words-here) [c](#page) [d](other.md#twice-1) [e](../docs)\n"
        "[f](gone.md)\n[g](other.md#three)\n[h](#nowhere)\n[i](../../outside.md)\n[j]: gone-too.md\n",
    )
    assert list(links.problems(tmp_path)) == [
        "docs/page.md:3: link gone.md: there is no such file",
        "docs/page.md:4: link other.md#three: the page has no heading #three",
        "docs/page.md:5: link #nowhere: the page has no heading #nowhere",
        "docs/page.md:6: link ../../outside.md: leaves the repository",
        "docs/page.md:7: link gone-too.md: there is no such file",
    ]


def test_links_in_code_and_links_elsewhere_are_left_alone(tmp_path: Path) -> None:
    write(
        tmp_path, "page.md", "`[a](gone.md)` [b](https://example.org/x#y)\n\n```md\n[c](gone.md)\n# No heading\n```\n"
    )
    assert list(links.problems(tmp_path)) == []
    assert read(tmp_path, "page.md").anchors() == set()


def test_a_rule_without_its_runbook_is_named(tmp_path: Path) -> None:
    write(tmp_path, "docs/here.md", "# Here\n")
    write(tmp_path, "rules/a.yaml", "rule: a\nrunbook: docs/here.md  # why\n")
    write(tmp_path, "rules/b.yaml", "rule: b\nrunbook: docs/gone.md\n")
    write(tmp_path, "rules/c.yaml", "rule: c\n")
    assert list(links.problems(tmp_path)) == [
        "rules/b.yaml: its runbook is not there",
        "rules/c.yaml: its runbook is not there",
    ]


# Words


def well_told(root: Path) -> None:
    """Write every page that the lists ask for, with a row for each word."""
    pages: dict[str, list[str]] = {}
    said: dict[str, list[str]] = {}
    for group in words.groups():
        lines, headings = pages.setdefault(group.page, []), said.setdefault(group.page, [])
        for level, heading in enumerate(group.headings, 2):
            if heading not in headings or heading == group.headings[-1]:
                lines.append(f"{'#' * level} {heading}")
                headings.append(heading)
        meaning = "`tests/a.py::test_a`" if group.page == proofs.GUARDS else "x"
        lines += ["| word | meaning |", "|---|---|", *(f"| `{word}` | {meaning} |" for word in group.words)]
    for name, lines in pages.items():
        write(root, name, "\n".join(lines) + "\n")


@pytest.mark.parametrize("group", words.groups(), ids=lambda group: f"{group.what} in {group.page}")
def test_a_word_without_a_row_a_row_without_a_word_and_a_word_with_two_rows_are_named(
    tmp_path: Path, group: words.Group
) -> None:
    well_told(tmp_path)
    assert list(words.problems(tmp_path)) == []
    assert group.words
    path, word = tmp_path / group.page, group.words[-1]
    section = [line.number for told, line in read(tmp_path, group.page).rows(*group.headings) if told == word]
    lines = path.read_text(encoding="utf-8").splitlines()

    path.write_text("\n".join([*lines[: section[0] - 1], "| `stale_word` | x |", *lines[section[0] :]]))
    place = " > ".join((group.page, *group.headings))
    assert list(words.problems(tmp_path)) == [
        f"{group.page}: {group.what} `{word}` has no row in {place}",
        f"{group.page}:{section[0]}: `stale_word` is no {group.what}",
    ]
    path.write_text("\n".join([*lines[: section[0]], f"| `{word}` | again |", *lines[section[0] :]]))
    assert [told.partition(": ")[2] for told in words.problems(tmp_path)] == [
        f"{group.what} `{word}` has 2 rows",
        f"{group.what} `{word}` has 2 rows",
    ]


def test_one_row_may_tell_of_several_words(tmp_path: Path) -> None:
    write(tmp_path, "page.md", "| `one`, `two` | `three` |\n| four | `five` |\n| `six` seven | x |\n")
    assert [word for word, _ in read(tmp_path, "page.md").rows()] == ["one", "two"]


def test_the_lists_that_people_look_up_are_all_held() -> None:
    held = {group.what for group in words.groups()}
    assert held >= {
        "check kind", "reason of http", "reason of service_key", "guard", "proof failure", "finding class", "outcome",
        "row result", "metric", "log event", "verb",
    }  # fmt: skip


# Tests and modules that documents name


def test_a_test_that_is_cited_and_not_there_is_named(tmp_path: Path) -> None:
    write(tmp_path, "tests/a/test_one.py", "async def test_it_holds() -> None: ...\n")
    cited = (
        "`tests/a/test_one.py::test_it_holds`\n`tests/a/test_one.py::test_gone`\ntests/b/test_two.py::test_it_holds\n"
    )
    write(tmp_path, "ARCHITECTURE.md", cited)
    assert list(proofs.problems(tmp_path)) == [
        "ARCHITECTURE.md:2: there is no test tests/a/test_one.py::test_gone",
        "ARCHITECTURE.md:3: there is no test tests/b/test_two.py::test_it_holds",
    ]


def test_a_guard_whose_row_names_no_test_is_named(tmp_path: Path) -> None:
    write(tmp_path, "tests/a.py", "def test_a() -> None: ...\n")
    rows = "| guard | refuses | test |\n|---|---|---|\n| `mode` | x | `tests/a.py::test_a` |\n| Mark | soon |\n"
    write(tmp_path, proofs.GUARDS, f"# Guards\n\n## Guards that refuse\n\n{rows}\n## Guards in the structure\n\n{rows}")
    assert list(proofs.problems(tmp_path)) == [
        "docs/reference/guards.md:8: names no test",
        "docs/reference/guards.md:15: names no test",
    ]


def test_an_invariant_without_a_row_or_a_test_is_named(tmp_path: Path) -> None:
    write(tmp_path, "tests/a.py", "def test_a() -> None: ...\n")
    rows = "".join(f"| I{number} | x | `tests/a.py::test_a` |\n" for number in range(1, 21) if number != 7)
    write(
        tmp_path, "ARCHITECTURE.md", f"## Invariants\n\n| | holds | test |\n|---|---|---|\n{rows}| I21 | x | soon |\n"
    )
    assert list(proofs.problems(tmp_path)) == [
        "ARCHITECTURE.md: I7 has no row in Invariants",
        "ARCHITECTURE.md:24: I21 names no test",
    ]


def test_a_module_without_a_row_and_a_row_without_a_module_are_named(tmp_path: Path) -> None:
    for name in ("domain/__init__.py", "domain/plan.py", "data/__init__.py", "data/rest.py", "app.py", "__main__.py"):
        write(tmp_path, f"sidecar/{name}", "")
    rows = ["`domain/`", "`app.py`", "`domain/gone.py`"]
    write(tmp_path, "ARCHITECTURE.md", "## Modules\n\n" + "".join(f"| {row} | x |\n" for row in rows))
    assert list(proofs.problems(tmp_path)) == [
        "ARCHITECTURE.md: `data/` has no row in Modules",
        "ARCHITECTURE.md: `domain/plan.py` has no row in Modules",
        "ARCHITECTURE.md: Modules has a row for `domain/gone.py`, which is not there",
    ]


# Commands


@pytest.mark.parametrize(
    ("code", "wrong"),
    [
        ("sidecar repair", "sidecar repair: there is no verb repair"),
        ("sidecar detect --everything", "sidecar detect --everything: detect has no option --everything"),
        ("$ X=1 .venv/bin/sidecar plan r --out=f -z", "sidecar plan r --out=f -z: plan has no option -z"),
        ("cd x && python -m sidecar redo R", "sidecar redo R: there is no verb redo"),
        ("sidecar runs --json | sidecar shwo x", "sidecar shwo x: there is no verb shwo"),
        ("sidecar --version", "sidecar --version: sidecar has no option --version"),
        ("make everything", "make everything: the Makefile has no target everything"),
    ],
)
def test_a_command_that_cannot_be_typed_is_named_in_a_block_and_in_a_line(
    tmp_path: Path, code: str, wrong: str
) -> None:
    write(tmp_path, "Makefile", "check: lint\n")
    write(tmp_path, "page.md", f"Type:\n\n```sh\n{code}\n```\n\nor `{code}`.\n")
    assert list(commands.problems(tmp_path)) == [f"page.md:4: {wrong}", f"page.md:7: {wrong}"]


def test_commands_that_can_be_typed_and_words_of_prose_are_left_alone(tmp_path: Path) -> None:
    typed = 'sidecar attest U --credits 12 --reason "it\'s; paid"  # why\nsidecar <verb> --x\nsidecar --help\n'
    write(tmp_path, "Makefile", "check: lint\n")
    write(
        tmp_path,
        "page.md",
        f"The sidecar repairs. `sidecar.yaml` `sidecar` `make check X=1`\n\n```sh\n{typed}sidecar: refused --no\n```\n",
    )
    assert list(commands.problems(tmp_path)) == []


# Limits


def demanded(root: Path) -> None:
    for name in limits.DEMANDED:
        write(root, name, "x\n")


def test_a_document_that_is_missing_or_empty_is_named(tmp_path: Path) -> None:
    demanded(tmp_path)
    assert list(limits.problems(tmp_path)) == []
    (tmp_path / "SECURITY.md").unlink()
    write(tmp_path, "docs/glossary.md", "")
    assert list(limits.problems(tmp_path)) == [
        "SECURITY.md: is missing or empty",
        "docs/glossary.md: is missing or empty",
    ]


@pytest.mark.parametrize(("name", "most"), [("README.md", 150), ("ARCHITECTURE.md", 200)])
def test_one_line_too_many_is_named(tmp_path: Path, name: str, most: int) -> None:
    demanded(tmp_path)
    write(tmp_path, name, "x\n" * most)
    assert list(limits.problems(tmp_path)) == []
    write(tmp_path, name, "x\n" * (most + 1))
    assert list(limits.problems(tmp_path)) == [f"{name}: {most + 1} lines, and {most} are allowed"]


@pytest.mark.parametrize(
    "line",
    [
        "pip install --index" + "-url https://example.org/x y",
        "--extra-index" + "-url=https://example.org/x",
        "index" + '-url = "https://example.org/x"',
        "export PIP_INDEX" + "_URL=https://example.org/x",
        "pip install --find" + "-links /wheels x",
        "see https://packages" + ".example.org/x",
        "url = 'https://example.org/root/sim" + "ple/'",
    ],
)
def test_the_address_of_a_package_index_is_named_in_any_file(tmp_path: Path, line: str) -> None:
    demanded(tmp_path)
    write(tmp_path, "deploy/start.sh", f"# one\n{line}\n")
    write(tmp_path, ".venv/lib/theirs.py", line)
    assert list(limits.problems(tmp_path)) == ["deploy/start.sh:2: names a package index"]


def test_saying_that_no_index_is_written_down_is_not_naming_one(tmp_path: Path) -> None:
    demanded(tmp_path)
    write(tmp_path, "Makefile", "uv pip compile --no-emit-index" + "-url\n# https://example.org/simple-things\n")
    assert list(limits.problems(tmp_path)) == []


# The checks by hand


def by_hand(root: Path, changed: dict[int, str]) -> None:
    write(root, "sidecar.yaml", "checks: [{name: routes, kind: http}]\n")
    write(root, "rules/stuck.yaml", "rule: stuck\n")
    rows = {number: f"| {number} | `/health` | `routes`, `stuck` | all, `whatever` |\n" for number in range(1, 33)}
    write(root, shipped.PAGE, "## The backend\n\n" + "".join((rows | changed).values()))


def test_checks_by_hand_that_are_told_by_what_is_shipped_or_why_not_are_left_alone(tmp_path: Path) -> None:
    by_hand(tmp_path, {11: "| 11 | x | | No: nothing is sent |\n"})
    assert list(shipped.problems(tmp_path)) == []


@pytest.mark.parametrize(
    ("row", "wrong"),
    [
        ("", "check 7 has 0 rows"),
        ("| 7 | x | `routes` | all |\n| 7 | x | `routes` | all |\n", "check 7 has 2 rows"),
        ("| 7 | x | `gone` | all |\n", "there is no shipped check or rule `gone`"),
        ("| 7 | x | | all |\n", "check 7 names nothing, and does not say why"),
    ],
)
def test_a_check_by_hand_without_a_row_a_name_or_a_reason_is_named(tmp_path: Path, row: str, wrong: str) -> None:
    by_hand(tmp_path, {7: row})
    found = list(shipped.problems(tmp_path))
    assert len(found) == 1
    assert found[0].endswith(wrong)


# All together


def test_problems_are_printed_one_to_a_line_and_end_with_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path, "README.md", "[a](gone.md) `sidecar redo` `tests/x.py::test_y`\n")
    assert docs_check.main(tmp_path) == 1
    said = capsys.readouterr().err.splitlines()
    assert len(said) == len(set(said)) > 100
    for expected in (
        "docs/reference/cli.md: is not what the code says; run: .venv/bin/python -m tests.docs.cli_page",
        "SECURITY.md: is missing or empty",
        "README.md:1: link gone.md: there is no such file",
        "docs/glossary.md: guard `frozen` has no row in docs/glossary.md > Guards",
        "README.md:1: there is no test tests/x.py::test_y",
        "README.md:1: sidecar redo: there is no verb redo",
    ):
        assert expected in said


def test_documents_without_a_problem_end_with_0(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    demanded(tmp_path)
    well_told(tmp_path)
    write(tmp_path, "tests/a.py", "def test_a() -> None: ...\n")
    for name, make, _ in docs_check.GENERATED:
        write(tmp_path, name, make())
    write(tmp_path, "Makefile", "docs:\n")
    assert docs_check.main(tmp_path) == 0, capsys.readouterr().err
    assert capsys.readouterr().err == ""
