"""The console's vendored modules are the files that vendor.lock names, and pages import only files that there are."""

import hashlib
import json
import re
from importlib.resources import files
from pathlib import Path

import pytest

from everwatch.console.bundling import Bundles, Unbundled
from everwatch.console.files import ConsoleFiles

STATIC = Path(str(files("everwatch.console"))) / "static"
FOLDERS = [STATIC / "vendor", Path(__file__).parent.parent / "data" / "vendor"]
# statements begin a line in modules of the console, and stand anywhere in minified ones
STATEMENT = r"""(?:^|[;}])(?:import|export)\b[^"'`;=(]*?["']([^"']+)["']"""
CALL = r"""\bimport\(\s*["']([^"']+)["']"""
IMPORT = re.compile(f"{STATEMENT}|{CALL}", re.MULTILINE)
BUDGET = 75 * 1024
"""Bytes that a browser loads for the first page; the chart comes when there is one."""
APART = ("early.js", "uplot.js")
"""Scripts that are in no bundle."""
MODULES = sorted(each for each in STATIC.rglob("*.js") if each.parent.name != "vendor")


def imports_of(module: Path) -> list[str]:
    """Return what a module imports, as it names it."""
    return [static or dynamic for static, dynamic in IMPORT.findall(module.read_text())]


@pytest.mark.parametrize("folder", FOLDERS, ids=["console", "tests"])
def test_vendored_files_are_those_of_the_lock_with_their_licences(folder: Path) -> None:
    lock = json.loads((folder / "vendor.lock").read_text())
    locked = {name: digest for package in lock.values() for name, digest in package["files"].items()}
    present = {each.name: hashlib.sha256(each.read_bytes()).hexdigest() for each in folder.iterdir()}
    del present["vendor.lock"]
    assert present == locked
    for name, package in lock.items():
        assert package["licence"], name
        assert any(each.endswith(".LICENSE.txt") for each in package["files"]), name


def test_vendored_modules_import_each_other_only() -> None:
    for module in (STATIC / "vendor").glob("*.js"):
        for name in imports_of(module):
            assert name.startswith("./") and (STATIC / "vendor" / name).is_file(), f"{module.name} imports {name}"


@pytest.mark.parametrize("module", MODULES, ids=lambda each: str(each.relative_to(STATIC)))
def test_modules_import_files_that_there_are(module: Path) -> None:
    for name in imports_of(module):
        assert name.startswith("."), f"a browser cannot resolve {name!r}"
        assert (module.parent / name).is_file(), f"{name!r} is not there"


def loaded_with(module: Path, known: set[Path]) -> set[Path]:
    """A module, and all that it imports at its beginning."""
    if module not in known:
        known.add(module)
        for name, lazily in IMPORT.findall(module.read_text()):
            if not lazily:
                loaded_with((module.parent / name).resolve(), known)
    return known


def bundles_of(page: bytes) -> list[str]:
    """The scripts that a page asks for at once."""
    return re.findall(r'(?:href|src)="/console/@[0-9a-f]+/([^"]+\.js)"', page.decode())


def defined_in(bundle: str) -> set[Path]:
    """The modules that a bundle hands over."""
    found = ConsoleFiles().find(f"bundles/{bundle}")
    assert found is not None
    return {
        STATIC / name for name in re.findall(r'^\$everwatch\.define\("([^"]+)"', found.content.decode(), re.MULTILINE)
    }


def test_a_page_asks_at_once_for_two_bundles_that_have_all_modules_that_it_needs() -> None:
    """A module that is found only in another one costs a cold start the time of one more answer."""
    files = ConsoleFiles()
    views = re.findall(
        r'path: "([a-z-]*)".*?import\("\.\./(pages/[a-z-]+\.js)"\)', (STATIC / "app/pages.js").read_text()
    )
    assert len(views) > 10
    views += [
        ("users/a%2Fb", "pages/user.js"),
        ("users/a/monitors/b.js", "pages/monitor.js"),
        ("incidents/7", "pages/incident.js"),
    ]
    shell = defined_in("app/main.js")
    assert shell >= loaded_with(STATIC / "app" / "main.js", set())
    for view, module in views:
        page = files.find(view)
        assert page is not None
        assert sorted(bundles_of(page.content)) == sorted(["early.js", "bundles/app/main.js", f"bundles/{module}"])
        own = defined_in(module)
        assert own | shell >= loaded_with(STATIC / module, set()), view
        assert not own & shell
    other = files.find("no/such/view/at/all")
    assert other is not None
    assert bundles_of(other.content) == ["early.js", "bundles/app/main.js"]
    assert shell | defined_in("rest.js") == {each for each in STATIC.rglob("*.js") if each.name not in APART}


def test_a_module_that_bundles_cannot_take_is_refused_by_name() -> None:
    main = 'import a, { b as c } from "./b.js";\nimport "./c.js";\nexport { d } from "./c.js";\nc(a);\n'
    others = {
        "app/b.js": "export default function (x) {}\nexport const b = () => import('../pages/p.js');\n",
        "app/c.js": "const e = 1;export{e as d};",
        "pages/p.js": "export class P {}\n",
    }
    said = Bundles({"app/main.js": main.replace("a, ", ""), **others}).text("app/main.js")
    assert 'const { b: c } = $everwatch.need("app/b.js");' in said
    assert 'd: $everwatch.need("app/c.js").d' in said
    assert 'const b = () => $everwatch.part("pages/p.js")' in said
    assert said.endswith('$everwatch.need("app/main.js");\n')
    assert "const $default = function (x) {}" in said
    for wrong in (main, "export let a = 1;\n", "export * from './b.js';\n", "export const { a } = window;\n"):
        with pytest.raises(Unbundled, match=r"app/main\.js"):
            Bundles({"app/main.js": wrong, **others}).text("app/main.js")


def test_modules_do_not_need_each_other() -> None:
    def needs(module: Path, path: tuple[Path, ...]) -> None:
        assert module not in path, f"{[each.name for each in path]} come back to {module.name}"
        for static, dynamic in IMPORT.findall(module.read_text()):
            if not dynamic:
                needs((module.parent / static).resolve(), (*path, module))

    needs(STATIC / "app" / "main.js", ())
    for page in STATIC.glob("pages/*.js"):
        needs(page, ())


def test_what_a_cold_start_loads_is_small() -> None:
    files = ConsoleFiles()
    sizes = []
    for page in STATIC.glob("pages/*.js"):
        asked = ("early.js", "bundles/all.css", "bundles/app/main.js", f"bundles/pages/{page.name}", "index.html")
        found = {name: file for name in asked if (file := files.find(name))}
        assert found.keys() == set(asked)
        sizes.append(sum(len(each.packed or each.content) for each in found.values()))
    assert max(sizes) <= BUDGET


def test_nothing_is_inline_that_the_content_security_policy_forbids() -> None:
    page = (STATIC / "index.html").read_text()
    assert not re.search(r"<script(?![^>]*\bsrc=)", page)
    assert "<style" not in page and " style=" not in page
    for module in MODULES:
        text = module.read_text()
        assert not re.search(r"\beval\(|new Function|innerHTML|setAttribute\(\s*[\"']style", text), module.name
        # a style as text would be an attribute; as an object it is set by script, which the policy allows
        assert not re.search(r"\bstyle=\"|\bstyle=\$\{`", text), module.name
