# SPDX-License-Identifier: MIT
"""Parameters of config.pbtxt: read by type, refused by name."""

import json

import pytest


def args(**parameters):
    given = {key: {"string_value": value} for key, value in parameters.items()}
    return {"model_config": json.dumps({"name": "decode", "parameters": given})}


def test_values_are_read_as_the_type_of_their_default():
    from vireo_server.settings import DecodeSettings, read_settings

    settings = read_settings(DecodeSettings, args(max_rows="4", idle_seconds="2.5", codecs="h264, hevc"))
    assert (settings.max_rows, settings.idle_seconds, settings.codecs) == (4, 2.5, ("h264", "hevc"))


def test_an_unknown_parameter_lists_the_known_ones():
    from vireo_server.errors import SettingError
    from vireo_server.settings import DecodeSettings, read_settings

    with pytest.raises(
        SettingError, match=r"decode: unknown parameter 'max_row'; known are codecs, device_memory, idle_seconds"
    ):
        read_settings(DecodeSettings, args(max_row="4"))


@pytest.mark.parametrize(("key", "value"), [("max_rows", "many"), ("max_rows", "0"), ("idle_seconds", "-1")])
def test_a_value_that_cannot_work_is_named(key, value):
    from vireo_server.errors import SettingError
    from vireo_server.settings import DecodeSettings, read_settings

    with pytest.raises(SettingError, match=key):
        read_settings(DecodeSettings, args(**{key: value}))


def test_tritons_own_parameters_are_left_to_triton():
    from vireo_server.settings import DecodeSettings, read_settings

    assert read_settings(DecodeSettings, args(FORCE_CPU_ONLY_INPUT_TENSORS="no")) == DecodeSettings()
