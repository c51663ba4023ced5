"""What can be wrong with what a caller asks of the store, drawn as a tree.

    StoreError
    ├── NotFoundError        no such row, or not this tenant's
    ├── ConflictError        the row, as it stands, forbids this
    └── CredentialsError     an account's reference to its credentials cannot be opened

Messages are sentences of ours without personal data; facts are attributes.
"""


class StoreError(Exception):
    """The store says no. `code` is the stable code of the API's problem document."""

    def __init__(self, message: str, *, code: str, field: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.field = field


class NotFoundError(StoreError):
    """There is no such thing, or it belongs to another tenant: the answer is the same."""

    def __init__(self, what: str) -> None:
        super().__init__(f"There is no such {what}.", code="not_found")
        self.what = what


class ConflictError(StoreError):
    """The request is well-formed but the row's present state forbids it."""


class CredentialsError(StoreError):
    """An account's credentials cannot be opened: environment, file or seal."""

    def __init__(self, message: str) -> None:
        super().__init__(message, code="credentials_unavailable", field="credentials")
