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
    status = tmp_path / "root" / "var" / "lib" / "dpkg" / "status"
    status.parent.mkdir(parents=True)
    status.write_text(
        "Package: openssl\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1:3.0.17-1~deb12u2\n"
        "Description: keys\n Version: of a paragraph\n\n"
        "Package: gone\nStatus: deinstall ok config-files\nArchitecture: all\nVersion: 1\n"
    )
    script = ROOT / "deploy" / "image" / "sbom"
    subprocess.run([script, target, tmp_path / "root"], check=True, capture_output=True)
    bill = json.loads(target.read_text())
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    assert bill["metadata"]["component"]["name"] == "everwatch"
    locked = re.findall(r"^([\w.-]+)==([^\s;\\]+)", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
    listed = {(each["name"].lower(), each["version"]): each for each in bill["components"]}
    assert set(locked) <= set(listed)
    others = {each["name"]: each for each in bill["components"] if "externalReferences" not in each}
    assert set(others) == {"python", "openssl"}
    assert f"sha256:{others['python']['hashes'][0]['content']}" in (ROOT / "deploy" / "Dockerfile").read_text()
    assert others["openssl"]["purl"] == "pkg:deb/debian/openssl@1%3A3.0.17-1~deb12u2?arch=amd64"
    packages = [each for each in bill["components"] if each["name"] not in others]
    assert all(each["externalReferences"][0]["hashes"] for each in packages)
