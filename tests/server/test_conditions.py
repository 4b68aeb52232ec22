# SPDX-License-Identifier: MIT
"""What a network is told beside the picture: options, what decode knows, and what an unknown is."""

from dataclasses import replace

import numpy as np
import pytest
from vireo_server.conditions import Columns
from vireo_server.errors import SettingError
from vireo_server.tags import NOTHING

COLUMNS = Columns(
    ("strength=1", "quantizer_step", "loop_filter", "noise=0"), ("strength<=0", "quantizer_step<=4 & noise<=0")
)
FORMAT = replace(NOTHING, codec="h264", quantizer_steps=(3.0, 20.0, 30.0))


def rows(**options):
    return COLUMNS.rows(replace(FORMAT, options=options), np.array([0, 2]))


def test_columns_are_options_defaults_and_what_decode_knows():
    assert rows().tolist() == [[1, 3, 1, 0], [1, 30, 1, 0]]
    assert rows(strength=0.5, noise=2, other=9).tolist() == [[0.5, 3, 1, 2], [0.5, 30, 1, 2]]
    assert rows(quantizer_step=7).tolist() == [[1, 7, 1, 0], [1, 7, 1, 0]]
    assert COLUMNS.rows(replace(FORMAT, codec="mjpeg"), np.array([1])).tolist() == [[1, 20, 0, 0]]


def test_rows_for_which_there_is_nothing_to_do():
    assert COLUMNS.idle(rows()).tolist() == [True, False]
    assert COLUMNS.idle(rows(noise=1)).tolist() == [False, False]
    assert COLUMNS.idle(rows(strength=0)).tolist() == [True, True]


def test_an_unknown_step_is_nothing_to_repair_and_is_said_unless_the_caller_gave_it():
    unknown = replace(FORMAT, codec="hevc", quantizer_steps=(None,))
    assert COLUMNS.rows(unknown, np.array([0])).tolist() == [[1, 0, 1, 0]]
    assert "hevc does not tell this server" in COLUMNS.note(unknown)
    assert COLUMNS.note(replace(unknown, options={"quantizer_step": 9})) is None
    assert COLUMNS.note(FORMAT) is None
    assert Columns(("strength=1",), ()).note(unknown) is None


@pytest.mark.parametrize(
    ("condition", "skip", "said"),
    [
        (("strength",), (), "condition has 'strength'; allowed: quantizer_step, loop_filter, or OPTION=DEFAULT"),
        (("strength=x",), (), "condition has 'strength=x'"),
        (("strength=1",), ("noise<=0",), "skip has 'noise<=0'; allowed: COLUMN<=NUMBER"),
        (("strength=1",), ("strength",), "skip has 'strength'"),
        ((), ("strength<=0",), "with the columns of condition, which is empty"),
    ],
)
def test_a_configuration_that_cannot_be_says_what_can(condition, skip, said):
    with pytest.raises(SettingError, match=said):
        Columns(condition, skip)
