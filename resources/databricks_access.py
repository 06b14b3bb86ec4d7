"""What an identity is and may do in a Databricks workspace, without running anything."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from resources.databricks import translate_error
from resources.errors import NotFound, Refused
from resources.settings import DATABRICKS_RESOURCE_ID, DATABRICKS_TOKEN

if TYPE_CHECKING:
    from resources.databricks import Databricks

SIGN_IN = "Databricks' sign-in"
RUNNING_LEVELS = frozenset({"CAN_MANAGE_RUN", "CAN_MANAGE", "IS_OWNER"})
"""Permissions on a job that let one run it (Databricks, "Job ACLs")."""


@dataclass(frozen=True)
class WorkspaceUser:
    """Who is signed in: a user's name or a service principal's application id, and the groups it is in."""

    name: str
    groups: frozenset[str]


def read_user(databricks: Databricks) -> WorkspaceUser:
    """Who the workspace takes the identity or token for.

    Raises:
        SettingMissing: ADFML_DATABRICKS_HOST. Refused: of the service `SIGN_IN` where the workspace does not take the
            token. Unreachable: it does not answer.
    """
    from databricks.sdk import errors

    try:
        me = databricks.client.current_user.me()
    except (errors.Unauthenticated, errors.PermissionDenied) as error:
        token = DATABRICKS_TOKEN
        check = (
            f"that the token in {token.name} (or {token.secret_name}) is of this workspace and has not ended"
            if token.read()
            else f"that the identity is a user of the workspace, or set {DATABRICKS_RESOURCE_ID.name}"
        )
        # What the SDK adds to it is its configuration.
        reason = str(error).partition(" Config: ")[0]
        raise Refused(SIGN_IN, str(databricks.client.config.host), reason, check) from None
    except Exception as error:
        raise translate_error(error, None) from None
    return WorkspaceUser(str(me.user_name or me.id), frozenset(str(group.display) for group in me.groups or ()))


def read_levels(databricks: Databricks, job_id: int, user: WorkspaceUser) -> frozenset[str] | None:
    """The permissions that a user has on a job, by itself and by its groups; None: it may not read them.

    Raises:
        NotFound: there is no such job. Refused, Unreachable: the workspace's word.
    """
    from databricks.sdk import errors

    try:
        held = databricks.client.permissions.get("jobs", str(job_id))
    except errors.PermissionDenied:
        return None
    except errors.NotFound:
        raise NotFound("job", str(job_id), f"the workspace {databricks.client.config.host}", ()) from None
    except Exception as error:
        raise translate_error(error, None) from None
    return frozenset(level for entry in held.access_control_list or () if _is(entry, user) for level in _levels(entry))


def _is(entry: Any, user: WorkspaceUser) -> bool:
    return user.name in (entry.user_name, entry.service_principal_name) or entry.group_name in user.groups


def _levels(entry: Any) -> list[str]:
    return [one.permission_level.value for one in entry.all_permissions or () if one.permission_level is not None]


def find_registered_model(databricks: Databricks, name: str) -> bool:
    """Whether Unity Catalog has a registered model that the identity can see.

    Raises:
        Refused, Unreachable: the workspace's word.
    """
    from databricks.sdk import errors

    try:
        databricks.client.registered_models.get(name)
    except errors.NotFound:
        return False
    except Exception as error:
        raise translate_error(error, None) from None
    return True
