from __future__ import annotations

import pytest

from earlayers.default_data.names import slug, trecento_group, tune_group, tune_title


@pytest.mark.parametrize(
    "titles",
    [
        ("Money Musk -- Reel", "MONEY MUSK -- STRATHSPEY", "Money Musk"),
        ("Blast of Wind, The", "A Blast of Wind", "The Blast of Wind.", "The Rakes of Westmeath -- Jig"),
        ("The Riding Mile, 2nd Setting", "Riding Mile"),
        ("O'Dwyer's Reel", "ODwyers -- Hornpipe"),
    ],
)
def test_versions_of_a_tune_are_one_group(titles):
    assert len({tune_group(title) for title in titles}) == 1


def test_versions_of_a_trecento_piece_are_one_group_and_others_are_not():
    assert trecento_group("PMFC_12_10a-Credo") == trecento_group("PMFC_12_10b-Credo")
    assert trecento_group("PMFC_12_10a-Credo") != trecento_group("PMFC_12_11a-Credo")


def test_titles_are_written_as_one_says_them():
    assert tune_title("Fisherman's Song., The") == "The Fisherman's Song"
    assert tune_title("Acacia -- Reel") == "Acacia"


def test_slugs_are_plain():
    assert slug("Wer nur den lieben Gott läßt walten") == "wer_nur_den_lieben_gott_lasst_walten"
