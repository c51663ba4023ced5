"""What a simulated provider refuses with. One root; each API writes its own wire shape of it."""


class SimulatorError(Exception):
    """Root of this package's exceptions."""


class ControlError(SimulatorError):
    """The control API was asked for something malformed; answered as 400 with this sentence."""


class TruthLogError(SimulatorError):
    """The truth log cannot be read or continued."""


class AwsError(SimulatorError):
    """An error of an AWS JSON API. `code` is the exception's wire name, `status` the HTTP status."""

    def __init__(self, code: str, message: str, *, status: int = 400) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status


class SqsError(AwsError):
    """An SQS error; `query_code` is the old query protocol's name, which SDKs still read from a header."""

    def __init__(self, code: str, message: str, *, query_code: str, status: int = 400) -> None:
        super().__init__(code, message, status=status)
        self.query_code = query_code


class TwilioError(SimulatorError):
    """An error of Twilio's REST API: its numeric `code` and the HTTP `status`."""

    def __init__(self, code: int, message: str, *, status: int = 400) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status
