"""How a stage starts, ends, resumes and reports."""

import os
import signal

from stages.pipeline.processes import end_with_parent

if "DVC_STAGE" in os.environ:  # before anything that takes time: nobody would wait for the outputs of an orphan
    end_with_parent(signal.SIGTERM)
