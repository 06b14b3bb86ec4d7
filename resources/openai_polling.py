"""Looking many batches up: by list, singly where a list does not reach, for each key apart.

What is wrong with one key, or with the secret that holds it, keeps nobody from looking up the batches of others.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TYPE_CHECKING

from resources.errors import ResourceError, Unreachable
from resources.openai_account import OpenAIAccount
from resources.remote_jobs import RemoteJob
from resources.settings import KEY_VAULT_URL

if TYPE_CHECKING:
    from openai.types import Batch

_OPENING_SECONDS = 2.0
"""How long the Key Vault gets at least, however little time there is."""


def look_up(
    jobs: Sequence[tuple[RemoteJob, OpenAIAccount]], stop_at: float, concurrency: int
) -> tuple[dict[str, Batch | None], list[ResourceError]]:
    """The batches of jobs, as far as there is time.

    Args:
        jobs: each with the account it was submitted by.
        stop_at: when to stop (time.monotonic()).
        concurrency: requests under way at once.

    Returns:
        By remote id the batch, or None where the service does not know it; and what kept others from being looked up.
    """
    groups: dict[OpenAIAccount, list[RemoteJob]] = {}
    for job, account in jobs:
        groups.setdefault(account, []).append(job)
    found: dict[str, Batch | None] = {}
    opened, problems = _open_accounts(list(groups), stop_at, concurrency)

    def list_group(account: OpenAIAccount) -> OpenAIAccount | None:
        try:
            found.update(_list_batches(account, groups[account], stop_at))
        except ResourceError as error:
            problems.append(error)
            return None
        return account

    def get(pair: tuple[RemoteJob, OpenAIAccount]) -> None:
        job, account = pair
        if time.monotonic() > stop_at:
            return
        try:
            found[str(job.remote_id)] = account.get_batch(str(job.remote_id))
        except ResourceError as error:
            problems.append(error)

    with ThreadPoolExecutor(concurrency, thread_name_prefix="openai-poll") as pool:
        listed = {account for account in pool.map(list_group, opened) if account is not None}
        list(pool.map(get, [pair for pair in jobs if pair[1] in listed and str(pair[0].remote_id) not in found]))
    return found, problems


def _open_accounts(
    accounts: Sequence[OpenAIAccount], stop_at: float, concurrency: int
) -> tuple[list[OpenAIAccount], list[ResourceError]]:
    """The accounts whose keys could be read. Beside others, none is waited for until there is no time for them."""
    problems: list[ResourceError] = []
    named = [account for account in accounts if account.key_secret and not account.is_open]
    if named:
        most = None if len(accounts) == 1 else max((stop_at - time.monotonic()) / 2, _OPENING_SECONDS)
        pool = ThreadPoolExecutor(concurrency, thread_name_prefix="openai-key")
        futures = {pool.submit(account.open): account for account in named}
        # A read that takes longer goes on: the next look has its key.
        pool.shutdown(wait=False)
        done, late = wait(futures, most)
        for future in done:
            error = future.exception()
            if isinstance(error, ResourceError):
                problems.append(error)
            elif error is not None:
                raise error
        for future in late:
            reason = f"secret {futures[future].key_secret!r} was not read in the time there is"
            vault = KEY_VAULT_URL.read_given()
            problems.append(Unreachable("Key Vault", vault, reason, "the vault's state and the network"))
    return [account for account in accounts if account.is_open or not account.key_secret], problems


def _list_batches(account: OpenAIAccount, jobs: Sequence[RemoteJob], stop_at: float) -> dict[str, Batch]:
    found: dict[str, Batch] = {}
    if len(jobs) == 1:
        return found  # one request either way, and the answer to this one is certain
    wanted = {str(job.remote_id) for job in jobs}
    oldest = min(job.submitted_at or job.created_at for job in jobs)
    # Others may use the resource as well: no more pages than would be worth it.
    for batch in account.list_since(oldest, max_pages=2 + len(jobs) // 10):
        if batch.id in wanted:
            found[batch.id] = batch
        if len(found) == len(wanted) or time.monotonic() > stop_at:
            break
    return found
