# SPDX-License-Identifier: MIT
"""The specification: every operation in plain NumPy and whole numbers. Slow, short, and right by definition."""
