# SPDX-License-Identifier: MIT
"""Containers and packets: demux, segments, time stamps, tags, mux."""
