"""Bundles of the console's modules, made when they are first asked for: one answer instead of forty.

A module becomes a function that returns its exports; ``early.js`` keeps these functions and calls each once, when it is
first needed. That takes modules as those of the console are: each statement of import and export begins a line (or
follows a semicolon or a bracket, in minified ones), what is exported is not assigned anew, and none imports itself by
way of others.
"""

import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from functools import cached_property
from pathlib import PurePosixPath

START = "app/main.js"
REST = "rest.js"
"""The bundle of all pages, which a console that is open loads for the next ones."""
_PAGES = "pages/"
# a module that this many pages import is in the first bundle
_SHARED_FROM = 4
_BEGIN = r"(?:^|(?<=[;}]))"
_FROM = r"""["'](?P<where>\.[^"']+)["'];?"""
_IMPORT = re.compile(
    rf"{_BEGIN}import\s*(?:(?P<default>\w+)\s*)?(?P<names>{{[^}}]*}})?\s*(?:from\s*)?{_FROM}", re.MULTILINE
)
_REEXPORT = re.compile(rf"{_BEGIN}export\s*(?P<names>{{[^}}]*}})\s*from\s*{_FROM}", re.MULTILINE)
_EXPORT_NAMES = re.compile(rf"{_BEGIN}export\s*(?P<names>{{[^}}]*}});?", re.MULTILINE)
_EXPORT_DEFAULT = re.compile(rf"{_BEGIN}export\s+default\s+", re.MULTILINE)
_EXPORT = re.compile(rf"{_BEGIN}export\s+(?=(?:const|(?:async\s+)?function\*?|class)\s+(?P<name>\w+))", re.MULTILINE)
_LAZILY = re.compile(r"""\bimport\(\s*["'](?P<where>\.[^"']+)["']\s*\)""")
_LEFT = re.compile(rf"{_BEGIN}(?:import|export)\b(?!\()", re.MULTILINE)


class Unbundled(Exception):
    """A module is not as bundles take them."""


class Bundles:
    """Bundles of modules, by the names of their files; ``texts`` are all modules."""

    def __init__(self, texts: Mapping[str, str]) -> None:
        self._texts = texts
        self._imported: dict[str, list[str]] = {}

    @property
    def names(self) -> list[str]:
        """Return the names of all bundles: of the start, of each page, and of all pages."""
        return [START, *self._pages, REST]

    def text(self, name: str) -> str:
        """Return a bundle. Raises Unbundled for a module that is not as they must be."""
        if name == START:
            modules: Collection[str] = self.shell
        elif name == REST:
            modules = {module for page in self._pages for module in self.needed_by(page)} - self.shell
        else:
            modules = self.needed_by(name) - self.shell
        made = [_defined(module, self._texts[module]) for module in sorted(modules)]
        begin = f'$everwatch.need("{START}");\n' if name == START else ""
        return "const $everwatch = window.everwatch;\n" + "".join(made) + begin

    @cached_property
    def shell(self) -> set[str]:
        """The modules of the first bundle: what every page needs, and what many do."""
        of_all = self.needed_by(START)
        shared = Counter(module for page in self._pages for module in self.needed_by(page))
        return of_all | {module for module, pages in shared.items() if pages >= _SHARED_FROM}

    def needed_by(self, module: str) -> set[str]:
        """Return a module and all that it imports at its beginning."""
        known: set[str] = set()
        waiting = [module]
        while waiting:
            if (name := waiting.pop()) not in known:
                known.add(name)
                waiting += self._imports(name)
        return known

    @property
    def _pages(self) -> list[str]:
        return sorted(name for name in self._texts if name.startswith(_PAGES))

    def _imports(self, module: str) -> list[str]:
        if module not in self._imported:
            text = self._texts[module]
            found = [each["where"] for pattern in (_IMPORT, _REEXPORT) for each in pattern.finditer(text)]
            self._imported[module] = [_joined(module, where) for where in found]
        return self._imported[module]


def _defined(module: str, text: str) -> str:
    """Return the statement that hands a module over as a function."""
    exports: list[str] = []

    def taken(found: re.Match[str]) -> str:
        needed = f'$everwatch.need("{_joined(module, found["where"])}")'
        names = list(_renamed(found["names"] or ""))
        if found["default"]:
            names.append(("default", found["default"]))
        return (
            f"const {{ {', '.join(f'{name}: {own}' for name, own in names)} }} = {needed};" if names else f"{needed};"
        )

    def passed_on(found: re.Match[str]) -> str:
        needed = f'$everwatch.need("{_joined(module, found["where"])}")'
        exports.extend(f"{own}: {needed}.{name}" for name, own in _renamed(found["names"]))
        return ""

    def named(found: re.Match[str]) -> str:
        exports.extend(f"{own}: {name}" for name, own in _renamed(found["names"]))
        return ""

    def declared(found: re.Match[str]) -> str:
        exports.append(found["name"])
        return ""

    def by_default(_: re.Match[str]) -> str:
        exports.append("default: $default")
        return "const $default = "

    def lazily(found: re.Match[str]) -> str:
        other = _joined(module, found["where"])
        if other.startswith(_PAGES):
            return f'$everwatch.part("{other}")'
        # no module of a bundle: it imports nothing
        return f'import($everwatch.at("{other}"))'

    text = _LAZILY.sub(lazily, text).replace("import.meta.url", f'$everwatch.at("{module}")')
    for pattern, replaced in (
        (_IMPORT, taken),
        (_REEXPORT, passed_on),
        (_EXPORT_NAMES, named),
        (_EXPORT_DEFAULT, by_default),
        (_EXPORT, declared),
    ):
        text = pattern.sub(replaced, text)
    if left := _LEFT.search(text):
        raise Unbundled(
            f"{module} has a statement that bundles do not take: {text[left.start() : left.start() + 60]!r}"
        )
    return f'$everwatch.define("{module}", () => {{\n{text}\nreturn {{ {", ".join(exports)} }};\n}});\n'


def _renamed(names: str) -> Iterator[tuple[str, str]]:
    """Yield the pairs of ``{ a, b as c }``: (a, a), (b, c)."""
    for each in filter(None, (part.strip() for part in names.strip("{} \n").split(","))):
        name, _, own = each.partition(" as ")
        yield name.strip(), own.strip() or name.strip()


def _joined(module: str, relative: str) -> str:
    parts = list(PurePosixPath(module).parent.parts)
    for part in relative.split("/"):
        if part == "..":
            parts = parts[:-1]
        elif part != ".":
            parts.append(part)
    return "/".join(parts)
