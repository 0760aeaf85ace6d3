from __future__ import annotations

import pytest

from earlayers.errors import UserError
from earlayers.reporting.readme import BEGIN, END, replace_block


def test_only_what_stands_between_the_markers_is_replaced():
    readme = f"before\n{BEGIN}\nold\n{END}\nafter\n"
    assert replace_block(readme, "| new |\n") == f"before\n{BEGIN}\n| new |\n{END}\nafter\n"


def test_the_same_tables_change_nothing():
    once = replace_block(f"{BEGIN}{END}", "| new |\n")
    assert replace_block(once, "| new |\n") == once


@pytest.mark.parametrize("readme", ["", BEGIN, f"{END}{BEGIN}", f"{BEGIN}{END}{BEGIN}{END}"])
def test_missing_or_doubled_markers_are_refused(readme):
    with pytest.raises(UserError, match="once each"):
        replace_block(readme, "x")
