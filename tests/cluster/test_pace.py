"""What a worker whose time is nearly up is still given."""

import pytest

from nas.cluster.pace import REPORTS, Pace


@pytest.mark.parametrize(
    ("resumable", "reports", "needs"),
    [(False, [2.0, 3.0], 10.0), (True, [2.0, 3.0], REPORTS * 2.0), (True, [9.0], 10.0), (True, [], 10.0)],
)
def test_an_attempt_is_begun_where_it_will_end_or_can_leave_its_state(resumable, reports, needs):
    """Else workers drain for as long as a trial is, though an epoch of it would be kept; or train what is cut off."""
    pace = Pace(resumable)
    assert pace.needs() == 0.0, "nothing is known yet"
    pace.began("one", 100.0)
    pace.began("another", 100.0)
    for report in reports:
        pace.reported("one", 100.0 + report)
    pace.ended("one", 110.0)
    pace.ended("another", 101.0)
    assert pace.needs() == needs
