"""Parameters of the slow layer: ``real(value)`` in a list of them is run by ``tox -e real``."""

from __future__ import annotations

from functools import partial

import pytest

real = partial(pytest.param, marks=pytest.mark.real)
