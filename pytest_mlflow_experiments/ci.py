"""What the CI that a session runs in tells of itself."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Final

from .records import LEGAL_ID

_RUNS: Final = {
    "GITHUB_RUN_ID": "github",
    "CI_PIPELINE_ID": "gitlab",
    "CIRCLE_WORKFLOW_ID": "circleci",
    "BUILDKITE_BUILD_ID": "buildkite",
    "BUILD_BUILDID": "azure",
    "BUILD_TAG": "jenkins",
}
"""The variables that hold the id of a run of all jobs, and whose they are."""


def joint_session_id(text: str, environ: Mapping[str, str] = os.environ) -> str:
    """Return the id of a session that several machines share.

    Args:
        text: the id, or ``auto`` for one that all jobs of a run of the CI have in common.
        environ: where the CI tells of it.

    Raises:
        ValueError: the id is not legal, or the CI is not known.
    """
    if text == "auto":
        text = next(
            (f"{system}-{environ[name]}" for name, system in _RUNS.items() if environ.get(name)), ""
        )
        text = re.sub(r"[^A-Za-z0-9._-]+", "-", text)
        if not text:
            raise ValueError(
                "'auto' needs the id of a CI's run, and none of "
                f"{', '.join(_RUNS)} is set; give the shards an id of your own"
            )
    if not LEGAL_ID.fullmatch(text):
        raise ValueError(
            f"expected up to 100 letters, digits, '.', '_' and '-', the first a letter or digit, "
            f"got {text!r}"
        )
    return text
