"""Settings: precedence, refused values and their messages."""

from pathlib import Path

import pytest

from pipeline.config.loading import Secret, find_key, load, with_policy
from pipeline.config.settings import Settings
from pipeline.errors import SettingsError


@pytest.fixture(autouse=True)
def _empty_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def write(text: str, name: str = "pipeline.toml") -> Path:
    path = Path(name)
    path.write_text(text, encoding="utf-8")
    return path


def complaint(*, text: str = "", env: dict[str, str] | None = None) -> str:
    with pytest.raises(SettingsError) as caught:
        load(write(text), env)
    assert caught.value.exit_code == 2
    return str(caught.value)


def test_without_any_settings_the_defaults_apply() -> None:
    assert load() == Settings()


def test_pipeline_toml_of_the_working_directory_is_read() -> None:
    write("[serve]\nport = 9000")
    assert load().serve.port == 9000


def test_a_named_file_is_read_instead_of_the_default_one() -> None:
    write("[serve]\nport = 9000")
    assert load(write("[serve]\nhost = '::1'", "other.toml")).serve.port == 8780


def test_a_named_file_that_is_not_there_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"gone\.toml: cannot be read: No such file"):
        load(Path("gone.toml"))


def test_a_flag_wins_over_the_environment_and_that_over_the_file() -> None:
    write("[serve]\nport = 1\nhost = 'file'\n[stt]\nregion = 'eu'")
    env = {"PIPELINE_SERVE__PORT": "2", "PIPELINE_SERVE__HOST": "environment"}
    settings = load(None, env, {"serve.port": 3})
    assert (settings.serve.port, settings.serve.host) == (3, "environment")
    assert settings.stt.region == "eu"


def test_variables_are_converted_to_the_type_of_their_setting() -> None:
    settings = load(
        None,
        {
            "PIPELINE_PROMPTS__NOTES__SPECULATE": "yes",
            "PIPELINE_PROMPTS__NOTES__TEMPERATURE": "0.5",
            "PIPELINE_PROMPTS__NOTES__SYSTEM": "42",
            "PIPELINE_PROMPTS__NOTES__SIBLINGS": '["a", "b"]',
            "PIPELINE_STT__PARAMETERS": '{"format_turns": true}',
        },
    )
    notes = settings.prompts["notes"]
    assert (notes.speculate, notes.temperature, notes.system) == (True, 0.5, "42")
    assert notes.siblings == ("a", "b")
    assert settings.stt.parameters == {"format_turns": True}


def test_variables_of_other_programs_are_ignored() -> None:
    assert load(None, {"PIPELINE_ID": "7", "PATH": "/bin"}) == Settings()


def test_an_unknown_name_is_refused_with_the_likely_one() -> None:
    assert complaint(text="[serve]\nprot = 1") == (
        "pipeline.toml: serve.prot: no such setting; did you mean serve.port?"
    )


def test_an_unknown_table_is_refused_with_the_known_ones() -> None:
    assert complaint(text="[telephones]") == (
        "pipeline.toml: telephones: no such setting; expected one of"
        " stt, llm, stored, local, serve, gateway, limits, twilio, dtmf, journal, tools, mcp,"
        " webhooks, prompts"
    )


def test_an_unknown_variable_is_refused_by_its_own_name() -> None:
    assert complaint(env={"PIPELINE_LLM__MODLE": "x"}) == (
        "environment PIPELINE_LLM__MODLE: llm.modle: no such setting; did you mean llm.model?"
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[serve]\nport = 'http'", 'serve.port: expected a whole number from 0 to 65535; got "h'),
        ("[serve]\nport = 70000", "serve.port: expected a whole number from 0 to 65535; got 70000"),
        ("[serve]\nport = true", "serve.port: expected a whole number from 0 to 65535; got true"),
        ("[serve]\ndrain = -1", "serve.drain: expected a number of at least 0; got -1"),
        ("[serve]\ndrain = nan", "serve.drain: expected a number of at least 0; got nan"),
        ("stt = 3", "stt: expected a table; got 3"),
        (
            "[stt]\nengine = 'lokal'",
            "stt.engine: expected auto, assemblyai, assemblyai/us, assemblyai/eu, local, or a ws://",
        ),
        ("[prompts.a]\npolicy = 'que'", "prompts.a.policy: expected one of conflate, parallel, "),
        ("[prompts.a]\nspeculate = 1", "prompts.a.speculate: expected true or false; got 1"),
        ("[prompts.a]\nsiblings = 'b'", 'prompts.a.siblings: expected a list; got "b"'),
        (
            "[prompts.a]\ntemperature = 3",
            "prompts.a.temperature: expected a number from 0 to 2; got 3",
        ),
        (
            "[[prompts.a.examples]]\nuser = 'x'",
            "prompts.a.examples[0].assistant: missing; expected text",
        ),
    ],
)
def test_an_invalid_value_is_reported_with_the_allowed_ones(text: str, said: str) -> None:
    assert complaint(text=text).startswith(f"pipeline.toml: {said}")


