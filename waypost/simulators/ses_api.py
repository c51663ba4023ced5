"""The part of the SES v2 API that sends mail, as boto3's `sesv2` client speaks it (REST-JSON)."""

from itertools import count
from typing import Any

import orjson

from waypost.simulators.acceptance import Acceptance, random_uuid
from waypost.simulators.accounts import Account
from waypost.simulators.email_content import Email, bad_request, bare_address, bulk_email, single_email
from waypost.simulators.errors import AwsError
from waypost.simulators.faults import FaultKind, FaultSpec, Subject
from waypost.simulators.inbox import InboxMessage
from waypost.simulators.misbehaviour import after_acceptance, refusal, with_latency
from waypost.simulators.ses_lifecycle import REFUSED_AT_ONCE, magic_word
from waypost.simulators.ses_publisher import SesPublisher
from waypost.simulators.sigv4 import check_signature, read_credential
from waypost.simulators.simulator import Simulator
from waypost.simulators.wire import Reply, Request, json_reply

ATTEMPT_TAG = "waypost_attempt"
MAX_BULK_ENTRIES = 50
UNLIMITED_RATE = 10_000.0
UNLIMITED_QUOTA = 10_000_000.0

RATE_EXCEEDED = AwsError("TooManyRequestsException", "Maximum sending rate exceeded.", status=429)
QUOTA_EXCEEDED = AwsError("LimitExceededException", "Daily message quota exceeded.")
PAUSED = AwsError("SendingPausedException", "Sending is paused for this account.")
SUSPENDED = AwsError("AccountSuspendedException", "Account is suspended.")
EXPIRED = AwsError("ExpiredTokenException", "The security token included in the request is expired", status=403)
INTERNAL = AwsError("InternalFailure", "An internal error occurred.", status=500)


def aws_error_reply(error: AwsError) -> Reply:
    """An error as REST-JSON services write it."""
    body = orjson.dumps({"message": error.message})
    return Reply(body, error.status, headers=((b"x-amzn-errortype", error.code.encode()),))


FAULT_ERRORS = {
    FaultKind.THROTTLE: RATE_EXCEEDED,
    FaultKind.ERROR_5XX: INTERNAL,
    FaultKind.CREDENTIALS_EXPIRED: EXPIRED,
    FaultKind.QUOTA: QUOTA_EXCEEDED,
    FaultKind.SENDING_PAUSED: PAUSED,
}
SERVER_ERROR = aws_error_reply(INTERNAL)


def fault_reply(fault: FaultSpec) -> Reply | None:
    """The error of a fault that refuses; its code may be another than the usual one."""
    error = FAULT_ERRORS.get(fault.fault)
    if error is None:
        return None
    return aws_error_reply(AwsError(fault.code or error.code, error.message, status=error.status))


ENTRY_STATUS = {
    "TooManyRequestsException": "ACCOUNT_THROTTLED",
    "LimitExceededException": "ACCOUNT_DAILY_QUOTA_EXCEEDED",
    "SendingPausedException": "ACCOUNT_SENDING_PAUSED",
    "AccountSuspendedException": "ACCOUNT_SUSPENDED",
    "MessageRejected": "MESSAGE_REJECTED",
    "MailFromDomainNotVerifiedException": "MAIL_FROM_DOMAIN_NOT_VERIFIED",
    "NotFoundException": "CONFIGURATION_SET_NOT_FOUND",
    "BadRequestException": "INVALID_PARAMETER",
}


