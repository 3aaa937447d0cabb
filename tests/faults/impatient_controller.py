"""The program of a controller job, for tests that warn it: ``impatient_controller.py RUN``.

What runs gets no time after a warning, as after a walltime that has passed; NAS_TEST_TRIES: seconds for which a batch
system is asked to begin the job again.
"""

from __future__ import annotations

import os

from nas import driver
from nas.submit import controller

if __name__ == "__main__":
    driver.GRACE = 0.0
    if "NAS_TEST_TRIES" in os.environ:  # ten minutes, for people
        controller.TRIES = float(os.environ["NAS_TEST_TRIES"])
    controller.main()