def test_all_invalid_settings_are_reported_at_once() -> None:
    said = complaint(text="[serve]\nport = -1\ndrian = 3", env={"PIPELINE_X__Y": "1"})
    assert [line.split(": ")[1] for line in said.splitlines()] == ["serve.port", "serve.drian", "x"]


def test_text_that_is_not_toml_is_refused_with_its_line() -> None:
    assert complaint(text="[serve\n").startswith("pipeline.toml: not TOML: ")
    assert "line 1" in complaint(text="[serve\n")


def test_a_key_pasted_into_the_settings_is_refused_and_not_repeated() -> None:
    said = complaint(text="[stt]\nkey = 'sk-live-123456'")
    assert "stt.key: expected env:NAME, file:PATH" in said
    assert "123456" not in said


def test_a_key_is_read_from_its_source() -> None:
    write(" from-a-file\n", "key.txt")
    env = {"A": "from-the-environment"}
    for source, value in [("env:A", "from-the-environment"), ("file:key.txt", "from-a-file")]:
        found = find_key(source, env)
        assert found is not None
        assert found.reveal() == value


@pytest.mark.parametrize("source", ["env:NONE", "env:BLANK", ""])
def test_a_missing_key_is_none(source: str) -> None:
    assert find_key(source, {"BLANK": "  "}) is None


def test_a_key_file_that_is_not_there_is_refused() -> None:
    with pytest.raises(SettingsError, match="cannot read a key from gone"):
        find_key("file:gone", {})


def test_a_secret_never_prints_itself() -> None:
    secret = Secret("hush")
    assert "hush" not in f"{secret} {secret!r} {[secret]}"


@pytest.mark.parametrize(
    ("name", "right"),
    [
        ("PIPELINE_SERVE_PORT", "PIPELINE_SERVE__PORT"),
        ("PIPELINE_STT_SPEECH_MODEL", "PIPELINE_STT__SPEECH_MODEL"),
        ("PIPELINE_PROMPTS_MY_OWN_MAX_TOKENS", "PIPELINE_PROMPTS__MY_OWN__MAX_TOKENS"),
        ("PIPELINE_SERVE_TOKENS_BOARD_SECRET", "PIPELINE_SERVE__TOKENS__BOARD__SECRET"),
    ],
)
def test_a_variable_with_an_underscore_too_few_is_refused_with_the_right_name(
    name: str, right: str
) -> None:
    with pytest.raises(SettingsError, match=f"{name}: no such setting; did you mean {right}"):
        load(None, {name: "1"})


@pytest.mark.parametrize("name", ["PIPELINE_TOKEN", "PIPELINE_RUN_ID", "PIPELINE_SERVE", "PATH"])
def test_other_variables_are_left_alone(name: str) -> None:
    assert load(None, {name: "1"}) == load()


def test_a_variable_that_holds_a_key_of_the_settings_is_left_alone() -> None:
    env = {"PIPELINE_STT__KEY": "env:PIPELINE_STT_KEY", "PIPELINE_STT_KEY": "secret"}
    assert load(None, env).stt.key == "env:PIPELINE_STT_KEY"


def test_prompts_with_a_policy_of_their_own_are_known(tmp_path: Path) -> None:
    file = tmp_path / "p.toml"
    file.write_text('[prompts.a]\npolicy = "supersede"\n[prompts.b]\nmodel = "m"\n[prompts.c]\n')
    assert with_policy(file, {"PIPELINE_PROMPTS__C__POLICY": "queue"}) == {"a", "c"}
