import numpy as np
import pytest

from earlayers.genres.voting import vote, vote_clips


def test_the_majority_of_rows_wins_against_the_higher_sum():
    found = vote(np.array([[0.6, 0.4], [0.6, 0.4], [0.0, 1.0]]))
    assert (found.winner, found.winner_by_sum) == (0, 1)
    assert found.share == pytest.approx(2 / 3)
    np.testing.assert_allclose(found.probabilities, [0.4, 0.6])


def test_a_tie_goes_to_the_tied_genre_with_the_higher_sum():
    # genres 1 and 2 have a row each; genre 0 has the highest sum of all but no row
    found = vote(np.array([[0.45, 0.55, 0.0], [0.45, 0.0, 0.55], [0.3, 0.3, 0.4], [0.4, 0.45, 0.15]]))
    assert found.winner_by_sum == 0
    assert found.winner == 1


def test_a_tie_in_votes_and_sums_goes_to_the_first_genre():
    assert vote(np.array([[0.2, 0.8, 0.0], [0.8, 0.2, 0.0]])).winner == 0


def test_a_row_undecided_between_two_genres_counts_for_the_first():
    assert vote(np.array([[0.0, 0.5, 0.5]])).winner == 1


def test_a_clip_without_rows_is_refused():
    with pytest.raises(ValueError, match="at least one frame or window"):
        vote(np.empty((0, 3)))


def test_every_clip_votes_with_its_own_rows():
    probabilities = np.eye(3)[[0, 0, 1, 2, 2, 2]]
    assert [found.winner for found in vote_clips(probabilities, [2, 1, 3])] == [0, 1, 2]


def test_rows_that_belong_to_no_clip_are_refused():
    with pytest.raises(ValueError, match="2 rows in all cannot share 3 rows"):
        list(vote_clips(np.ones((3, 2)), [1, 1]))
