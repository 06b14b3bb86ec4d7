"""One setting says which environment this is; schedules follow from it, unless another setting says otherwise."""

from __future__ import annotations

import pytest

from resources.environment import Environment, read_environment
from resources.errors import SettingInvalid


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, Environment("dev", schedules_on=False)),
        ({"ADFML_ENVIRONMENT": "dev"}, Environment("dev", schedules_on=False)),
        ({"ADFML_ENVIRONMENT": "staging"}, Environment("staging", schedules_on=False)),
        ({"ADFML_ENVIRONMENT": " production "}, Environment("production", schedules_on=True)),
        ({"ADFML_ENVIRONMENT": "production", "ADFML_SCHEDULES": "off"}, Environment("production", schedules_on=False)),
        ({"ADFML_ENVIRONMENT": "staging", "ADFML_SCHEDULES": "on"}, Environment("staging", schedules_on=True)),
        ({"ADFML_ENVIRONMENT": "", "ADFML_SCHEDULES": ""}, Environment("dev", schedules_on=False)),
    ],
)
def test_schedules_are_on_in_production_or_where_they_are_turned_on(
    given: dict[str, str], expected: Environment
) -> None:
    assert read_environment(given) == expected


@pytest.mark.parametrize(
    ("setting", "value", "expected"),
    [
        ("ADFML_ENVIRONMENT", "Production", "dev, staging or production, found 'Production'"),
        ("ADFML_ENVIRONMENT", "prod", "dev, staging or production"),
        ("ADFML_SCHEDULES", "yes", "on or off, found 'yes'"),
    ],
)
def test_a_word_that_is_none_of_them_is_refused(setting: str, value: str, expected: str) -> None:
    with pytest.raises(SettingInvalid, match=expected) as refused:
        read_environment({setting: value})
    assert refused.value.setting == setting


def test_the_process_s_own_environment_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADFML_ENVIRONMENT", "production")
    monkeypatch.delenv("ADFML_SCHEDULES", raising=False)
    assert read_environment().schedules_on
