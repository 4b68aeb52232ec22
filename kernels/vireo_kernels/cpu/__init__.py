# SPDX-License-Identifier: MIT
"""The compiled CPU versions (numba): one pass over each row, no array larger than a few rows, no GIL held.

Each function works in the calling thread only: run it from several threads on several frames.
"""
