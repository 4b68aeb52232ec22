# SPDX-License-Identifier: MIT
"""Arrays in, arrays out: colour, resize and transfer functions."""
