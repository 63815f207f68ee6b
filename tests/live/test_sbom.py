"""deploy/image/sbom lists what requirements.lock installs."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.live
@pytest.mark.skipif(shutil.which("uvx") is None, reason="there is no uvx: pip install uv")
def test_every_locked_package_is_listed_with_its_version_and_hashes(tmp_path: Path) -> None:
    target = tmp_path / "everwatch.cdx.json"
    subprocess.run([ROOT / "deploy" / "image" / "sbom", target], check=True, capture_output=True)
    bill = json.loads(target.read_text())
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    assert bill["metadata"]["component"]["name"] == "everwatch"
    locked = re.findall(r"^([\w.-]+)==([^\s;\\]+)", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
    listed = {(each["name"].lower(), each["version"]): each for each in bill["components"]}
    assert set(locked) <= set(listed)
    assert all(each["externalReferences"][0]["hashes"] for each in listed.values())
