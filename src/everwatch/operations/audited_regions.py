"""Regions in an audit: each of them owes a result of each tick of a monitor that names it. Pure."""

from collections.abc import Iterator

from msgspec.structs import replace

from everwatch.store.stored_values import Identity, Stretch


def by_region(stretches: list[Stretch], found: list[Identity]) -> Iterator[tuple[str, list[Stretch], list[Identity]]]:
    """Yield the ticks that each region of a monitor owes, and their stored results.

    "" stands for executors without a region.

    A skipped result without a region is of a tick that was sent to none: it stands for it in all regions.
    """
    if not any(stretch.policy.regions for stretch in stretches) and not any(each.region for each in found):
        yield "", stretches, found
        return
    owed = {name for stretch in stretches for name in stretch.policy.regions or ("",)}
    for region in sorted(owed | {each.region for each in found if each.region}):
        owing = [
            replace(stretch, policy=replace(stretch.policy, regions=(region,) if region else ()))
            for stretch in stretches
            if region in (stretch.policy.regions or ("",))
        ]
        yield (
            region,
            owing,
            [each for each in found if each.region == region or (each.skipped_count and not each.region)],
        )


def in_region(region: str) -> str:
    """Return the end of a reason; empty without a region."""
    return f" (region {region})" if region else ""
