"""Bounds of ids, instants and numbers in records, as ``model`` declares them.

Their topics are open like any other, and each reader checks what it reads. Ids of new users and monitors are held to
narrower rules (``input_models``); those that exist keep theirs.
"""

from typing import Annotated

from msgspec import Meta

LATEST_MS = 253_402_300_800_000 - 1
"""The end of the year 9999."""
RESERVED_USERS = ("__everwatch", "__faust")
"""The local store keeps its own entries under these names."""
_NOT_RESERVED = rf"(?!(?:{'|'.join(RESERVED_USERS)})\Z)"
# NUL separates the parts of table keys, and what the table remembers besides monitors stands behind 01
_NO_CONTROL = r"[^\x00-\x1f\x7f]*\Z"  # "$" would let a newline at the end pass

PLAIN = rf"^{_NO_CONTROL}"
"""The pattern of text without control characters."""
UserKey = Annotated[str, Meta(min_length=1, max_length=256, pattern=rf"^{_NOT_RESERVED}{_NO_CONTROL}")]
MonitorKey = Annotated[str, Meta(min_length=1, max_length=128, pattern=rf"^{_NO_CONTROL}")]
LONGEST_KEY_BYTES = 4 * 256
"""UTF-8 takes at most four bytes a character."""
KindName = Annotated[str, Meta(max_length=128)]
InstantMs = Annotated[int, Meta(ge=0, le=LATEST_MS)]
Small = Annotated[int, Meta(ge=0, le=2**31 - 1)]
Large = Annotated[int, Meta(ge=0, le=2**63 - 1)]
# longer than any schedule's interval, and so than any run
LongestDuration = Annotated[float, Meta(ge=0, le=400 * 86_400_000)]
Percent = Annotated[int, Meta(ge=0, le=100)]
Timeout = Annotated[int, Meta(ge=1, le=86_400_000)]
Weight = Annotated[int, Meta(ge=1, le=1_000)]
# what we send is a quarter of these at most
Sentence = Annotated[str, Meta(max_length=4_000)]
Detail = Annotated[str, Meta(max_length=160_000)]
ExecutorName = Annotated[str, Meta(max_length=1_000)]
LONGEST_REGION = 32
REGION_PATTERN = rf"^(?!(?:high|low)\Z)[a-z0-9]([a-z0-9-]{{0,{LONGEST_REGION - 1}}})\Z"
"""The pattern of a region's name, which is a part of topics' names: no dot, and no priority."""
REGION_RULE = (
    f"a region's name has lower-case letters, digits and dashes, {LONGEST_REGION} at most, and is not 'high' or 'low'"
)
REGION_OR_NONE = rf"^$|{REGION_PATTERN}"
RULE = "rule"
"""Key in a ``Meta``'s ``extra``: the rule of its pattern, in words."""
RegionName = Annotated[
    str, Meta(min_length=1, max_length=LONGEST_REGION, pattern=REGION_PATTERN, extra={RULE: REGION_RULE})
]
MOST_REGIONS = 16
OfRegion = Annotated[str, Meta(max_length=LONGEST_REGION, pattern=PLAIN)]

Host = Annotated[str, Meta(max_length=300)]
PlanName = Annotated[str, Meta(max_length=256)]
_Label = Annotated[str, Meta(max_length=1_024)]
Labels = Annotated[dict[_Label, _Label], Meta(max_length=64)]
LogOffset = Annotated[int, Meta(ge=-1, le=2**63 - 1)]
PartitionNumber = Annotated[int, Meta(ge=-1, le=2**31 - 1)]

MOST_AHEAD_MS = 60_000
"""A clock may be so far ahead of ours; what says that it is from later still is refused."""
BROKER_AHEAD_MS = 3_600_000
"""So far ahead of its clock a broker takes a record's timestamp (``message.timestamp.after.max.ms``, by default)."""
