# SPDX-License-Identifier: MIT
"""Files in, files out: the client of Vireo's services and its command line."""
