# SPDX-License-Identifier: MIT
"""The rooms behind the doors of Vireo's Triton backends."""
