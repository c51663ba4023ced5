"""The root of the exceptions whose text may be shown and stored anywhere."""


class WaypostFailure(Exception):  # noqa: N818 - the field's word for what Temporal stores
    """An exception whose text is written to carry no personal data: ids, codes and verdicts only."""

    non_retryable: bool = False

    @property
    def type(self) -> str:
        """The stable name that Temporal stores."""
        return type(self).__name__
