"""The samples for systemd and Kubernetes: valid settings, and a server that runs with them."""

import re
import shutil
import signal
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import anyio
import pytest
import yaml

from pipeline.config.loading import load
from pipeline.config.settings import Settings
from pipeline.hub.http_requests import HostCheck
from tests.support import simulate
from tests.support.commandline import running
from tests.support.serving import Served

DEPLOY = Path(__file__).parents[3] / "samples" / "deploy"
UNIT = DEPLOY / "pipeline.service"
MANIFEST = DEPLOY / "kubernetes.yaml"
CLEANUP = 10.0  #: seconds for the cleanup after the drain


class Unit:
    """The systemd unit, with its specifiers replaced."""

    def __init__(self, folder: Path) -> None:
        text = UNIT.read_text("utf-8").replace("%d", str(folder)).replace("%S", str(folder))
        lines = [line.split("=", 1) for line in text.splitlines() if re.match(r"[A-Z]\w+=", line)]
        self.service = {name: value for name, value in lines}  # noqa: C416 - pairs as lists
        self.env = dict(value.split("=", 1) for name, value in lines if name == "Environment")
        loaded = [value for name, value in lines if name == "LoadCredential"]
        self.credentials = [value.split(":")[0] for value in loaded]


class Manifest:
    """The Kubernetes objects."""

    def __init__(self) -> None:
        objects: list[Any] = list(yaml.safe_load_all(MANIFEST.read_text("utf-8")))
        self.by_kind: dict[str, Any] = {each["kind"]: each for each in objects}
        self.pod = self.by_kind["Deployment"]["spec"]["template"]["spec"]
        self.container = self.pod["containers"][0]
        self.config = str(self.by_kind["ConfigMap"]["data"]["pipeline.toml"])

    def settings(self, folder: Path) -> Settings:
        return load(self.written(folder))

    def written(self, folder: Path) -> Path:
        """Write the settings file, with temporary folders instead of mounted volumes."""
        config = self.config.replace("/run/secrets/pipeline", str(folder))
        path = folder / "pipeline.toml"
        path.write_text(config.replace("/var/lib/pipeline", str(folder)))
        return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("assemblyai-key", "operator-token"):
        (tmp_path / name).write_text(f"{name} of a test\n")
    return tmp_path


# --- systemd ---------------------------------------------------------------------------------


