"""A generated shop: customers with habits a model can learn, what they wrote, and machines with planted faults.

Every part draws from its own random stream of one seed, so the same arguments give the same rows. NumPy keeps its
streams within a release but may change them between releases. Moments are int64 microseconds since 1970, UTC.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from demo.shop_database import Columns, Recipe, build, ensure, insert_columns
from demo.shop_schema import PlantedFault, ShopArgumentError, ShopSummary, shop_metadata

DEFAULT_END = datetime(2026, 10, 31, 18, tzinfo=UTC)
"""The moment the generated data ends unless told otherwise; fixed, so that results can be repeated."""

BUILDER_VERSION = 1
FIRST_CUSTOMER = 10_001
FIRST_INVOICE = 500_001
PRODUCTS_A_CATEGORY = 48
SENSOR_DAYS = 42

SECOND, HOUR, DAY = 1_000_000, 3_600_000_000, 86_400_000_000
MOMENT = "datetime64[us]"
Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

# name, typical price, share of all lines, day of the year of its peak, strength of the season, what is sold
CATEGORIES: tuple[tuple[str, float, float, int, float, str], ...] = (
    ("Home", 4.2, 0.22, 330, 0.25, "CUSHION,CANDLE HOLDER,PHOTO FRAME,WALL CLOCK,VASE,DOORMAT,MIRROR,COAT RACK"),
    ("Kitchen", 3.4, 0.20, 345, 0.20, "MUG,CAKE TIN,APRON,LUNCH BOX,TEA TOWEL,EGG CUP,JAM JAR,MEASURING SPOONS"),
    ("Garden", 6.1, 0.11, 150, 0.80, "PLANT POT,WATERING CAN,BIRD FEEDER,LANTERN,TROWEL,PARASOL,HERB MARKERS"),
    ("Gifts", 2.6, 0.15, 342, 0.70, "GIFT WRAP,GREETING CARD,RIBBON,GIFT BAG,KEYRING,BADGE SET,TRINKET BOX"),
    ("Stationery", 1.7, 0.10, 240, 0.45, "NOTEBOOK,PENCIL SET,STICKERS,RULER,DESK TIDY,MEMO BLOCK,STAMP SET"),
    ("Toys", 5.3, 0.09, 340, 0.65, "SPINNING TOP,JIGSAW,SKIPPING ROPE,DOLL,TRAIN SET,KITE,BUILDING BLOCKS"),
    ("Lighting", 9.4, 0.06, 350, 0.55, "FAIRY LIGHTS,TABLE LAMP,NIGHT LIGHT,LAMPSHADE,PAPER LANTERN,TEALIGHTS"),
    ("Textiles", 7.8, 0.07, 20, 0.40, "BLANKET,QUILT,TABLE RUNNER,SCARF,BATH TOWEL,HOT WATER BOTTLE,BUNTING"),
)
LOOKS = "RED,WHITE,VINTAGE,RETROSPOT,IVORY,PINK,BLUE,WOODEN,ZINC,GLASS,CERAMIC,ENAMEL,FLORAL,STRIPED,NORDIC,SMALL"
COUNTRIES = ("United Kingdom", "Germany", "France", "Ireland", "Netherlands", "Spain", "Belgium", "Sweden", "Norway")
COUNTRY_SHARES = (0.80, 0.05, 0.05, 0.03, 0.02, 0.02, 0.01, 0.01, 0.01)
FIRST_NAMES = "Amelia,Oliver,Isla,George,Ava,Noah,Grace,Arthur,Freya,Leo,Zoë,Oscar,Hugo,Chloé,Jürgen,Maja,Søren,Lucía"
LAST_NAMES = "Smith,Jones,Evans,Wright,Hughes,Hall,Clarke,Müller,Dubois,Lefèvre,Núñez,de Vries,O'Brien,Okafor,Patel"
# Relative trade by weekday (Monday first) and by hour of the day.
WEEKDAYS = np.array([1.0, 1.05, 1.05, 1.15, 0.9, 0.25, 0.55])
HOURS = np.array([0.0] * 7 + [0.15, 0.4, 0.7, 0.95, 1.0, 1.0, 0.95, 0.85, 0.8, 0.6, 0.4, 0.25, 0.15, 0.1] + [0.0] * 3)

# What is written, by sentiment: positive, negative, neutral, mixed (which joins a positive and a negative phrase).
RATINGS = np.array([(4, 5, 5, 5), (1, 1, 1, 2), (3, 3, 3, 4), (2, 3, 3, 4)])
# Odds: usually, from a customer about to leave, after a cancellation.
ODDS = np.cumsum([(0.55, 0.15, 0.18, 0.12), (0.30, 0.40, 0.15, 0.15), (0.10, 0.60, 0.10, 0.20)], axis=1)
PHRASES = (
    "the {item} is even lovelier than in the pictures|the packaging was beautiful, a perfect present"
    "|delivery took only {days} days and everything arrived in one piece|my daughter absolutely loves her {item}"
    "|customer service answered within the hour and sorted everything out|the {item} is sturdy and just the right size"
    "|the quality of the {item} is excellent for the price|great value, I have already ordered another {item}",
    "the {item} arrived broken and nobody has replied to me|I was charged twice and still have no refund"
    "|I waited {days} days longer than promised for the delivery|the colour of the {item} looks nothing like the photo"
    "|the {item} fell apart after {days} days, what a waste of money|two of the items were missing from the box"
    "|the {item} feels cheap and the paint is coming off|returning the {item} cost me more than it was worth",
    "I ordered the {item} on Monday and it came after {days} days|the invoice gives the {item} another name"
    "|I am asking whether the {item} comes in a larger size|please let me know when the {item} is back in stock"
    "|I bought the {item} as a gift and cannot say yet how it holds up|the {item} is all right, no better than others",
)
BRIDGES = (", but ", ". However, ", ", although ", ". On the other hand, ", "; then again, ")
OPENERS = ("", "", "", "", "Hello, ", "Just a quick note: ", "As a regular customer: ", "To be honest, ")
CLOSERS = (
    ("", "", " Will buy again!", " Thank you so much.", " Highly recommended 😀", " Five stars from me."),
    ("", "", " Very disappointed.", " Never again.", " I expect a refund.", " Not what I paid £££ for."),
    ("", "", "", " Thanks.", " Regards."),
    ("", "", " Three out of five, I suppose.", " Not sure I would order again."),
)
MACHINES = ("PRESS-01", "PRESS-02", "OVEN-01", "PUMP-01")
SENSORS = ("Temperature", "Pressure", "Vibration")
USUAL = np.array([62.0, 5.4, 2.8])  # degrees Celsius, bar, mm/s
SWING = np.array([7.5, 0.7, 0.6])
FAULTS = (("Pressure",), ("Temperature",), ("Pressure", "Vibration"), ("Vibration",))


def ensure_sample_shop(
    path: Path, *, customers: int = 1000, seed: int = 7, days: int = 540, end: datetime = DEFAULT_END
) -> ShopSummary:
    """Like `write_sample_shop`, but one that was built from the same arguments stays, with all that was done to it."""
    recipe = _recipe(customers, seed, days, end)
    return ensure(path, recipe, lambda: write_sample_shop(path, customers=customers, seed=seed, days=days, end=end))


def write_sample_shop(
    path: Path, *, customers: int = 1000, seed: int = 7, days: int = 540, end: datetime = DEFAULT_END
) -> ShopSummary:
    """Generates a shop's database at `path`, in place of the shop database that may be there.

    Args:
        path: the SQLite file; `<path>.json` beside it says what it was built from.
        customers: rows of Customers, at least 1; about 85 lines each over the default time.
        seed: of the random streams, 0 or more.
        days: how far back transactions reach from `end`, 1 to 3,650. Sensor readings reach back 42 days at most;
            in the last third of them up to four faults are planted, at most one a day.
        end: every row is dated and modified before this moment; with a time zone, 1990 to 2100.

    Raises:
        ShopArgumentError: an argument is out of its range.
        ShopFileError: the file there is no shop database, is damaged, or is in use.
    """
    recipe = _recipe(customers, seed, days, end)
    stop = (end - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    start = stop - days * DAY
    streams = [np.random.default_rng(part) for part in np.random.SeedSequence(seed).spawn(6)]
    readings, faults = _draw_readings(streams[0], min(days, SENSOR_DAYS), stop)

    def fill(connection: sqlite3.Connection) -> None:
        people = _draw_customers(streams[1], customers, start, stop)
        goods = _draw_products(streams[2], start, stop)
        sales = _draw_sales(streams[3], people, goods, stop)
        lines = _draw_lines(streams[4], sales, people, goods, stop)
        feedback = _draw_feedback(streams[5], sales, people, goods, stop)
        parts = (people.columns, goods.columns, lines, feedback, readings)
        for table, columns in zip(shop_metadata.tables.values(), parts, strict=True):
            insert_columns(connection, table, columns)

    return build(path, recipe, fill, faults)


def _recipe(customers: int, seed: int, days: int, end: datetime) -> Recipe:
    ranges = {"customers": (customers, 1, 10_000_000), "seed": (seed, 0, 2**63 - 1), "days": (days, 1, 3_650)}
    for name, (value, least, most) in ranges.items():
        if not least <= value <= most:
            raise ShopArgumentError(name, f"{value}", f"a whole number from {least} to {most}", "Give another value.")
    if end.tzinfo is None or not 1990 <= end.year <= 2100:
        expected = "a moment with a time zone from 1990 to 2100"
        raise ShopArgumentError("end", repr(end), expected, "Give e.g. datetime(2026, 10, 31, tzinfo=UTC).")
    arguments: dict[str, int | str] = {"customers": customers, "seed": seed, "days": days}
    return Recipe("sample_shop", BUILDER_VERSION, {**arguments, "end": end.astimezone(UTC).isoformat()})


@dataclass(frozen=True)
class _Customers:
    columns: Columns
    opening: Ints  # may order from here ...
    gone: Ints  # ... until here
    orders_a_day: Floats
    rhythm: Floats  # days between orders of those who restock regularly; 0: orders come by chance
    lines_an_order: Floats
    wholesale: NDArray[np.bool_]
    taste: Floats  # customer x category
    returns: Floats  # share of orders sent back


@dataclass(frozen=True)
class _Products:
    columns: Columns
    price: Ints  # thousandths
    old_price: Ints
    price_change: Ints


@dataclass(frozen=True)
class _Sales:
    customer: Ints  # an order each: position in Customers
    anonymous: NDArray[np.bool_]
    moment: Ints
    sent_back: Ints  # when the order, or part of it, was cancelled; 0: never
    order: Ints  # a line each: position of its order
    product: Ints
    quantity: Ints
    price: Ints  # thousandths
    cancelled: Ints  # how much of the line was cancelled


def _draw_customers(rng: np.random.Generator, count: int, start: int, end: int) -> _Customers:
    known_before, joined = start - rng.random(count) * 720 * DAY, start + rng.random(count) * (end - start - HOUR)
    created = np.where(rng.random(count) < 0.6, known_before, joined).astype(np.int64)
    opening = np.maximum(created, start)
    names = [f"{first} {last}" for first, last in product(FIRST_NAMES.split(","), LAST_NAMES.split(","))]
    columns = {
        "CustomerId": FIRST_CUSTOMER + np.arange(count),
        "Name": np.ma.masked_array(rng.choice(np.array(names), size=count), mask=rng.random(count) < 0.02),
        "Country": rng.choice(np.array(COUNTRIES), size=count, p=COUNTRY_SHARES),
        "CreatedDate": created.astype(MOMENT),
        "ModifiedDate": _modified(rng, created, end, late_share=0.3, late=150 * DAY).astype(MOMENT),
    }
    shares = np.array([category[2] for category in CATEGORIES])
    wholesale = rng.random(count) < 0.08
    return _Customers(
        columns=columns,
        opening=opening,
        gone=opening + rng.exponential(1200 * DAY, count).astype(np.int64),
        orders_a_day=rng.gamma(1.6, 2.6 / 1.6, count) / 30,
        rhythm=np.where(wholesale | (rng.random(count) < 0.25), rng.uniform(18, 75, count), 0.0),
        lines_an_order=1 + rng.lognormal(0.8, 0.5, count) * np.where(wholesale, 1.5, 1.0),
        wholesale=wholesale,
        taste=rng.gamma(np.broadcast_to(6 * shares, (count, len(shares)))) + 0.02,
        returns=rng.beta(1, 24, count),
    )


def _draw_products(rng: np.random.Generator, start: int, end: int) -> _Products:
    kinds = np.arange(len(CATEGORIES)).repeat(PRODUCTS_A_CATEGORY)
    count = len(kinds)
    descriptions: list[str] = []
    for category in CATEGORIES:
        names = [f"{look} {thing}" for look, thing in product(LOOKS.split(","), category[5].split(","))]
        descriptions += rng.choice(np.array(names), size=PRODUCTS_A_CATEGORY, replace=False).tolist()
    numbers = np.sort(rng.choice(np.arange(20_000, 90_000), size=count, replace=False))
    endings = rng.choice(np.array(["", "", "", "A", "B", "S"]), size=count)
    # Whole thousandths from the start, here steps of five pence: never a rounded sum of floats.
    typical = np.array([category[1] for category in CATEGORIES])[kinds]
    price = np.maximum(1, np.rint(typical * rng.lognormal(0, 0.5, count) * 20)).astype(np.int64) * 50
    changed = rng.random(count) < 0.35
    old_price = np.where(changed, np.maximum(10, price * rng.integers(80, 98, count) // 1000 * 10), price)
    set_at = np.where(changed, start + rng.random(count) * (end - start - HOUR), start - DAY)
    modified = _modified(rng, set_at.astype(np.int64), end)
    columns = {
        "StockCode": np.char.add(numbers.astype(np.str_), endings),
        "Description": np.array(descriptions, dtype=object),
        "Category": np.array([category[0] for category in CATEGORIES])[kinds],
        "UnitPrice": price / 1000,
        "ModifiedDate": modified.astype(MOMENT),
    }
    return _Products(columns, price, old_price, modified)


def _draw_orders(rng: np.random.Generator, people: _Customers, end: int) -> tuple[Ints, Ints]:
    """Who orders when: some by chance, thinned by season and weekday, some in a rhythm of their own."""
    closing = np.minimum(people.gone, end)
    days_open, everybody = np.maximum(0, closing - people.opening) / DAY, np.arange(len(closing))
    strongest = 1.3 * WEEKDAYS.max()
    chance = np.where(people.rhythm > 0, 0, people.orders_a_day) * strongest / WEEKDAYS.mean()
    customer = everybody.repeat(rng.poisson(chance * days_open))
    moment = people.opening[customer] + (rng.random(len(customer)) * days_open[customer] * DAY).astype(np.int64)
    fading = np.where(people.gone[customer] - moment < 60 * DAY, 0.5, 1.0)
    trade = _season(moment, 325, 0.3) * WEEKDAYS[(moment // DAY + 3) % 7] * fading
    kept = rng.random(len(customer)) < trade / strongest

    visits = np.where(people.rhythm > 0, days_open // np.maximum(1, people.rhythm) + 1, 0).astype(np.int64)
    regular = everybody.repeat(visits)
    visit = np.arange(len(regular)) - (np.cumsum(visits) - visits)[regular]
    since = (visit + rng.random(len(visits))[regular] + rng.normal(0, 0.08, len(regular))) * people.rhythm[regular]
    customer = np.concatenate([customer[kept], regular])
    moment = np.concatenate([moment[kept], people.opening[regular] + (since * DAY).astype(np.int64)])

    hour = rng.choice(len(HOURS), size=len(customer), p=HOURS / HOURS.sum())
    moment = moment // DAY * DAY + hour * HOUR + rng.integers(0, 3600, len(customer)) * SECOND
    allowed = (moment > people.opening[customer]) & (moment < closing[customer])
    return customer[allowed], moment[allowed]


def _draw_sales(rng: np.random.Generator, people: _Customers, goods: _Products, end: int) -> _Sales:
    """What each order holds, and what of it is sent back later."""
    customer, moment = _draw_orders(rng, people, end)
    lines = 1 + rng.poisson(rng.gamma(3.0, (people.lines_an_order[customer] - 1) / 3))
    order = np.arange(len(customer)).repeat(lines)
    buyer, bought_at = customer[order], moment[order]
    chances = people.taste[buyer]
    for position, category in enumerate(CATEGORIES):
        chances[:, position] *= _season(bought_at, category[3], category[4])
    np.cumsum(chances, axis=1, out=chances)
    kind = (chances < (rng.random(len(order)) * chances[:, -1])[:, None]).sum(axis=1)
    popularity = np.cumsum(1 / (3 + np.arange(PRODUCTS_A_CATEGORY)))
    chosen = kind * PRODUCTS_A_CATEGORY + np.searchsorted(popularity, rng.random(len(order)) * popularity[-1])

    pieces = 1 + rng.poisson(rng.gamma(1.0, np.where(people.wholesale[buyer], 0.7, 1.5)))
    quantity = np.where(people.wholesale[buyer], 6 * pieces, pieces)
    price = np.where(bought_at < goods.price_change[chosen], goods.old_price[chosen], goods.price[chosen])
    price = np.where(quantity >= 24, price * 9 // 10, price)

    wait = HOUR + rng.exponential(9 * DAY, len(customer)).astype(np.int64)
    sent_back = np.where(rng.random(len(customer)) < people.returns[customer], (moment + wait) // SECOND * SECOND, 0)
    sent_back[sent_back >= end] = 0
    part = np.where(rng.random(len(order)) < 0.3, rng.random(len(order)), 1.0)
    returned = (rng.random(len(order)) < 0.6) & (sent_back[order] > 0)
    cancelled = np.where(returned, np.maximum(1, np.ceil(quantity * part)), 0).astype(np.int64)
    sent_back[np.bincount(order, cancelled, minlength=len(customer)) == 0] = 0
    anonymous = rng.random(len(customer)) < 0.12
    return _Sales(customer, anonymous, moment, sent_back, order, chosen, quantity, price, cancelled)


def _draw_lines(rng: np.random.Generator, sales: _Sales, people: _Customers, goods: _Products, end: int) -> Columns:
    """Sales and cancellations as lines of numbered invoices, all in order of time."""
    back = np.flatnonzero(sales.sent_back)
    issued = np.concatenate([sales.moment, sales.sent_back[back]])
    place = np.empty(len(issued), np.int64)
    place[np.argsort(issued, kind="stable")] = np.arange(len(issued))
    letters = np.where(np.arange(len(issued)) < len(sales.moment), "", "C")
    numbers = np.char.add(letters, (FIRST_INVOICE + place).astype(np.str_))
    cancellation_of = np.zeros(len(sales.moment), np.int64)
    cancellation_of[back] = len(sales.moment) + np.arange(len(back))

    undone = np.flatnonzero(sales.cancelled)
    line = np.concatenate([np.arange(len(sales.order)), undone])
    invoice = np.concatenate([sales.order, cancellation_of[sales.order[undone]]])
    quantity = np.concatenate([sales.quantity, -sales.cancelled[undone]])
    by_invoice = np.argsort(place[invoice], kind="stable")
    line, invoice, quantity = line[by_invoice], invoice[by_invoice], quantity[by_invoice]
    order, bought = sales.order[line], sales.product[line]
    buyer = sales.customer[order]
    return {
        "TransactionId": 1 + np.arange(len(line)),
        "InvoiceNo": numbers[invoice],
        "CustomerId": np.ma.masked_array(FIRST_CUSTOMER + buyer, mask=sales.anonymous[order]),
        "StockCode": goods.columns["StockCode"][bought],
        "Description": np.ma.masked_array(goods.columns["Description"][bought], rng.random(len(line)) < 0.003),
        "Quantity": quantity,
        "UnitPrice": sales.price[line] / 1000,
        "Country": people.columns["Country"][buyer],
        "TransactionDate": issued[invoice].astype(MOMENT),
        "ModifiedDate": _modified(rng, issued[invoice], end).astype(MOMENT),
    }


def _draw_feedback(rng: np.random.Generator, sales: _Sales, people: _Customers, goods: _Products, end: int) -> Columns:
    """What some customers wrote after an order: more often bad after a cancellation or before they leave."""
    after = np.flatnonzero(rng.random(len(sales.moment)) < np.where(sales.sent_back > 0, 0.2, 0.07))
    created = sales.moment[after] + HOUR + rng.exponential(5 * DAY, len(after)).astype(np.int64)
    by_time = np.argsort(created, kind="stable")[: np.count_nonzero(created < end)]
    after, created = after[by_time], created[by_time]
    leaving = people.gone[sales.customer[after]] - created < 60 * DAY
    cancelled = (sales.sent_back[after] > 0) & (sales.sent_back[after] < created)
    odds = ODDS[np.where(cancelled, 2, np.where(leaving, 1, 0))]
    sentiment = (odds[:, :3] < rng.random(len(after))[:, None]).sum(axis=1)
    draws = rng.integers(0, 2**31, (len(after), 9))
    items = goods.columns["Description"][sales.product[np.searchsorted(sales.order, after)]]
    ratings = np.where(draws[:, 7] % 20, RATINGS[sentiment, draws[:, 8] % 4], 1 + draws[:, 8] % 5)
    return {
        "FeedbackId": 1 + np.arange(len(after)),
        "CustomerId": np.ma.masked_array(FIRST_CUSTOMER + sales.customer[after], mask=sales.anonymous[after]),
        "FeedbackText": np.array(list(map(_compose, sentiment, items, draws)), dtype=object),
        "Rating": np.ma.masked_array(ratings, mask=rng.random(len(after)) < 0.15),
        "CreatedDate": created.astype(MOMENT),
        "ModifiedDate": _modified(rng, created, end).astype(MOMENT),
    }


def _compose(sentiment: int, item: str, draw: Ints) -> str:
    """One text from random numbers: opening, one or two statements, closing, now and then without capitals."""

    def pick(phrases: Sequence[str], position: int) -> str:
        return phrases[draw[position] % len(phrases)].format(item=item.lower(), days=2 + draw[6] % 12)

    first, second = (0, 1) if sentiment == len(PHRASES) else (sentiment, sentiment)
    body, more = pick(PHRASES[first].split("|"), 1), pick(PHRASES[second].split("|"), 2)
    if first != second:
        body = pick(BRIDGES, 3).join((body, more) if draw[5] % 2 else (more, body))
    elif draw[5] % 3 == 0 and body != more:
        body = f"{body} and {more}"
    text = pick(OPENERS, 0) + body
    text = f"{text[0].upper()}{text[1:]}.{pick(CLOSERS[sentiment], 4)}"
    return text.lower().rstrip(".") if draw[7] % 25 == 0 else text


def _draw_readings(rng: np.random.Generator, days: int, end: int) -> tuple[Columns, tuple[PlantedFault, ...]]:
    """Readings every ten minutes: each machine's sensors follow one load, except where a fault parts them."""
    step, count = HOUR // 6, days * 144
    times = ((end - 1) // step - np.arange(count)[::-1]) * step
    drift = np.stack([np.convolve(rng.normal(size=count + 35), np.ones(36) / 36, "valid") for _ in MACHINES])
    load = np.cos(2 * np.pi * (times / HOUR - 14) / 24) + 0.6 * drift
    felt = np.repeat(load[:, :, None], len(SENSORS), axis=2)
    faults = []
    # In the last third only, so that what comes before shows how a healthy machine behaves.
    for number, days_ago in enumerate(rng.permutation(np.arange(1, days // 3))[: len(FAULTS)]):
        # At the load's peak or trough a sensor that shows the opposite load is still in its usual range.
        middle = (times[-1] // DAY - days_ago) * DAY + (14 if number % 2 else 2) * HOUR
        first = int((middle - times[0]) // step) - 8
        window = slice(first, first + int(rng.integers(12, 19)))
        for sensor in FAULTS[number]:
            felt[number, window, SENSORS.index(sensor)] *= -1
        begin, finish = (datetime.fromtimestamp(int(times[window][at]) / SECOND, UTC) for at in (0, -1))
        faults.append(PlantedFault(MACHINES[number], begin, finish, FAULTS[number]))
    usual = USUAL * (1 + rng.normal(0, 0.03, (len(MACHINES), 1, len(SENSORS))))
    values = usual + SWING * (felt + 0.08 * rng.normal(size=felt.shape))
    by_time = np.round(values, 3).transpose(1, 0, 2).reshape(-1, len(SENSORS))
    read_at = times.repeat(len(MACHINES))
    columns = {
        "ReadingId": 1 + np.arange(len(by_time)),
        "MachineId": np.tile(np.array(MACHINES), count),
        "ReadingTime": read_at.astype(MOMENT),
        **{sensor: by_time[:, position] for position, sensor in enumerate(SENSORS)},
        "ModifiedDate": _modified(rng, read_at, end, late_share=0).astype(MOMENT),
    }
    return columns, tuple(sorted(faults, key=lambda fault: fault.start))


def _modified(rng: np.random.Generator, dated: Ints, end: int, late_share: float = 0.02, late: float = 3 * DAY) -> Ints:
    """When each row was last written: seconds after its own date, for some much later, never at a whole second."""
    wait = np.where(rng.random(len(dated)) < late_share, late, 20 * SECOND) * rng.exponential(size=len(dated))
    room = np.maximum(0, end - dated - 3)
    modified = dated + 1 + np.minimum(wait, rng.random(len(dated)) * room).astype(np.int64)
    return modified + (modified % SECOND == 0)


def _season(dated: Ints, peak_day: float, strength: float) -> Floats:
    return 1 + strength * np.cos(2 * np.pi * (dated / DAY - peak_day) / 365.2425)
