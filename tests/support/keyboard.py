"""A person who has a keyboard only: keys are pressed, and what has the focus is looked at."""

from typing import Any

# what has the focus: its role and name for people, and whether it is seen to have it
_FOCUSED = """() => {
  const at = document.activeElement;
  if (!at || at === document.body) return null;
  const labels = [...(at.labels ?? [])].map((label) => label.textContent.trim()).join(" ");
  const name = (at.getAttribute("aria-label") || labels || at.textContent || at.placeholder || "").trim();
  const box = at.getBoundingClientRect();
  const style = getComputedStyle(at);
  const ringed = style.outlineStyle !== "none" && parseFloat(style.outlineWidth) > 0;
  return {
    name: name.replace(/\\s+/g, " ").slice(0, 120),
    tag: at.tagName.toLowerCase(),
    type: at.type ?? "",
    row: at.closest("tr")?.textContent ?? "",
    seen: ringed && box.width > 0 && box.bottom > 0 && box.top < innerHeight,
    number: (at.dataset.walked ??= String((window.walked = (window.walked ?? 0) + 1))),
  };
}"""
# what had the focus after each Tab: the key comes up where the focus is then, and what has it is scrolled to
_NOTE = f"""() => {{
  window.tabbed = [];
  const focused = {_FOCUSED};
  window.noteTab ??= (event) => {{ if (event.key === "Tab") window.tabbed.push(focused()); }};
  addEventListener("keyup", window.noteTab, true);
}}"""
_NOTED = "() => window.tabbed.splice(0)"
# what can have the focus and is shown
_REACHABLE = """() => {
  const all = document.querySelectorAll("a[href], button, input, select, textarea, [tabindex]");
  const isShown = (each) => each.checkVisibility({visibilityProperty: true});
  return [...all].filter((each) => each.tabIndex >= 0 && !each.disabled && isShown(each))
    .map((each) => each.dataset.walked ?? each.outerHTML.slice(0, 160));
}"""
MOST_STEPS = 900
# presses between two looks: each look takes as long as a press
AT_ONCE = 20


class Keyboard:
    """The keyboard of a page."""

    def __init__(self, page: Any) -> None:
        self._page = page

    async def press(self, *keys: str) -> None:
        """Press some keys, one after the other."""
        for key in keys:
            await self._page.keyboard.press(key)

    async def type(self, text: str) -> None:
        """Write over what is in the field that has the focus."""
        await self.press("Control+a")
        await self._page.keyboard.type(text)

    async def focused(self) -> Any:
        """Return the element that has the focus; None if none has it."""
        return await self._page.evaluate(_FOCUSED)

    async def reach(self, name: str, tag: str = "", *, row: str = "") -> None:
        """Press Tab until what has this name, or begins so, has the focus, and is seen to have it.

        ``tag``: of the element, or its type; ``row``: a text of the row that it stands in.
        """
        passed: list[str] = []
        last = ""
        for _ in range(MOST_STEPS):
            await self.press("Tab")
            at = await self.focused()
            if at is None:
                continue
            rest = at["name"].removeprefix(name)
            is_it = at["name"].startswith(name) and not rest[:1].isalpha() and row in at["row"]
            if is_it and tag in ("", at["tag"], at["type"]):
                assert at["seen"], f"{name!r} has the focus, and nobody sees it: {self._page.url}"
                return
            # Tab leads through the parts of a date first
            is_parted = at["type"] == "datetime-local"
            assert is_parted or at["number"] != last, f"the focus stays at {at['tag']} {at['name']!r}: {self._page.url}"
            last = at["number"]
            passed.append(f"{at['tag']} {at['name']}")
        raise AssertionError(f"no {tag} {name!r} was reached: {self._page.url}: {passed[:40]}")

    async def use(self, name: str, tag: str = "", *, key: str = "Enter", row: str = "") -> None:
        """Reach something, and press a key there."""
        await self.reach(name, tag, row=row)
        await self.press(key)

    async def fill(self, name: str, text: str) -> None:
        """Reach a field, and write into it."""
        await self.reach(name)
        await self.type(text)

    async def choose(self, name: str, option: str) -> None:
        """Reach a drop-down, and take the option that begins so, by writing it."""
        await self.reach(name, "select")
        await self._page.keyboard.type(option)

    async def walk(self) -> None:
        """Press Tab through the page, once around; each thing that can have the focus must have it, and be seen."""
        seen: set[str] = set()
        is_around = False
        await self._page.evaluate(_NOTE)
        for _ in range(MOST_STEPS // AT_ONCE):
            await self.press(*["Tab"] * AT_ONCE)
            for at in await self._page.evaluate(_NOTED):
                if at is None:
                    # the browser's own controls come between the end and the beginning
                    continue
                is_around = is_around or at["number"] in seen
                seen.add(at["number"])
                assert at["seen"], f"{at['tag']} {at['name']!r} has the focus, and nobody sees it: {self._page.url}"
            if is_around:
                break
        missing = [each for each in await self._page.evaluate(_REACHABLE) if each not in seen]
        assert not missing, f"Tab does not come to {missing} on {self._page.url}"
