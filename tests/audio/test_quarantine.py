from __future__ import annotations

from earlayers.audio.quarantine import quarantined


def test_a_run_that_is_alive_is_not_taken_for_one_that_died(tmp_path, caplog):
    output = tmp_path / "frames"

    def meanwhile(item: str) -> str:
        with quarantined(str.upper, ["a"], str, output) as second:
            return second(item)

    with quarantined(meanwhile, ["a"], str, output) as first:
        assert first("a") == "A"
    assert caplog.text == ""
    assert list(tmp_path.iterdir()) == []
