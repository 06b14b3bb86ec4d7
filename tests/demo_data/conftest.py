from pathlib import Path

import pytest

from demo.sample_shop import write_sample_shop
from demo.shop_schema import ShopSummary


@pytest.fixture(scope="session")
def sample(tmp_path_factory) -> tuple[Path, ShopSummary]:
    """The sample shop as it is made without arguments; not to be written to."""
    path = tmp_path_factory.mktemp("sample") / "shop.db"
    return path, write_sample_shop(path)