def test_the_unit_is_valid_and_restricted(tmp_path: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("no systemd-analyze here")
    there = Path(sys.executable).with_name("pipeline")
    unit = tmp_path / UNIT.name
    unit.write_text(UNIT.read_text("utf-8").replace("/opt/pipeline/bin/pipeline", str(there)))
    verified = subprocess.run([analyze, "verify", str(unit)], capture_output=True, timeout=30)
    assert (verified.returncode, verified.stderr.decode()) == (0, "")
    words = [analyze, "security", "--offline=true", "--threshold=20", str(unit)]  # of 100
    assert subprocess.run(words, capture_output=True, timeout=30).returncode == 0


def test_the_unit_sets_the_keys_and_leaves_time_to_drain(folder: Path) -> None:
    unit = Unit(folder)
    settings = load(env=unit.env)
    assert settings.stt.key == f"file:{folder}/assemblyai-key"
    assert settings.llm.key == settings.stt.key
    assert settings.serve.tokens["operator"].secret == f"file:{folder}/operator-token"
    assert unit.credentials == ["assemblyai-key", "operator-token"]
    assert Path(settings.journal.store).parent.name == unit.service["StateDirectory"]
    assert float(unit.service["TimeoutStopSec"]) >= settings.serve.drain + CLEANUP
    assert unit.service["SuccessExitStatus"] == "143"
    assert unit.service["KillMode"] == "mixed"


async def test_a_server_runs_and_stops_as_in_the_unit(folder: Path) -> None:
    command, *words = Unit(folder).service["ExecStart"].split()
    assert Path(command).name == "pipeline"
    words[words.index("--config") + 1] = str(folder / "pipeline.toml")
    (folder / "pipeline.toml").write_text("")
    await runs(words, Unit(folder).env, folder)


# --- Kubernetes ------------------------------------------------------------------------------


def test_the_manifest_matches_the_settings(folder: Path) -> None:
    manifest, container = Manifest(), Manifest().container
    settings = manifest.settings(folder)
    [port] = container["ports"]
    assert port["containerPort"] == settings.serve.port
    assert settings.serve.host == "0.0.0.0"
    assert settings.serve.tokens
    paths = {probe: container[probe]["httpGet"]["path"] for probe in PROBES}
    assert paths == PROBES
    assert {container[probe]["httpGet"]["port"] for probe in PROBES} == {port["name"]}
    waits = float(container["lifecycle"]["preStop"]["exec"]["command"][1])
    grace = manifest.pod["terminationGracePeriodSeconds"]
    assert grace >= waits + settings.serve.drain + CLEANUP
    assert manifest.by_kind["Service"]["spec"]["ports"][0]["targetPort"] == port["name"]


PROBES = {"startupProbe": "/healthz", "readinessProbe": "/readyz", "livenessProbe": "/healthz"}


def test_the_manifest_is_consistent() -> None:
    manifest, container = Manifest(), Manifest().container
    labels = manifest.by_kind["Deployment"]["spec"]["template"]["metadata"]["labels"]
    assert manifest.by_kind["Deployment"]["spec"]["selector"]["matchLabels"] == labels
    assert manifest.by_kind["Service"]["spec"]["selector"] == labels
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert mounts.keys() == {volume["name"] for volume in manifest.pod["volumes"]}
    for secret in secrets_of(manifest.config):
        assert str(Path(secret.removeprefix("file:")).parent) == mounts["secrets"]
    assert str(Path(tomllib.loads(manifest.config)["journal"]["store"]).parent) == mounts["journal"]
    assert container["command"][:2] == ["pipeline", "serve"]
    assert str(Path(container["command"][-1]).parent) == mounts["config"]
    assert manifest.by_kind["Deployment"]["spec"]["replicas"] == 1


def secrets_of(config: str) -> list[str]:
    tables = tomllib.loads(config)
    tokens = [token["secret"] for token in tables["serve"]["tokens"].values()]
    return [*tokens, tables["stt"]["key"], tables["llm"]["key"]]


def test_the_pod_is_restricted() -> None:
    manifest = Manifest()
    may = manifest.container["securityContext"]
    assert manifest.pod["securityContext"]["runAsNonRoot"] is True
    assert may["allowPrivilegeEscalation"] is False
    assert may["readOnlyRootFilesystem"] is True
    assert may["capabilities"] == {"drop": ["ALL"]}


def test_a_probe_by_the_address_of_the_pod_is_accepted(folder: Path) -> None:
    gate = HostCheck(Manifest().settings(folder).serve.host)
    assert gate.refusal({"Host": "10.1.2.3:8780"}) is None


async def test_a_server_runs_and_stops_as_in_the_manifest(folder: Path) -> None:
    manifest = Manifest()
    words: list[str] = manifest.container["command"][1:]
    words[words.index("--config") + 1] = str(manifest.written(folder))
    await runs(words, {}, folder)


async def runs(words: list[str], env: Mapping[str, str], folder: Path) -> None:
    """Start a server with ``words`` and scripted engines; send the probes' requests; stop it."""
    async with simulate([]) as sim:
        engines = ["--stt", sim.stt_url, "--llm", sim.llm_url, "--model", "scripted"]
        loopback = ["--host", "127.0.0.1", "--port", "0"]
        async with running(*words, *engines, *loopback, env=env) as process:
            url = (await process.line(holding="listening on")).split("listening on ")[1]
            served = Served(process, sim, url.split(";")[0])
            for path in set(PROBES.values()):
                assert (await served.request(path)).status_code == 200
            assert (await served.request("/metrics")).status_code == 401
            bearer = {"Authorization": "Bearer operator-token of a test"}
            assert (await served.request("/metrics", headers=bearer)).status_code == 200
            assert await process.stop(signal.SIGTERM) == 143
    assert [file async for file in anyio.Path(folder).rglob("journal.db")]
