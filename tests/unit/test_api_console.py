"""The console's files over HTTP: what is served, with which headers, and what is not."""

import gzip
import json
import re
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from support.api import Api, api

from everwatch.api.console_routes import takes_gzip

PAGE = "<!doctype html><title>Everwatch</title>"
SCRIPT = "export const answer = 42;\n" * 100
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:;"
    " form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    static = tmp_path / "static"
    (static / "vendor").mkdir(parents=True)
    (static / "index.html").write_text(PAGE)
    (static / "vendor" / "app.js").write_text(SCRIPT)
    (static / "logo.svg").write_text("<svg/>")
    # what is no page of the console
    (static / ".secret.js").write_text("hidden")
    (static / "notes.md").write_text("of another type")
    (tmp_path / "outside.txt").write_text("outside")
    (static / "link.txt").symlink_to(tmp_path / "outside.txt")
    return static


@pytest.fixture
async def server(folder: Path) -> AsyncIterator[Api]:
    async with api(console=folder) as running:
        yield running


async def test_files_come_with_their_type_and_a_policy_that_allows_nothing_inline_and_nothing_of_others(
    server: Api,
) -> None:
    for path, content_type, content in (
        ("", "text/html; charset=utf-8", PAGE),
        ("index.html", "text/html; charset=utf-8", PAGE),
        ("vendor/app.js", "text/javascript; charset=utf-8", SCRIPT),
        ("logo.svg", "image/svg+xml", "<svg/>"),
    ):
        found = await server.call("GET", f"/console/{path}", token=None)
        assert (found.status, found.data.decode()) == (200, content)
        assert found.headers["Content-Type"] == content_type
        assert found.headers["Content-Security-Policy"] == POLICY
        assert found.headers["X-Content-Type-Options"] == "nosniff"
        assert found.headers["X-Frame-Options"] == "DENY"
        assert found.headers["Cross-Origin-Opener-Policy"] == "same-origin"
        assert found.headers["Referrer-Policy"] == "no-referrer"
        assert found.headers["Cache-Control"] == "no-cache"


async def test_a_view_is_a_path_with_its_own_query_and_gets_the_page(server: Api) -> None:
    for path in ("monitors?state=down&sort=changed", "users/ann%2Fbob/monitors/site.js", "vendor/", "vendor"):
        assert (await server.call("GET", f"/console/{path}", token=None)).data.decode() == PAGE
    head = await server.call("HEAD", "/console/monitors", token=None)
    assert (head.status, head.data, head.headers["Content-Length"]) == (200, b"", str(len(PAGE)))


@pytest.mark.parametrize(
    "path", [".secret.js", "notes.md", "link.txt", "../outside.txt", "..%2foutside.txt", "//etc/passwd"]
)
async def test_no_path_leads_out_of_the_folder_or_to_what_is_hidden(server: Api, path: str) -> None:
    found = await server.call("GET", f"/console/{path}", token=None)
    assert found.status == 404 or found.data.decode() == PAGE


async def test_a_file_that_has_not_changed_is_not_sent_again(server: Api) -> None:
    first = await server.call("GET", "/console/vendor/app.js", token=None, Accept_Encoding="identity")
    again = await server.call(
        "GET", "/console/vendor/app.js", token=None, Accept_Encoding="identity", If_None_Match=first.headers["ETag"]
    )
    assert (again.status, again.data) == (304, b"")
    assert again.headers["Content-Security-Policy"] == POLICY
    page = await server.call("GET", "/console/", token=None, If_None_Match=first.headers["ETag"])
    assert page.status == 200


async def test_a_file_is_kept_for_good_where_its_address_names_the_version_and_the_page_does_so(folder: Path) -> None:
    page = '<head><link href="/console/logo.svg"></head><script src="/console/vendor/app.js"></script>'
    (folder / "index.html").write_text(page)
    async with api(console=folder) as running:
        first = await running.call("GET", "/console/monitors", token=None)
        [script] = re.findall(r'src="(/console/@[0-9a-f]+/vendor/app\.js)"', first.data.decode())
        assert first.headers["Cache-Control"] == "no-cache"
        own = await running.call("GET", script, token=None)
        assert (own.data.decode(), own.headers["Cache-Control"]) == (SCRIPT, "public, max-age=31536000, immutable")
        # a page that came from a process of another version
        other = await running.call("GET", "/console/@0123/vendor/app.js", token=None)
        assert (other.data.decode(), other.headers["Cache-Control"]) == (SCRIPT, "no-cache")
        assert (await running.call("GET", "/console/@0123/vendor/gone.js", token=None)).status == 404
    (folder / "logo.svg").write_text("<svg></svg>")
    async with api(console=folder) as running:
        then = await running.call("GET", "/console/", token=None)
        assert then.headers["ETag"] != first.headers["ETag"]
        assert script not in then.data.decode()


async def test_a_browser_gets_it_compressed_and_a_cache_tells_both_forms_apart(server: Api) -> None:
    plain = await server.call("GET", "/console/vendor/app.js", token=None, Accept_Encoding="identity")
    server.session._auto_decompress = False
    packed = await server.call("GET", "/console/vendor/app.js", token=None, Accept_Encoding="br, gzip")
    assert packed.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(packed.data).decode() == SCRIPT
    assert len(packed.data) < len(SCRIPT) / 5
    assert packed.headers["ETag"] != plain.headers["ETag"]
    assert packed.headers["Vary"] == plain.headers["Vary"] == "Accept-Encoding"
    assert not takes_gzip("gzip;q=0, br")
    assert takes_gzip("deflate, GZIP;q=0.5")


async def test_the_address_alone_leads_to_the_console(server: Api) -> None:
    for path in ("/", "/console", "/?x=1"):
        sent = await server.call("GET", path, token=None)
        assert (sent.status, sent.headers["Location"]) == (308, "/console/")


async def test_files_are_read_only(server: Api) -> None:
    for method in ("POST", "PUT", "DELETE"):
        assert (await server.call(method, "/console/index.html", token=None)).code == "method_not_allowed"


async def test_without_files_there_is_no_console_and_the_rest_is_there(tmp_path: Path) -> None:
    async with api(console=tmp_path / "nothing") as running:
        assert (await running.call("GET", "/console/", token=None)).code == "no_console"
        assert (await running.call("GET", "/healthz", token=None)).status == 200


async def test_the_document_for_programs_does_not_name_pages(server: Api) -> None:
    paths = json.loads((await server.call("GET", "/openapi.json", token=None)).data)["paths"]
    assert not [path for path in paths if path.startswith("/console")]
    assert "/" not in paths


def test_git_keeps_every_file_of_the_console() -> None:
    """Files that git ignores would be missing in a wheel: its builder has the same rules."""
    root = Path(__file__).parents[2]
    path = "src/everwatch/console/static/vendor/app.js"
    assert subprocess.run(["git", "check-ignore", "-q", path], cwd=root, check=False).returncode == 1
