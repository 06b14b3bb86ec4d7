"""What can be learned from the generated shop: spending, sentiment, and faults no single sensor shows."""

from datetime import timedelta

import numpy as np
import pytest

from demo.sample_shop import DEFAULT_END, MACHINES, PHRASES, SENSORS, write_sample_shop
from tests.demo_data.shop import query, value

MONTH = timedelta(days=30)


@pytest.fixture(scope="module", params=[7, 8])
def spending(request, sample, tmp_path_factory):
    """At a cutoff, per customer: features of the past, last month's spend, mean monthly spend, next month's spend."""
    path = sample[0]
    if request.param != 7:
        path = tmp_path_factory.mktemp("worth") / "shop.db"
        write_sample_shop(path, seed=request.param)
    created = dict(query(path, "SELECT CustomerId, CreatedDate FROM Customers"))
    lines = query(
        path, "SELECT CustomerId, TransactionDate, Quantity * UnitPrice FROM Transactions WHERE CustomerId IS NOT NULL"
    )
    customer = np.array([line[0] for line in lines])
    at = np.array([line[1] for line in lines], dtype="datetime64[us]")
    spent = np.array([line[2] for line in lines])
    first = at.min()

    def at_cutoff(months_before_end):
        cutoff = np.datetime64((DEFAULT_END - months_before_end * MONTH).replace(tzinfo=None))
        month = np.timedelta64(MONTH)
        known = [key for key, moment in created.items() if np.datetime64(moment) < cutoff]
        place = {key: position for position, key in enumerate(known)}
        mine = np.isin(customer, known)
        who, when, what = np.array([place[key] for key in customer[mine]]), at[mine], spent[mine]

        def total(start, stop):
            inside = (when > start) & (when <= stop)
            return np.bincount(who[inside], what[inside], minlength=len(known))

        history = np.stack([total(cutoff - (n + 1) * month, cutoff - n * month) for n in range(6)], axis=1)
        since = np.array([max(np.datetime64(created[key]), first) for key in known])
        months = np.maximum(1, (cutoff - since) / month)
        mean = total(first - 1, cutoff) / months
        last = np.full(len(known), first)
        np.maximum.at(last, who[when <= cutoff], when[when <= cutoff])
        silence = (cutoff - last) / np.timedelta64(1, "D")
        features = np.column_stack([history, mean, months, silence])
        return features, history[:, 0], mean, total(cutoff, cutoff + month)

    return at_cutoff


def errors(forecast, truth):
    return np.sqrt(np.mean((forecast - truth) ** 2)), np.mean(np.abs(forecast - truth))


def test_mean_monthly_spend_beats_the_last_month(spending):
    parts = [spending(months) for months in (1, 2, 3)]
    naive, mean, truth = (np.concatenate([part[position] for part in parts]) for position in (1, 2, 3))
    naive_rms, naive_abs = errors(naive, truth)
    mean_rms, mean_abs = errors(mean, truth)
    assert mean_rms < 0.9 * naive_rms
    assert mean_abs < naive_abs


def test_a_model_trained_on_the_past_beats_the_last_month_by_far(spending):
    from sklearn.ensemble import HistGradientBoostingRegressor
    from threadpoolctl import threadpool_limits

    past = [spending(months) for months in range(2, 10)]
    model = HistGradientBoostingRegressor(max_iter=100, learning_rate=0.06, min_samples_leaf=40, random_state=0)
    features, naive, _, truth = spending(1)
    # Its threads spin while they wait: on a busy machine one is faster than two.
    with threadpool_limits(1):
        model.fit(np.concatenate([part[0] for part in past]), np.concatenate([part[3] for part in past]))
        forecast = model.predict(features)
    model_rms, model_abs = errors(forecast, truth)
    naive_rms, naive_abs = errors(naive, truth)
    assert model_rms < 0.87 * naive_rms
    assert model_abs < 0.9 * naive_abs


def fixed_parts(kind):
    """The longest piece of each phrase that no item or number is put into."""
    pieces = (phrase.replace("{days}", "{item}").split("{item}") for phrase in PHRASES[kind].split("|"))
    return [max(parts, key=len).strip().lower() for parts in pieces]


