"""What keeps a server from scoring by one of its own means, or from keeping a model: one sentence each."""

from __future__ import annotations

from collections.abc import Sequence

from adfml_assets.errors import AdfmlError


class WayUnavailable(AdfmlError):
    """A way of scoring inside the database that this server, or this model, does not have.

    Attributes:
        platform: what the server is.
        way: `compiled`, `predict` or `external_script`; `auto` where none of them is possible.
        reason: why not.
        use: what to do instead.
    """

    def __init__(self, platform: str, way: str, reason: str, use: str) -> None:
        self.platform = platform
        self.way = way
        self.reason = reason
        self.use = use
        super().__init__(f"{reason}: {use}.")


class NoModelStore(AdfmlError):
    """A database has no table for models.

    Attributes:
        database, table: where it was looked for.
        file: of `resources/sql`, that makes it.
    """

    def __init__(self, database: str, table: str, file: str) -> None:
        self.database = database
        self.table = table
        self.file = file
        super().__init__(
            f"Database '{database}' has no table {table}: make it by resources/sql/{file}, or give --create-table to "
            "adfml register-model."
        )


class ModelStoreInvalid(AdfmlError):
    """A table for models is there, and is not what is needed.

    Attributes:
        table: its name.
        missing: columns, or the index, that it lacks.
        file: of `resources/sql`, that makes the right one.
    """

    def __init__(self, table: str, missing: Sequence[str], file: str) -> None:
        self.table = table
        self.missing = tuple(missing)
        self.file = file
        super().__init__(
            f"Table {table} lacks {', '.join(missing)}: it was not made by resources/sql/{file}. Rename it, run that "
            "file, and register the models again."
        )


class WrongModelBytes(AdfmlError):
    """The bytes of a model are not what its hash says.

    Attributes:
        where: the model and version, and where its bytes are.
        expected, found: SHA-256, hexadecimal.
    """

    def __init__(self, where: str, expected: str, found: str) -> None:
        self.where = where
        self.expected = expected
        self.found = found
        super().__init__(
            f"{where}: its SHA-256 is {found}, recorded was {expected}: the bytes were changed since. Nothing was "
            "stored or loaded; restore the file, or train the model again."
        )


class VersionStored(AdfmlError):
    """Another model is stored under a version already.

    Attributes:
        model, version: which one.
        stored, given: what is there, and what was to be stored: the facts that differ.
    """

    def __init__(self, model: str, version: str, table: str, stored: str, given: str) -> None:
        self.model = model
        self.version = version
        self.table = table
        self.stored = stored
        self.given = given
        super().__init__(
            f"{table} has another model as version {version} of {model} already ({stored}; given: {given}). "
            "A stored version never changes: train a new version."
        )


class NoSuchStoredVersion(AdfmlError):
    """A version that the table for models does not have.

    Attributes:
        model: its name.
        version: the one asked for; None: the active one.
        known: the versions there are.
    """

    def __init__(self, model: str, version: str | None, table: str, known: Sequence[str]) -> None:
        self.model = model
        self.version = version
        self.table = table
        self.known = tuple(known)
        wanted = f"no version {version!r}" if version is not None else "no active version"
        super().__init__(
            f"{table} has {wanted} of model {model} (it has: {', '.join(known) or 'none'}). Register one: "
            f"adfml register-model {model} VERSION."
        )


class CannotLoad(AdfmlError):
    """A model that may not, or cannot, be loaded here.

    Attributes:
        where: its file.
        reason: why not.
    """

    def __init__(self, where: str, reason: str) -> None:
        self.where = where
        self.reason = reason
        super().__init__(f"{where} is refused: {reason}. Nothing of it was used; train the model again.")