class SesApi:
    """Answers SES v2 requests."""

    def __init__(self, simulator: Simulator, publisher: SesPublisher) -> None:
        self._simulator = simulator
        self._publisher = publisher
        self._calls = count(1)

    def handle(self, request: Request) -> Reply:
        """One request."""
        try:
            account = self._authenticate(request)
            reply = self._route(request, account)
        except AwsError as error:
            return aws_error_reply(error)
        return with_latency(reply, self._simulator.latency_ms(account))

    def _authenticate(self, request: Request) -> Account:
        credential = read_credential(request)
        account = self._simulator.accounts.get("ses", credential.key, region=credential.region)
        account.requests += 1
        if account.settings.credentials_expired:
            raise EXPIRED
        if account.settings.secret is not None:
            check_signature(request, credential, account.settings.secret)
        return account

    def _route(self, request: Request, account: Account) -> Reply:
        match (request.method, request.path):
            case ("POST", "/v2/email/outbound-emails"):
                return self._send_email(read_json(request), account)
            case ("POST", "/v2/email/outbound-bulk-emails"):
                return self._send_bulk(read_json(request), account)
            case ("GET", "/v2/email/account"):
                return self._account(account)
            case _:
                raise AwsError("UnknownOperationException", "The simulator does not know this operation.", status=404)

    def _send_email(self, body: dict[str, Any], account: Account) -> Reply:
        email = single_email(body)
        fault = self._simulator.faults.on_call(call_subject(account, email.recipients))
        refused = refusal(fault, fault_reply)
        if refused is not None:
            account.refused += 1
            return refused
        self._check(email, account)
        message_id = self._accept(email, account, operation="SendEmail", call=self._call_id())
        return after_acceptance(json_reply({"MessageId": message_id}), fault, SERVER_ERROR)

    def _send_bulk(self, body: dict[str, Any], account: Account) -> Reply:
        entries = body.get("BulkEmailEntries") or []
        if not 1 <= len(entries) <= MAX_BULK_ENTRIES:
            raise bad_request(f"BulkEmailEntries must have 1 to {MAX_BULK_ENTRIES} members.")
        if not body.get("FromEmailAddress"):
            raise bad_request("FromEmailAddress is required.")
        emails = [bulk_email(body, entry) for entry in entries]
        recipients = [each for email in emails for each in email.recipients]
        fault = self._simulator.faults.on_call(call_subject(account, recipients))
        refused = refusal(fault, fault_reply)
        if refused is not None:
            account.refused += len(recipients)
            return refused
        call = self._call_id()
        reply = json_reply({"BulkEmailEntryResults": [self._bulk_entry(email, account, call) for email in emails]})
        return after_acceptance(reply, fault, SERVER_ERROR)

    def _bulk_entry(self, email: Email, account: Account, call: str) -> dict[str, str]:
        faults = self._simulator.faults
        if faults.of_entries and (fault := faults.on_entry(call_subject(account, email.recipients))):
            account.refused += 1
            return {"Status": fault.status, "Error": "Refused by a fault."}
        try:
            self._check(email, account)
        except AwsError as error:
            return {"Status": ENTRY_STATUS[error.code], "Error": error.message}
        return {"Status": "SUCCESS", "MessageId": self._accept(email, account, operation="SendBulkEmail", call=call)}

    def _check(self, email: Email, account: Account) -> None:
        """Everything that SES refuses before it accepts. Raises `AwsError`."""
        try:
            self._check_account(email, account)
            for recipient in email.recipients:
                if magic := REFUSED_AT_ONCE.get(magic_word(recipient)):
                    raise AwsError(*magic)
            self._check_limits(len(email.recipients), account)
        except AwsError:
            account.refused += 1
            raise

    def _check_account(self, email: Email, account: Account) -> None:
        settings = account.settings
        if settings.suspended:
            raise SUSPENDED
        if not settings.sending_enabled:
            raise PAUSED
        if settings.identities is not None and not verified(email.source, settings.identities):
            raise AwsError(
                "MessageRejected",
                "Email address is not verified. The following identities failed the check in region "
                f"{account.region.upper()}: {email.source}",
            )
        sets = settings.configuration_sets
        if sets is not None and email.configuration_set is not None and email.configuration_set not in sets:
            raise AwsError(
                "NotFoundException", f"Configuration set <{email.configuration_set}> does not exist.", status=404
            )

    def _check_limits(self, recipients: int, account: Account) -> None:
        quota = account.settings.daily_quota
        if quota is not None and account.quota.used() + recipients > quota:
            raise QUOTA_EXCEEDED
        if account.rate is not None and not account.rate.take(recipients):
            raise RATE_EXCEEDED

    def _accept(self, email: Email, account: Account, *, operation: str, call: str) -> str:
        message_id = self._publisher.new_message_id()
        account.accepted += len(email.recipients)
        account.quota.add(len(email.recipients))
        for recipient in email.recipients:
            acceptance = accepted_email(email, account, message_id, recipient)
            message = inbox_email(email, account, message_id, recipient)
            self._simulator.accept(acceptance, message, operation=operation, call=call)
            self._publisher.begin(acceptance, account, fails_to_render=email.missing is not None)
        return message_id

    def _account(self, account: Account) -> Reply:
        settings = account.settings
        return json_reply(
            {
                "DedicatedIpAutoWarmupEnabled": False,
                "EnforcementStatus": "SHUTDOWN" if settings.suspended else "HEALTHY",
                "ProductionAccessEnabled": True,
                "SendingEnabled": settings.sending_enabled,
                "SendQuota": {
                    "Max24HourSend": float(settings.daily_quota or UNLIMITED_QUOTA),
                    "MaxSendRate": float(settings.sending_rate or UNLIMITED_RATE),
                    "SentLast24Hours": float(account.quota.used()),
                },
                "SuppressionAttributes": {"SuppressedReasons": []},
            }
        )

    def _call_id(self) -> str:
        return f"ses-{next(self._calls)}-{random_uuid()[:8]}"


def call_subject(account: Account, recipients: list[str]) -> Subject:
    """What a call fault is matched against."""
    return Subject(provider="ses", account=account.key, recipients=tuple(recipients))


def verified(source: str, identities: list[str]) -> bool:
    """Whether the From address, or its domain, is an identity of the account."""
    address = bare_address(source).lower()
    return address in identities or address.rpartition("@")[2] in identities


def read_json(request: Request) -> dict[str, Any]:
    """The request's body. Raises `AwsError`."""
    try:
        value = orjson.loads(request.body or b"{}")
    except orjson.JSONDecodeError as wrong:
        raise AwsError("SerializationException", "The request body is not valid JSON.") from wrong
    if not isinstance(value, dict):
        raise AwsError("SerializationException", "The request body must be an object.")
    return value


def accepted_email(email: Email, account: Account, message_id: str, recipient: str) -> Acceptance:
    """The fields of an email that its events need."""
    return Acceptance(
        provider="ses",
        account=account.key,
        message_id=message_id,
        recipients=(recipient,),
        source=email.source,
        subject=email.subject,
        attempt_id=email.tags.get(ATTEMPT_TAG),
        configuration_set=email.configuration_set,
        tags=email.tags,
        template_name=email.template_name,
    )


def inbox_email(email: Email, account: Account, message_id: str, recipient: str) -> InboxMessage:
    """An email for people to look at."""
    return InboxMessage(
        provider="ses",
        account=account.key,
        message_id=message_id,
        channel="email",
        source=email.source,
        recipient=recipient,
        subject=email.subject,
        html=email.html,
        text=email.text,
        headers=email.headers,
        attachments=email.attachments,
        tags=email.tags,
        attempt_id=email.tags.get(ATTEMPT_TAG),
    )
