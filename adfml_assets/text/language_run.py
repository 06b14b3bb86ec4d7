"""Scoring what is not yet scored of a live table, page by page: no row is sent again once its page is in the lake."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import timedelta
from logging import Logger, LoggerAdapter
from typing import TYPE_CHECKING, Any

from adfml_assets.archive.partitions_in_lake import find_personal_columns
from adfml_assets.archive.tables import SourceTable
from adfml_assets.asset_keys import archive_key
from adfml_assets.errors import AdfmlError
from adfml_assets.origins import build_facts, copy_columns
from adfml_assets.scoring.update_rows import begin_update, update_in
from adfml_assets.text.language_pages import RESERVED, PageStore, describe_keys
from adfml_assets.text.language_rows import RowsToScore
from adfml_assets.text.language_scoring import TextRules, score_page
from resources.control import ControlDatabase, utc_now
from resources.lake import Lake
from resources.language import Language
from resources.language_session import LanguageSession, Sending
from resources.language_turns import LEASE, Turn, hold_turn
from resources.manifest import Manifest, read_manifest

if TYPE_CHECKING:
    import pyarrow as pa
    import sqlalchemy as sa


class PastDay(AdfmlError):
    """Another day than today was asked for, and nothing was scored on it."""

    def __init__(self, name: str, day: str, today: str) -> None:
        self.name = name
        self.day = day
        self.today = today
        super().__init__(
            f"{name}, {day}: nothing was scored on that day, and rows can only be scored now. What is not scored yet "
            f"is taken by {today} (today, UTC): materialise that and nothing is missed."
        )


class ReservedColumn(AdfmlError):
    """A key has the name of a column of the result."""

    def __init__(self, table: str, key: str) -> None:
        self.table = table
        self.key = key
        super().__init__(
            f"{table}: key column {key!r} has the name of a column of the scores ({', '.join(RESERVED)}). Score a view "
            "that names it otherwise."
        )


@dataclass(frozen=True)
class Marks:
    """The columns that a row's outcome goes to.

    Attributes:
        sentiment, positive, neutral, negative: by the names of the table.
        scored: becomes 1 in a scored row.
        error_mark: what it becomes in a rejected one; None: it stays 0.
    """

    sentiment: str
    positive: str
    neutral: str
    negative: str
    scored: str
    error_mark: int | None


@dataclass(frozen=True)
class LanguageRun:
    """One run of one declaration.

    Attributes:
        name: of the declaration.
        asset: its key, slash-separated.
        rows: which rows are scored.
        rules: how texts are sent.
        marks: where the scores go.
        page_rows, concurrency: see LanguageEngine.
        model_version, api_version, secret: see LanguageEngine.
        lease: how long a run that is not heard of any more keeps others out.
    """

    name: str
    asset: str
    rows: RowsToScore
    rules: TextRules
    marks: Marks
    page_rows: int
    concurrency: int
    model_version: str = "latest"
    api_version: str | None = None
    secret: str | None = None
    lease: timedelta = LEASE


@dataclass
class Progress:
    """What a run did.

    Attributes:
        pages, scored, rejected: of this run.
        gone: rows that were deleted, or scored by somebody else, while they were being scored.
        recovered: rows of pages that a killed run had paid for, and whose update was made up for.
        characters, text_records: billed to this run's rows, as the service counts.
        sending: requests, and documents that may be billed twice.
        unwritten: whether the last page is in the lake and not (certainly) in the table.
    """

    pages: int = 0
    scored: int = 0
    rejected: int = 0
    gone: int = 0
    recovered: int = 0
    characters: int = 0
    text_records: int = 0
    sending: Sending = field(default_factory=Sending)
    unwritten: bool = False


def score_rows(
    run: LanguageRun,
    day: str,
    *,
    lake: Lake,
    control: ControlDatabase,
    language: Language,
    run_id: str,
    log: Logger | LoggerAdapter,
) -> tuple[Manifest, Progress, int]:
    """Score every row that is not scored yet, write the scores back, and make the day's files visible.

    The steps of a page: its texts are sent; its outcomes are written to the lake; they are written to the table in one
    transaction. A run that is killed has sent at most one page that is not in the lake, and the next run sends that
    one again; a page that is in the lake but not in the table is written there first. A run that fails keeps what it
    paid for, and the day's files hold it.

    Only today can be scored. For a past day what a killed run left of it is put together; nothing is sent.

    Returns:
        The day's manifest, what this run did, and how many rows are still to be scored.

    Raises:
        PastDay: the day is not today, and nothing was scored on it.
        TurnTaken: another run is scoring the table.
        NotFound, KeysNotUnique, KeyNotExact, MarkImpossible, ReservedColumn, UnexpectedValue: see there.
        Refused, Unreachable, SettingMissing, SettingInvalid: the service's, the database's, or a setting.
    """
    for key in run.rows.keys:
        if key in RESERVED:
            raise ReservedColumn(run.rows.name, key)
    marks = run.marks
    written = (marks.sentiment, marks.positive, marks.neutral, marks.negative)
    table = run.rows.describe(written, marks.error_mark)
    store = PageStore(lake, run.name, describe_keys(table, run.rows.keys), run.rows.name)
    today = utc_now().date().isoformat()
    progress = Progress()
    with ExitStack() as stack:
        # The turn is the table's: two declarations over one table take turns as well.
        turn = stack.enter_context(hold_turn(control.engine, run.rows.name, run_id, run.lease))
        _recover(run, store, table, turn, progress, run_id, day, log)
        if day != today:
            return _find_past(run, store, turn, day, today, run_id), progress, run.rows.count_unscored(table)
        session = stack.enter_context(
            language.open_session(secret=run.secret, model_version=run.model_version, api_version=run.api_version)
        )
        progress.sending = session.sending
        try:
            _score_pages(run, store, table, turn, session, day, progress, log)
        except BaseException:
            _keep_paid(run, store, turn, day, run_id, progress, log)
            raise
        manifest = _put_together(run, store, turn, day, run_id)
        return manifest, progress, run.rows.count_unscored(table)


def _score_pages(
    run: LanguageRun,
    store: PageStore,
    table: sa.Table,
    turn: Turn,
    session: LanguageSession,
    day: str,
    progress: Progress,
    log: Logger | LoggerAdapter,
) -> None:
    for number, rows in enumerate(run.rows.read_pages(table, run.page_rows), 1):
        turn.check()
        outcome = score_page(session, rows, run.rules, run.concurrency, utc_now())
        if outcome.rows:
            turn.check()
            page = store.write(day, turn.stamp, number, outcome.rows)
            progress.unwritten = True
            changed = write_page(run, table, page)
            progress.unwritten = False
            progress.pages += 1
            _count(progress, page, changed, run.marks.error_mark)
            log.info("Page %d: %d rows; %d scored so far.", number, len(rows), progress.scored)
        if outcome.failure is not None:
            raise outcome.failure


def _count(progress: Progress, page: pa.Table, changed: int, error_mark: int | None) -> None:
    import pyarrow.compute as pc

    rejected = page.num_rows - page["code"].null_count
    scored = page.num_rows - rejected
    progress.scored += scored
    progress.rejected += rejected
    progress.gone += scored + (rejected if error_mark is not None else 0) - changed
    progress.characters += pc.sum(page["characters"]).as_py() or 0
    progress.text_records += pc.sum(page["text_records"]).as_py() or 0


def write_page(run: LanguageRun, table: sa.Table, page: pa.Table) -> int:
    """Write a page's outcomes to the table, in one transaction; a row that is not 0 any more stays as it is.

    Returns:
        How many rows were changed.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    marks, keys = run.marks, list(run.rows.keys)
    fine = pc.is_null(page["code"])
    scored, rejected = page.filter(fine), page.filter(pc.invert(fine))
    columns = {name: getattr(marks, name) for name in ("sentiment", "positive", "neutral", "negative")}
    scored = scored.select([*keys, *columns]).rename_columns([*keys, *columns.values()])
    scored = scored.append_column(marks.scored, pa.array([1] * scored.num_rows, pa.int64()))
    rejected = rejected.select(keys)
    rejected = rejected.append_column(marks.scored, pa.array([marks.error_mark] * rejected.num_rows, pa.int64()))
    with begin_update(run.rows.databases, run.rows.database) as connection:
        changed = update_in(connection, table, keys, scored, only={marks.scored: 0})
        if marks.error_mark is not None:
            changed += update_in(connection, table, keys, rejected, only={marks.scored: 0})
    return changed


