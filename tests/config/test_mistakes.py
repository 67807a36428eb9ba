"""One file per mistake, each with the exact words that a person reads about it."""

from pathlib import Path

import pytest

from sidecar.config.load import load, load_text
from sidecar.config.problems import Problems
from sidecar.config.rules import read_rule
from sidecar.config.yaml_text import read_file
from sidecar.errors import ConfigError
from tests.config.kinds import ENVIRON, KINDS, MINIMAL

DATA = Path(__file__).parent.parent / "data"
CONFIGS = sorted((DATA / "config").glob("*.yaml"))
RULES = sorted((DATA / "rules").glob("*.yaml"))
WITHOUT_BACKEND = {name: value for name, value in ENVIRON.items() if name != "BACKEND_URL"}


def config_messages(file: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        load(file, KINDS, WITHOUT_BACKEND)
    return str(caught.value).replace(f"{DATA}/", "")


def rule_messages(file: Path) -> str:
    problems = Problems()
    text = read_file(file, problems)
    if text is not None:
        read_rule(str(file), text, {"service-key": "service_key", "backend-health": "http"}, problems)
    with pytest.raises(ConfigError) as caught:
        problems.raise_any()
    return str(caught.value).replace(f"{DATA}/", "")


@pytest.mark.parametrize("file", CONFIGS, ids=lambda file: file.stem)
def test_a_mistake_in_sidecar_yaml_is_named_with_its_place(file: Path) -> None:
    assert config_messages(file) + "\n" == file.with_suffix(".txt").read_text()


@pytest.mark.parametrize("file", RULES, ids=lambda file: file.stem)
def test_a_mistake_in_a_rule_is_named_with_its_place(file: Path) -> None:
    assert rule_messages(file) + "\n" == file.with_suffix(".txt").read_text()


def test_every_file_of_mistakes_has_its_words_and_the_words_their_file() -> None:
    for folder in ("config", "rules"):
        files = {file.stem for file in (DATA / folder).glob("*.yaml")}
        words = {file.stem for file in (DATA / folder).glob("*.txt")}
        assert files == words
        assert len(files) > 50


def test_problems_of_all_files_arrive_together_in_the_order_of_files_and_lines() -> None:
    text = (DATA / "config" / "unknown_key.yaml").read_text()
    rules = {name: (DATA / "rules" / name).read_text() for name in ("cap_zero.yaml", "caps_missing.yaml")}
    with pytest.raises(ConfigError) as caught:
        load_text(text, rules, KINDS, ENVIRON)
    places = [(problem.file, problem.line) for problem in caught.value.problems]
    assert [file for file, _ in places] == ["sidecar.yaml", "cap_zero.yaml", *["caps_missing.yaml"] * 3]
    assert all(line > 0 for _, line in places)


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    file = tmp_path / "sidecar.yaml"
    file.write_text(MINIMAL + "#" * 1024 * 1024)
    (tmp_path / "rules").mkdir()
    with pytest.raises(ConfigError) as caught:
        load(file, KINDS, ENVIRON)
    assert str(caught.value) == f"{file}: is larger than 1 MiB (a configuration is a few kilobytes)"


def test_a_file_that_does_not_exist_is_a_problem_not_a_crash(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path / "sidecar.yaml", KINDS, ENVIRON)
    assert str(caught.value) == f"{tmp_path}/sidecar.yaml: cannot be read: No such file or directory"


def test_a_rule_file_with_the_other_ending_is_not_silently_ignored(tmp_path: Path) -> None:
    (tmp_path / "sidecar.yaml").write_text(MINIMAL)
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "forgotten.yml").write_text("rule: forgotten\n")
    with pytest.raises(ConfigError, match=r"holds forgotten\.yml, which would be ignored"):
        load(tmp_path / "sidecar.yaml", KINDS, ENVIRON)


def test_a_folder_named_like_a_rule_is_a_problem_not_a_crash(tmp_path: Path) -> None:
    (tmp_path / "sidecar.yaml").write_text(MINIMAL)
    (tmp_path / "rules" / "folder.yaml").mkdir(parents=True)
    with pytest.raises(ConfigError, match=r"folder\.yaml: cannot be read: Is a directory"):
        load(tmp_path / "sidecar.yaml", KINDS, ENVIRON)
