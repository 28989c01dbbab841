"""What the command line's exit codes mean, and which error gives which."""

import errno

from interp.errors import (
    DegenerateBaselineError,
    EffectsFileError,
    EngineError,
    JournalError,
    MemoryBudgetError,
    MetricError,
    NonFiniteError,
    TaskFileError,
    TokensError,
    UnknownTaskError,
    VerificationError,
)
from models.errors import CheckpointError, ConfigError, CorpusError, InputError, TokenizerError, TrainingError

from .errors import (
    BadFileError,
    ComparisonError,
    InvalidResultError,
    NotApplicableError,
    NothingToChooseError,
    OptionError,
    PairError,
    PartialResultError,
)

OK = 0
INTERNAL = 1
USAGE = 2
BAD_FILE = 3
INVALID_RESULT = 4
PARTIAL = 5
INTERRUPTED = 130

_CODES: dict[type[BaseException], int] = {
    InputError: USAGE,
    TokenizerError: USAGE,
    PairError: USAGE,
    OptionError: USAGE,
    NothingToChooseError: USAGE,
    NotApplicableError: USAGE,
    ComparisonError: USAGE,
    TokensError: USAGE,
    MetricError: USAGE,
    UnknownTaskError: USAGE,
    EngineError: USAGE,
    MemoryBudgetError: USAGE,
    BadFileError: BAD_FILE,
    CheckpointError: BAD_FILE,
    EffectsFileError: BAD_FILE,
    TaskFileError: BAD_FILE,
    JournalError: BAD_FILE,
    ConfigError: BAD_FILE,
    CorpusError: BAD_FILE,
    InvalidResultError: INVALID_RESULT,
    NonFiniteError: INVALID_RESULT,
    DegenerateBaselineError: INVALID_RESULT,
    VerificationError: INVALID_RESULT,
    TrainingError: INVALID_RESULT,
    FloatingPointError: INVALID_RESULT,
    PartialResultError: PARTIAL,
    KeyboardInterrupt: INTERRUPTED,
}


def exit_code(error: BaseException) -> int:
    """The exit code for the error: that of its nearest ancestor in the table, else 1."""
    if isinstance(error, OSError) and error.errno in (errno.ENOENT, errno.EISDIR, errno.ENOTDIR):
        return BAD_FILE
    return next((_CODES[kind] for kind in type(error).__mro__ if kind in _CODES), INTERNAL)