def _recover(
    run: LanguageRun,
    store: PageStore,
    table: sa.Table,
    turn: Turn,
    progress: Progress,
    run_id: str,
    day: str,
    log: Logger | LoggerAdapter,
) -> None:
    """Make up for what a killed run left: the update of its last page, and the files of its day."""
    left = store.list_pages()
    if not left:
        return
    # A page is written when the update of the one before it is committed: only the last can lack its own.
    last = store.read(left[-1])
    progress.recovered = write_page(run, table, last)
    log.info("A killed run left %d pages; %d rows were written back now.", len(left), progress.recovered)
    for other in sorted({page.day for page in left} - {day}):
        _put_together(run, store, turn, other, run_id)


def _put_together(run: LanguageRun, store: PageStore, turn: Turn, day: str, run_id: str) -> Manifest:
    turn.check()
    facts: dict[str, Any] = {"key": list(run.rows.keys), "language": run.rules.language}
    facts |= _describe_origins(run, store.lake)
    return store.put_together(day, turn.stamp, asset=run.asset, now=utc_now(), run_id=run_id, facts=facts)


def _describe_origins(run: LanguageRun, lake: Lake) -> dict[str, Any]:
    """What the scores are made of: the text, and the language of the row where it has a column."""
    rows = run.rows
    names = (rows.database, rows.schema or "", rows.table)
    asset = archive_key(*names).to_user_string()
    made_of = [(asset, name) for name in (rows.text, rows.language_column) if name]
    scores = ("sentiment", "positive", "neutral", "negative", "parts")
    origins = {**copy_columns(asset, rows.keys), **dict.fromkeys(scores, made_of)}
    personal = find_personal_columns(lake, SourceTable(*names))
    return build_facts(origins, {asset: personal}, list(origins))


def _keep_paid(
    run: LanguageRun,
    store: PageStore,
    turn: Turn,
    day: str,
    run_id: str,
    progress: Progress,
    log: Logger | LoggerAdapter,
) -> None:
    """Put what a failed run paid for into the day's files, unless its last page still has to go to the table: then all
    pages stay as they are, for the next run."""
    if progress.unwritten or progress.pages == 0:
        return
    try:
        _put_together(run, store, turn, day, run_id)
    except Exception as error:
        # The first error is the one to tell; the pages stay, and the next run puts them together.
        log.warning("The pages of %s could not be put together now: %s", day, error)


def _find_past(run: LanguageRun, store: PageStore, turn: Turn, day: str, today: str, run_id: str) -> Manifest:
    if store.list_paths(day):
        return _put_together(run, store, turn, day, run_id)
    standing = read_manifest(store.lake, store.build_folder(day))
    if standing is None:
        raise PastDay(run.rows.name, day, today)
    return standing
