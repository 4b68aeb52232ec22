# SPDX-License-Identifier: MIT
"""What can go wrong with media, as one tree. Every error is also the builtin that fits it best.

    VireoError(Exception)
    ├── InputError(ValueError)          a source cannot be read, or is not a video
    │   └── InputMissingError(FileNotFoundError)
    ├── OutputError(ValueError)         a result cannot be written as asked
    │   └── OutputExistsError(FileExistsError)
    ├── OptionError(ValueError)         an option of the service or of the encoder is unknown or out of range
    ├── ExchangeError(RuntimeError)     a service's replies do not fit the contract
    └── FramesLostError(RuntimeError)   frames that went in and frames that came out differ

`vireo_client.errors` continues this tree with what can go wrong on the way to a server.
A message has four parts: what failed, what came, what is allowed, what to do.
"""

__all__ = [
    "ExchangeError",
    "FramesLostError",
    "InputError",
    "InputMissingError",
    "OptionError",
    "OutputError",
    "OutputExistsError",
    "VireoError",
]


class VireoError(Exception):
    """The root of everything Vireo raises on purpose."""


class InputError(VireoError, ValueError):
    """A source cannot be read, or holds no video."""


class InputMissingError(InputError, FileNotFoundError):
    """There is no file under the name given."""


class OutputError(VireoError, ValueError):
    """A result cannot be written as asked."""


class OutputExistsError(OutputError, FileExistsError):
    """The output is there already and was not to be overwritten."""


class OptionError(VireoError, ValueError):
    """An option of the service or of the encoder is unknown or out of range."""


class ExchangeError(VireoError, RuntimeError):
    """A service's replies do not fit the contract."""


class FramesLostError(VireoError, RuntimeError):
    """The frames that went in and the frames that came out differ in number."""
