"""`adfml train` and `adfml score`: the end-to-end workflow, launched in the deployment at DAGSTER_HOME."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adfml_cli import output
from adfml_cli.errors import CommandFailed, WorkflowFailed
from adfml_cli.people import name_user

if TYPE_CHECKING:
    import dagster as dg

    from adfml_assets.workflow import Workflow
    from resources.control import ControlDatabase

Say = Callable[[str], None]


def launch(
    mode: str, *, workflow: str | None, refresh: bool, wait: bool, say: Say, show: Say, **given: str | None
) -> str | None:
    """Launch the workflow over what is missing, and wait for its end if told so.

    Args:
        mode: train or score.
        workflow: which, by its name; None: the only one that is declared.
        refresh: materialise everything again.
        wait: for the end of the backfill.
        say: takes a line of plain text.
        show: takes a line in rich's markup.
        given: the workflow's other parameters, as `parse_parameters` takes them. A model that is to be trained without
            a version gets its next free one.

    Returns:
        The backfill's id; None where nothing is missing.

    Raises:
        CommandFailed: there is no deployment, or no such workflow.
        WorkflowFailed: it was waited for, and did not end well.
        AdfmlError, ResourceError: see `parse_parameters` and `launch_workflow`.
    """
    from adfml_assets.workflow import launch_workflow
    from adfml_assets.workflow_parameters import parse_parameters
    from adfml_cli.daemon import await_reload
    from resources.control import ControlDatabase

    parse_parameters(mode, refresh=refresh, **given)
    with open_instance() as instance:
        repository = load_repository()
        declared = choose_workflow(repository, workflow)
        control, model = ControlDatabase(), given.get("model_name")
        if mode == "train" and model and not given.get("model_version"):
            given["model_version"] = find_next_version(instance, control, model)
        await_reload(say)
        backfill_id = launch_workflow(
            instance,
            repository.asset_graph,
            declared,
            parse_parameters(mode, refresh=refresh, **given),
            open_registry=lambda: control.models,
            launched_by=name_user(),
            say=say,
        )
        if backfill_id is None:
            return None
        follow(instance, backfill_id, f"{declared.name}, mode {mode}", wait=wait, say=say, show=show)
    return backfill_id


def follow(instance: dg.DagsterInstance, backfill_id: str, name: str, *, wait: bool, say: Say, show: Say) -> None:
    """Say how a backfill that was just launched is watched, and wait for its end if told so.

    Raises:
        WorkflowFailed: it was waited for, and did not end well.
    """
    from adfml_cli.watching import find_no_daemon

    say(f"Watch it: adfml watch {backfill_id}, or /runs/b/{backfill_id} in Dagster's UI.")
    if wait:
        _wait(instance, backfill_id, name, say, show)
    elif (silent := find_no_daemon(instance)) is not None:
        say(silent)


def run_workflow(mode: str, *, as_json: bool, **given: Any) -> None:
    """`launch`, with what it says as text, or as one JSON document: the backfill as it is then, and the messages.

    Raises:
        CommandFailed, WorkflowFailed, AdfmlError, ResourceError: as `launch`.
    """
    tell_launch(lambda say, show: launch(mode, say=say, show=show, **given), as_json=as_json)


def run_watch(backfill_id: str, *, as_json: bool) -> None:
    """`watch`, with what it says as text, or as one JSON document.

    Raises:
        CommandFailed, WorkflowFailed: as `watch`.
    """

    def run(say: Say, show: Say) -> str:
        watch(backfill_id, say, show)
        return backfill_id

    tell_launch(run, as_json=as_json)


def tell_launch(run: Callable[[Say, Say], str | None], *, as_json: bool, more: Mapping[str, Any] | None = None) -> None:
    """Run what launches a backfill, and print what it says as text, or as one JSON document with the backfill.

    Args:
        run: takes how a line of plain text, and of rich's markup, is said; returns the backfill's id, if there is one.
        more: what else is in the document.

    Raises:
        WorkflowFailed: it was waited for and did not end well; the document is printed all the same.
    """
    if not as_json:
        run(output.say, output.show)
        return
    messages: list[str] = []
    try:
        backfill_id = run(messages.append, output.show_aside)
    except WorkflowFailed as error:
        failed = {"backfill": _describe(error.backfill_id), "messages": messages, "failures": error.messages}
        output.print_json({**(more or {}), **failed})
        raise
    output.print_json({**(more or {}), "backfill": _describe(backfill_id), "messages": messages, "failures": []})


def _describe(backfill_id: str | None) -> dict[str, Any] | None:
    """A backfill as JSON: what it is about, and how it stands."""
    if backfill_id is None:
        return None
    with open_instance() as instance:
        backfill = instance.get_backfill(backfill_id)
    if backfill is None or backfill.asset_backfill_data is None:
        return None
    subsets = backfill.asset_backfill_data.target_subset.partitions_subsets_by_asset_key
    return {
        "id": backfill_id,
        "title": backfill.title,
        "status": backfill.status.value,
        "assets": {key.to_user_string(): sorted(subsets[key].get_partition_keys()) for key in sorted(subsets)},
        "tags": backfill.tags,
    }


def watch(backfill_id: str, say: Say, show: Say) -> None:
    """Say what a backfill does until it has ended.

    Raises:
        CommandFailed: there is no deployment, or no such backfill.
        WorkflowFailed: it did not end well.
    """
    with open_instance() as instance:
        if instance.get_backfill(backfill_id) is None:
            raise CommandFailed(
                f"There is no backfill {backfill_id!r} in the deployment at {os.environ['DAGSTER_HOME']}."
            )
        _wait(instance, backfill_id, f"Backfill {backfill_id}", say, show)


def _wait(instance: dg.DagsterInstance, backfill_id: str, name: str, say: Say, show: Say) -> None:
    from adfml_cli.watching import find_no_daemon, has_ended, wait_for_backfill

    if not has_ended(instance.get_backfill(backfill_id)) and (silent := find_no_daemon(instance)) is not None:
        say(silent)
    try:
        wait_for_backfill(instance, backfill_id, name, show)
    except KeyboardInterrupt:
        raise CommandFailed(f"Nobody waits any longer; backfill {backfill_id} goes on.") from None
    say(f"Backfill {backfill_id} has ended well.")


@contextmanager
def open_instance() -> Iterator[dg.DagsterInstance]:
    """The Dagster instance of the deployment.

    Raises:
        CommandFailed: DAGSTER_HOME is not set, or no folder with a dagster.yaml.
    """
    home = os.environ.get("DAGSTER_HOME", "").strip()
    if not home:
        raise CommandFailed(
            "DAGSTER_HOME is not set: the deployment's folder, with its dagster.yaml, whose daemon is to do the work."
        )
    if not Path(home).is_absolute():
        raise CommandFailed(f"DAGSTER_HOME is {home!r}: expected an absolute path.")
    if not (Path(home) / "dagster.yaml").is_file():
        raise CommandFailed(f"DAGSTER_HOME is {home!r}, which has no dagster.yaml: expected the deployment's folder.")
    import dagster as dg

    with warnings.catch_warnings():
        # Of Dagster's own making: it copies assets and sensors, and selects groups, with parameters it calls beta.
        warnings.simplefilter("ignore", dg.BetaWarning)
        with dg.DagsterInstance.get() as instance:
            yield instance


def load_repository() -> dg.RepositoryDefinition:
    """All that this deployment declares.

    Raises:
        CommandFailed: Dagster cannot load it.
        InvalidDeclarations: a defs.yaml is wrong.
    """
    import dagster as dg

    from adfml_assets.definitions import defs

    try:
        return defs().get_repository_def()
    except dg.DagsterError as error:
        raise CommandFailed(f"The definitions cannot be loaded (`dg check defs` says more): {error}") from error


def choose_workflow(repository: dg.RepositoryDefinition, name: str | None) -> Workflow:
    """A declared EndToEndWorkflow: by its name, or the only one; where none is declared, one of everything.

    Raises:
        CommandFailed: there is none of that name, or there are several and none was named.
    """
    from adfml_assets.components.end_to_end_workflow import find_workflow
    from adfml_assets.workflow import SCORE, TRAIN, Workflow

    found = {job.name: find_workflow(job.name, job.metadata) for job in repository.get_all_jobs()}
    workflows = {name: workflow for name, workflow in found.items() if workflow is not None}
    names = ", ".join(sorted(workflows)) or "none"
    if name is not None:
        if name not in workflows:
            raise CommandFailed(f"There is no EndToEndWorkflow {name!r}; declared are: {names}.")
        return workflows[name]
    if not workflows:
        return Workflow("everything", TRAIN, SCORE)
    if len(workflows) != 1:
        raise CommandFailed(f"Name the workflow by --workflow; declared are: {names}.")
    return next(iter(workflows.values()))


def find_next_version(instance: dg.DagsterInstance, control: ControlDatabase, model: str) -> str:
    """The number after the largest that a model has: a partition, trained or not, registered, or asked for by drift."""
    from adfml_assets.partitions import build_model_versions

    known = {
        *instance.get_dynamic_partitions(build_model_versions(model).name or ""),
        *(one.version for one in control.models.list_versions(model)),
        *(one.version for one in control.retrainings.list_all(model)),
    }
    return str(max((int(version) for version in known if version.isdecimal()), default=0) + 1)
