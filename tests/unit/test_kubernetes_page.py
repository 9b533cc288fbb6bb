"""The objects in docs/connecting.md are valid, and mount the files that their variables name."""

from __future__ import annotations

import re
from typing import Any

import kubernetes_validate
import yaml

from els_stream.config.settings import Settings
from els_stream.config.settings_reference import rows
from tests.support.generated_docs import DOCS

RELEASE = "1.33"


def objects() -> dict[str, Any]:
    (block,) = re.findall(r"```yaml\n(.*?)```", (DOCS / "connecting.md").read_text(), re.DOTALL)
    return {found["kind"]: found for found in yaml.safe_load_all(block)}


def test_they_are_valid() -> None:
    for found in objects().values():
        kubernetes_validate.validate(found, RELEASE, strict=True)


def test_every_variable_is_a_setting_and_every_file_is_mounted() -> None:
    (container,) = objects()["Deployment"]["spec"]["template"]["spec"]["containers"]
    (mount,) = container["volumeMounts"]
    variables = {entry["name"]: entry["value"] for entry in container["env"]}

    assert set(variables) <= {row.variable for row in rows(Settings)}
    mounted = {f"{mount['mountPath']}/{name}" for name in objects()["Secret"]["stringData"]}
    assert mounted == {value for name, value in variables.items() if name.endswith("_FILE")}
