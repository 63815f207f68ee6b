"""Made-up companies, which the demo's users are: a name for each number, and back."""

import re
from functools import cache
from typing import NamedTuple


class Watched(NamedTuple):
    """A monitor of a trade: its id and its name."""

    monitor_id: str
    name: str


class Trade(NamedTuple):
    """A kind of business: its word in a company's name, its site, the machine in its shop, the job of the night."""

    word: str
    site: Watched
    port: Watched
    job: Watched


class Company(NamedTuple):
    """A company: the id of its user, its name, trade, city and country."""

    user_id: str
    name: str
    trade: Trade
    city: str
    country: str


_TRADES = (
    Trade(
        "Bakery",
        Watched("online-orders", "Online orders"),
        Watched("till", "Till server"),
        Watched("stock-sync", "Stock sync"),
    ),
    Trade(
        "Hotel",
        Watched("booking", "Booking page"),
        Watched("key-cards", "Key card server"),
        Watched("night-audit", "Night audit"),
    ),
    Trade(
        "Books",
        Watched("web-shop", "Web shop"),
        Watched("till", "Till server"),
        Watched("catalogue-import", "Catalogue import"),
    ),
    Trade(
        "Pharmacy",
        Watched("prescriptions", "Prescription portal"),
        Watched("robot", "Dispensing robot"),
        Watched("order-run", "Wholesale order run"),
    ),
    Trade(
        "Bikes",
        Watched("web-shop", "Web shop"),
        Watched("card-terminal", "Card terminal"),
        Watched("price-update", "Price update"),
    ),
    Trade(
        "Dental",
        Watched("appointments", "Appointment page"),
        Watched("x-ray", "X-ray archive"),
        Watched("backup", "Nightly backup"),
    ),
    Trade(
        "Logistics",
        Watched("tracking", "Parcel tracking"),
        Watched("scanner-gateway", "Scanner gateway"),
        Watched("route-plan", "Route planning"),
    ),
    Trade(
        "Flowers",
        Watched("web-shop", "Web shop"),
        Watched("cold-room", "Cold room sensor"),
        Watched("invoice-run", "Invoice run"),
    ),
)
_FAMILIES = (
    "Lindner", "Okafor", "Marchetti", "Nowak", "Haugen", "Dubois", "Ferreira", "Kaplan", "Sørensen", "Iyer", "Brandt",
    "Keller", "Moretti", "Novák", "Janssen", "Virtanen", "O'Neill", "Castillo", "Petrov", "Tanaka",
)  # fmt: skip
_CITIES = (
    ("Bern", "CH"), ("Porto", "PT"), ("Gdańsk", "PL"), ("Leeds", "GB"), ("Lyon", "FR"), ("Graz", "AT"),
    ("Aarhus", "DK"), ("Utrecht", "NL"), ("Bergen", "NO"), ("Turin", "IT"), ("Bilbao", "ES"), ("Cork", "IE"),
    ("Leipzig", "DE"), ("Brno", "CZ"), ("Tampere", "FI"), ("Ghent", "BE"), ("Malmö", "SE"), ("Split", "HR"),
    ("Košice", "SK"), ("Pécs", "HU"), ("Vilnius", "LT"), ("Tartu", "EE"), ("Maribor", "SI"),
    ("Patras", "GR"), ("Varna", "BG"),
)  # fmt: skip
_PLAIN = str.maketrans("øńáéöš", "onaeos", "'")
_NAMES = len(_FAMILIES) * len(_TRADES) * len(_CITIES)
# a prime that divides no count of names, so that neighbours differ in all of them
_STEP = 1_237
_BRANCH = re.compile(r"(?P<first>.+?)(?:-(?P<branch>[1-9][0-9]*))?\Z")
# of demos before companies had names
_FORMER = re.compile(r"demo-[0-9]{5,}\Z")


def company(number: int) -> Company:
    """Return the company with a number; from the 4,000th on names come again, with the number of the branch."""
    again, number = divmod(number, _NAMES)
    rest, family = divmod(number * _STEP % _NAMES, len(_FAMILIES))
    city_number, trade_number = divmod(rest, len(_TRADES))
    trade, (city, country) = _TRADES[trade_number], _CITIES[city_number]
    name = f"{_FAMILIES[family]} {trade.word} {city}"
    branch = again + 1
    user_id = name.lower().translate(_PLAIN).replace(" ", "-")
    if again:
        return Company(f"{user_id}-{branch}", f"{name} {branch}", trade, city, country)
    return Company(user_id, name, trade, city, country)


def number_of(user_id: str) -> int | None:
    """Return the number of the company whose user this is; None for any other user."""
    found = _BRANCH.match(user_id)
    if found is None:
        return None
    number, branch = _numbers().get(found["first"]), int(found["branch"] or 1)
    is_written_so = found["branch"] != "1"
    return None if number is None or not is_written_so else number + (branch - 1) * _NAMES


def is_of_a_demo(user_id: str) -> bool:
    """Tell whether a user is one that a demo has made."""
    return number_of(user_id) is not None or _FORMER.match(user_id) is not None


@cache
def _numbers() -> dict[str, int]:
    return {company(number).user_id: number for number in range(_NAMES)}
