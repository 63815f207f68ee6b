"""Regions in an audit: each of them owes a result of each tick of a monitor that names it. Pure."""

from collections.abc import Iterator

from msgspec.structs import replace

from everwatch.store.stored_values import Identity, Stretch


def by_region(stretches: list[Stretch], found: list[Identity]) -> Iterator[tuple[str, list[Stretch], list[Identity]]]:
    """Yield the ticks that each region of a monitor owes, and their stored results.

    "" stands for executors without a region.

    A skipped result without a region is of a tick that was sent to none: it stands for it in all regions that the
    monitor named then. One of a time when it named none at all is put to the first.
    """
    if not any(stretch.policy.regions for stretch in stretches) and not any(each.region for each in found):
        yield "", stretches, found
        return
    owed = {name for stretch in stretches for name in stretch.policy.regions or ("",)}
    regions = sorted(owed | {each.region for each in found if each.region})
    owing = {name: [one for one in stretches if name in (one.policy.regions or ("",))] for name in regions}
    results: dict[str, list[Identity]] = {name: [] for name in regions}
    for each in found:
        if each.region or not each.skipped_count:
            named = [each.region]
        else:
            named = [name for name in regions if _lasts(owing[name], each.scheduled_at)] or regions[:1]
        for name in named:
            if name in results:
                results[name].append(each)
    for name, some in results.items():
        alone = (name,) if name else ()
        yield name, [replace(one, policy=replace(one.policy, regions=alone)) for one in owing[name]], some


def _lasts(stretches: list[Stretch], instant: int) -> bool:
    """Tell whether one of the stretches lasts at an instant."""
    return any(one.since < instant and (one.until is None or instant <= one.until) for one in stretches)


def in_region(region: str) -> str:
    """Return the end of a reason; empty without a region."""
    return f" (region {region})" if region else ""
