"""What a fit may say of itself, and what each word means.

FitStatus.AT_BOUND == "at_bound"     # True
FitStatus.AT_BOUND.sentence          # 'a parameter stands on its bound, or has no effect on any row'
"""

from enum import StrEnum


class FitStatus(StrEnum):
    """How far a fit may be believed; a member is its word, and `sentence` says what the word means."""

    sentence: str

    CONVERGED = "converged", "a minimum that enough starts reach, and rows that tell every parameter"
    AT_BOUND = "at_bound", "a parameter stands on its bound, or has no effect on any row"
    STARTS_DISAGREE = "starts_disagree", "too few starts reach the best minimum for it to be trusted"
    NOT_IDENTIFIED = (
        "not_identified",
        "other parameters fit the rows as well within the noise, or there are too few rows",
    )
    REFUSED = "refused", "there is no fit: the law is not defined on these rows, or they cannot be read as numbers"

    def __new__(cls, value: str, sentence: str) -> "FitStatus":
        """Create a member of this value that knows its sentence."""
        member = str.__new__(cls, value)
        member._value_ = value
        member.sentence = sentence
        return member


class Predicts(StrEnum):
    """Whether a law predicts, which its hold-outs tell and its parameters do not; a member is its word."""

    sentence: str

    YES = "yes", "at its hold-outs it erred by significantly less than half of the last value, and nothing came nearer"
    NO = "no", "at its rolling hold-outs another guess came significantly nearer, or it erred by more than rows scatter"
    UNKNOWN = "unknown", "there are fewer than two hold-outs, or no gain over the last value that could be told"

    def __new__(cls, value: str, sentence: str) -> "Predicts":
        """Create a member of this value that knows its sentence."""
        member = str.__new__(cls, value)
        member._value_ = value
        member.sentence = sentence
        return member
