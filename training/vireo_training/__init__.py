# SPDX-License-Identifier: MIT
"""How the networks and the sample clip that Vireo ships were made."""
