"""Adds the base image of deploy/Dockerfile, and the Debian packages of an image's files, to a CycloneDX document.

Usage: ``base_components.py DOCUMENT [ROOTFS]``. ``ROOTFS``: a folder with the files of the image.
"""

import json
import re
import sys
from pathlib import Path
from typing import Any
from urllib.parse import quote

DOCKERFILE = Path(__file__).parents[1] / "Dockerfile"
INSTALLED = "install ok installed"


def base_image(dockerfile: str) -> dict[str, Any]:
    """Return the component of the base image that a Dockerfile names. Raises SystemExit if it names no digest."""
    found = re.search(r"^ARG BASE=(\w+):([\w.-]+)@sha256:([0-9a-f]{64})$", dockerfile, re.MULTILINE)
    if found is None:
        raise SystemExit("deploy/Dockerfile names no base image with a digest")
    name, version, digest = found.groups()
    purl = f"pkg:docker/{name}@sha256:{digest}?tag={quote(version)}"
    return {
        "type": "container",
        "bom-ref": purl,
        "name": name,
        "version": version,
        "hashes": [{"alg": "SHA-256", "content": digest}],
        "purl": purl,
    }


def debian_packages(root: Path) -> list[dict[str, Any]]:
    """Return the components of the Debian packages that are installed in a folder, by name."""
    status = (root / "var" / "lib" / "dpkg" / "status").read_text("utf-8")
    found = []
    for paragraph in status.split("\n\n"):
        fields = dict(re.findall(r"^([A-Z][\w-]*): (.*)$", paragraph, re.MULTILINE))
        if fields.get("Status") != INSTALLED:
            continue
        name, version = fields["Package"], fields["Version"]
        purl = f"pkg:deb/debian/{name}@{quote(version, safe='.+~-')}?arch={fields['Architecture']}"
        found.append({"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl})
    return sorted(found, key=lambda each: each["name"])


def main(document: Path, root: Path | None) -> None:
    """Add the components to the document."""
    bill = json.loads(document.read_text("utf-8"))
    bill["components"] += [base_image(DOCKERFILE.read_text("utf-8")), *(debian_packages(root) if root else [])]
    document.write_text(json.dumps(bill, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else None)
