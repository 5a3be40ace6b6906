"""One frozen Settings: sources in order, every mistake named, secrets never shown."""

import copy
import logging
import pickle
from collections.abc import Mapping
from pathlib import Path

import msgspec
import pytest

from gateway.settings import ReplicaSettings, Settings, SettingsError

CANARY = "canary-0f3a9c-which-must-never-be-seen"


def load(env: Mapping[str, str] | None = None, flags: Mapping[str, object] | None = None, file: Path | None = None) -> Settings:
    return Settings.load(flags or {}, env or {}, file)


def written(folder: Path, text: str) -> Path:
    file = folder / "tallylight.toml"
    file.write_text(text)
    return file


def test_flags_win_over_environment_over_file_over_default(tmp_path: Path) -> None:
    file = written(tmp_path, 'host = "file"\nport = 1\nworkers = 2\n')
    settings = load({"TALLYLIGHT_PORT": "3", "TALLYLIGHT_WORKERS": "4"}, {"workers": 5, "poll_s": None}, file)
    assert (settings.host, settings.port, settings.workers, settings.poll_s) == ("file", 3, 5, 1.0)


def test_every_source_speaks_its_own_types(tmp_path: Path) -> None:
    replica = ReplicaSettings(name="a", url="host:8001", models=("wan", "ltx"), slots=2)
    file = written(tmp_path, '[[replicas]]\nname = "a"\nurl = "host:8001"\nmodels = ["wan", "ltx"]\nslots = 2\n')
    text = '[{"name": "a", "url": "host:8001", "models": ["wan", "ltx"], "slots": 2}]'
    assert load(file=file).replicas == load({"TALLYLIGHT_REPLICAS": text}).replicas == (replica,)
    assert load({"TALLYLIGHT_EGRESS_NETWORKS": '["10.1.0.0/16"]'}).egress_networks == ("10.1.0.0/16",)
    assert load({"TALLYLIGHT_S3_ALLOW_HTTP": "true"}).s3_allow_http is True
    assert load(flags={"poll_s": "2"}).poll_s == 2.0


@pytest.mark.parametrize(
    "env,sentence",
    [
        ({"TALLYLIGHT_PROT": "1"}, "TALLYLIGHT_PROT is no setting; did you mean port?"),
        ({"TALLYLIGHT_PORT_FILE": "/x"}, "TALLYLIGHT_PORT_FILE is no setting; did you mean port?"),
        ({"TALLYLIGHT_PORT": "x"}, "TALLYLIGHT_PORT must be `int`; got 'x'"),
        ({"TALLYLIGHT_PORT": "70000"}, "TALLYLIGHT_PORT must be `int` <= 65535; got '70000'"),
        ({"TALLYLIGHT_POLL_S": "inf"}, "TALLYLIGHT_POLL_S must be `float` <= 31622400.0; got 'inf'"),
        ({"TALLYLIGHT_POLL_S": "nan"}, "TALLYLIGHT_POLL_S must be `float` > 0.0; got 'nan'"),
        ({"TALLYLIGHT_LOG_LEVEL": "loud"}, "TALLYLIGHT_LOG_LEVEL must be one of debug, info, warning, error; got 'loud'"),
        ({"TALLYLIGHT_MEDIA_URL": "gs://x"}, "TALLYLIGHT_MEDIA_URL must be file:///folder or s3://bucket/prefix; got 'gs://x'"),
        ({"TALLYLIGHT_REPLICAS": "x"}, "TALLYLIGHT_REPLICAS must be a JSON list: "),
        ({"TALLYLIGHT_REPLICAS": '[{"name": "a", "link": 1}]'}, "TALLYLIGHT_REPLICAS must be "),
        ({"TALLYLIGHT_DSN": "a", "TALLYLIGHT_DSN_FILE": "b"}, "TALLYLIGHT_DSN_FILE and TALLYLIGHT_DSN are both given: give one"),
        ({"TALLYLIGHT_DSN_FILE": "/none"}, "TALLYLIGHT_DSN_FILE must be the path of a readable text file: "),
    ],
)
def test_a_wrong_value_is_named_with_what_is_accepted(env: dict[str, str], sentence: str) -> None:
    with pytest.raises(SettingsError) as raised:
        load(env)
    assert str(raised.value).startswith(sentence)


@pytest.mark.parametrize(
    "text,sentence",
    [
        ("prot = 1", "prot in {file} is no setting; did you mean port?"),
        ("port = 'x'", "port in {file} must be `int`; got 'x'"),
        ("dsn = 1", "dsn in {file} must be text"),
        ("port = ", "{file} cannot be read as a TOML configuration: "),
    ],
)
def test_a_mistake_in_the_file_names_the_file(tmp_path: Path, text: str, sentence: str) -> None:
    file = written(tmp_path, text)
    with pytest.raises(SettingsError) as raised:
        load(file=file)
    assert str(raised.value).startswith(sentence.format(file=file))