def test_ratings_follow_what_was_written(sample):
    path, _ = sample
    praise, complaints = fixed_parts(0), fixed_parts(1)
    ratings: dict[str, list[int]] = {"positive": [], "negative": [], "neutral": [], "mixed": []}
    for text, rating in query(path, "SELECT lower(FeedbackText), Rating FROM Feedback WHERE Rating IS NOT NULL"):
        good, bad = (any(part in text for part in parts) for parts in (praise, complaints))
        kind = "mixed" if good and bad else "positive" if good else "negative" if bad else "neutral"
        ratings[kind].append(rating)
    means = {kind: np.mean(given) for kind, given in ratings.items()}
    assert min(map(len, ratings.values())) > 100
    assert means["positive"] > 4.3
    assert means["negative"] < 1.8
    assert 2.7 < means["neutral"] < 3.7
    assert 2.3 < means["mixed"] < 3.6


def test_feedback_is_varied_unscored_and_partly_anonymous(sample):
    path, summary = sample
    rows = summary.rows["Feedback"]
    assert value(path, "SELECT count(DISTINCT FeedbackText) FROM Feedback") > 0.7 * rows
    assert value(path, "SELECT count(*) FROM Feedback WHERE FeedbackText LIKE '%{%' OR FeedbackText LIKE '%}%'") == 0
    assert value(path, "SELECT count(*) FROM Feedback WHERE length(trim(FeedbackText)) < 20") == 0
    untouched = """SELECT count(*) FROM Feedback WHERE scored = 0 AND Sentiment IS NULL AND ConfidencePositive IS NULL
                   AND ConfidenceNeutral IS NULL AND ConfidenceNegative IS NULL"""
    assert value(path, untouched) == rows
    assert 0.05 < value(path, "SELECT avg(CustomerId IS NULL) FROM Feedback") < 0.2
    assert 0.1 < value(path, "SELECT avg(Rating IS NULL) FROM Feedback") < 0.2
    assert value(path, "SELECT count(*) FROM Feedback WHERE Rating NOT BETWEEN 1 AND 5") == 0


def readings(path, machine):
    rows = query(
        path,
        f"SELECT ReadingTime, {', '.join(SENSORS)} FROM SensorReadings WHERE MachineId = ? ORDER BY ReadingId",
        machine,
    )
    times = np.array([row[0] for row in rows], dtype="datetime64[us]")
    return times, np.array([row[1:] for row in rows])


def test_machines_report_every_ten_minutes_with_a_daily_cycle(sample):
    path, _ = sample
    for machine in MACHINES:
        times, values = readings(path, machine)
        assert len(times) == 42 * 144
        assert set(np.diff(times)) == {np.timedelta64(10, "m")}
        hour = times.astype("datetime64[h]").astype(int) % 24
        assert values[hour == 14, 0].mean() - values[hour == 2, 0].mean() > 3 * values[hour == 14, 0].std()


def distance(rows, healthy):
    """How far each row is from the healthy ones, squared, counted in their joint spread (Mahalanobis)."""
    off = rows - healthy.mean(axis=0)
    return np.einsum("ij,jk,ik->i", off, np.linalg.inv(np.cov(healthy.T)), off)


def test_each_fault_is_inside_every_sensors_range_and_outside_their_joint_one(sample):
    path, summary = sample
    assert len(summary.planted_faults) == 4
    start = min(fault.start for fault in summary.planted_faults)
    assert start > DEFAULT_END - timedelta(days=14)
    for fault in summary.planted_faults:
        times, values = readings(path, fault.machine)
        healthy = values[times < np.datetime64(start.replace(tzinfo=None))]
        first, last = (np.datetime64(moment.replace(tzinfo=None)) for moment in (fault.start, fault.end))
        faulty = values[(times >= first) & (times <= last)]
        assert 12 <= len(faulty) <= 18
        margin = 0.05 * np.ptp(healthy, axis=0)
        assert ((faulty > healthy.min(axis=0) - margin) & (faulty < healthy.max(axis=0) + margin)).all()

        usual = np.quantile(distance(healthy, healthy), 0.999)
        assert (distance(faulty, healthy) > usual).mean() > 0.9
        others = values[(times >= np.datetime64(start.replace(tzinfo=None))) & ~((times >= first) & (times <= last))]
        assert (distance(others, healthy) > usual).mean() < 0.01
