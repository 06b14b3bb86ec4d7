"""How the control database's tables change from one version of adfml to the next, by alembic.

A change of `resources/control_tables.py` needs a revision in `versions/` and its number as `HEAD` in
`resources/migrations/revisions.py` (as `COMPATIBLE_FROM`, too, where it does more than add): `tests/migrations` fails
until every revision leads to exactly the tables declared. A draft, compared with the database at ADFML_CONTROL_URL, is
written by `alembic revision --autogenerate --rev-id 0003 -m "alert rows"`.
"""