def test_a_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be read"):
        load(file=tmp_path / "none.toml")


@pytest.mark.parametrize(
    "flags,sentence",
    [
        ({"heartbeat_s": 6.0}, "lease_ttl_s (12.0) must exceed twice heartbeat_s (6.0)"),
        ({"stall_s": 4000}, "stall_s (4000.0) must not exceed attempt_deadline_s (3600.0)"),
        ({"pool_min": 9}, "pool_min (9) must not exceed pool_max (8)"),
        ({"request_body_max_bytes": 9}, "json_body_max_bytes (16777216) must not exceed request_body_max_bytes (9)"),
        ({"link_ttl_s": 604801}, "link_ttl_s (604801) must not exceed artifact_retention_s (604800)"),
        ({"link_secret": "short"}, "link_secret must have 32 characters or more"),
        ({"s3_access_key": "a"}, "s3_access_key and s3_secret_key must be given together"),
        ({"s3_endpoint": "http://s3"}, "s3_endpoint has no TLS"),
        ({"egress_networks": ["10.1.0.1/16"]}, "egress_networks must be blocks such as 10.1.0.0/16: "),
        (
            {"replicas": [{"name": "a", "url": "h:1", "models": ["m"]}, {"name": "a", "url": "h:2", "models": ["m"]}]},
            "replicas must have different names, got a, a",
        ),
    ],
)
def test_settings_that_contradict_each_other_are_refused(flags: dict[str, object], sentence: str) -> None:
    with pytest.raises(SettingsError) as raised:
        load(flags=flags)
    assert str(raised.value).startswith(sentence)


def test_a_lease_just_above_two_heartbeats_is_accepted() -> None:
    assert load(flags={"heartbeat_s": 5.9}).heartbeat_s == 5.9


def test_a_secret_comes_from_a_file_beside_the_configuration_or_by_absolute_path(tmp_path: Path) -> None:
    (tmp_path / "dsn").write_text("postgresql://here\n")
    assert load(file=written(tmp_path, 'dsn_file = "dsn"')).dsn.reveal() == "postgresql://here"
    assert load({"TALLYLIGHT_DSN_FILE": str(tmp_path / "dsn")}).dsn.reveal() == "postgresql://here"
    assert load({"TALLYLIGHT_DSN": "b"}, file=written(tmp_path, 'dsn_file = "dsn"')).dsn.reveal() == "b"


def test_a_secret_never_shows_itself(caplog: pytest.LogCaptureFixture) -> None:
    settings = load({"TALLYLIGHT_LINK_SECRET": CANARY, "TALLYLIGHT_DSN": CANARY})
    logging.getLogger("t").warning("%s %r %s", settings, settings, settings.link_secret)
    shown = [repr(settings), f"{settings.dsn}", f"{settings.dsn!r}", caplog.text, str(msgspec.structs.asdict(settings))]
    with pytest.raises(SettingsError) as raised:
        msgspec.structs.replace(settings, pool_min=9)
    assert not [text for text in [*shown, str(raised.value)] if CANARY in text]
    for leak in (lambda: pickle.dumps(settings.dsn), lambda: msgspec.json.encode(settings), lambda: copy.deepcopy(settings.dsn)):
        with pytest.raises(TypeError):
            leak()
    assert settings.dsn.reveal() == CANARY


def test_what_a_process_requires_is_named_when_it_is_missing() -> None:
    load({"TALLYLIGHT_DSN": "x", "TALLYLIGHT_LINK_SECRET": CANARY}).require("dsn", "link_secret", "host")
    with pytest.raises(SettingsError, match="TALLYLIGHT_LINK_SECRET or TALLYLIGHT_LINK_SECRET_FILE"):
        load({"TALLYLIGHT_DSN": "x"}).require("dsn", "link_secret")


def test_a_child_process_reads_the_same_settings() -> None:
    replicas = [{"name": "a", "url": "host:8001", "models": ["wan"]}]
    settings = load(
        flags={"dsn": CANARY, "link_secret": CANARY, "port": 9, "s3_allow_http": True, "replicas": replicas, "poll_s": 0.25}
    )
    parent = {"PATH": "/bin", "TALLYLIGHT_PORT": "7", "TALLYLIGHT_DSN_FILE": "/gone", "TALLYLIGHT_API_KEY": "k"}
    child = settings.environment(parent)
    assert (child["PATH"], child["TALLYLIGHT_API_KEY"], child["TALLYLIGHT_PORT"]) == ("/bin", "k", "9")
    assert Settings.load({}, child) == settings
