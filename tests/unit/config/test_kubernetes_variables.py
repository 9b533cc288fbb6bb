"""The variables that Kubernetes sets in a pod for the Services of its namespace are no settings."""

from __future__ import annotations

import pytest

from els_stream.config.settings import load_settings
from els_stream.errors import ConfigurationError


def service(name: str, port: int) -> dict[str, str]:
    """Return what the kubelet sets for a Service with one named port."""
    address, link = "10.43.7.12", f"tcp://10.43.7.12:{port}"
    return {
        f"{name}_SERVICE_HOST": address,
        f"{name}_SERVICE_PORT": str(port),
        f"{name}_SERVICE_PORT_HTTP": str(port),
        f"{name}_PORT": link,
        f"{name}_PORT_{port}_TCP": link,
        f"{name}_PORT_{port}_TCP_PROTO": "tcp",
        f"{name}_PORT_{port}_TCP_PORT": str(port),
        f"{name}_PORT_{port}_TCP_ADDR": address,
    }


@pytest.mark.parametrize("name", ["ELS", "ELS_WEB", "ELS_POOL_SIZE"])
def test_variables_of_a_service_are_ignored_with_one_line(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for variable, value in service(name, 6066).items():
        monkeypatch.setenv(variable, value)

    settings = load_settings()

    assert settings.web_port == 6066
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"els: {name}_PORT and 7 more: set by Kubernetes for a Service, not a setting, ignored")


def test_a_port_given_as_an_option_counts_beside_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ELS_WEB_PORT", "tcp://10.43.7.12:6066")

    assert load_settings(web_port=7000).web_port == 7000


@pytest.mark.parametrize("value", ["tcp:6066", "http://10.43.7.12:6066", "6066/tcp"])
def test_a_wrong_port_of_another_form_is_refused(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ELS_WEB_PORT", value)

    with pytest.raises(ConfigurationError, match="ELS_WEB_PORT"):
        load_settings()
