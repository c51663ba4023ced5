"""The part of Twilio's REST API that sends and lists messages."""

import base64
import binascii
import hmac
import re
from itertools import count, islice
from urllib.parse import urlencode

import orjson

from waypost.simulators.acceptance import Acceptance, random_uuid
from waypost.simulators.accounts import Account
from waypost.simulators.errors import TwilioError
from waypost.simulators.faults import FaultKind, FaultSpec, Subject
from waypost.simulators.misbehaviour import after_acceptance, refusal, with_latency
from waypost.simulators.simulator import Simulator
from waypost.simulators.twilio_callbacks import TwilioCallbacks, attempt_of, inbox_text
from waypost.simulators.twilio_fate import UNSUBSCRIBED, bare_number, check_numbers
from waypost.simulators.twilio_messages import API_VERSION, ListFilter, TwilioMessage, TwilioMessages, parse_moment
from waypost.simulators.wire import Reply, Request, json_reply

PATH = re.compile(rf"/{API_VERSION}/Accounts/(?P<sid>[^/]+)/Messages(?:/(?P<message>[^/.]+))?\.json\Z")
E164 = re.compile(r"\+[1-9]\d{6,14}\Z")
MAX_BODY = 1600
MAX_VALIDITY_SECONDS = 36_000
MAX_PAGE_SIZE = 1_000

RATE_EXCEEDED = TwilioError(20429, "Too Many Requests", status=429)
INTERNAL = TwilioError(20500, "Internal Server Error", status=500)
AUTHENTICATE = TwilioError(20003, "Authenticate", status=401)
QUOTA_EXCEEDED = TwilioError(63038, "Account exceeded the daily messages limit", status=429)
NOT_ACTIVE = TwilioError(20005, "Account not active", status=401)
NOT_FOUND = TwilioError(20404, "The requested resource was not found", status=404)


def twilio_error_reply(error: TwilioError) -> Reply:
    """An error as Twilio writes it."""
    body = {
        "code": error.code,
        "message": error.message,
        "more_info": f"https://www.twilio.com/docs/errors/{error.code}",
        "status": error.status,
    }
    return Reply(orjson.dumps(body), error.status)


FAULT_ERRORS = {
    FaultKind.THROTTLE: RATE_EXCEEDED,
    FaultKind.ERROR_5XX: INTERNAL,
    FaultKind.CREDENTIALS_EXPIRED: AUTHENTICATE,
    FaultKind.QUOTA: QUOTA_EXCEEDED,
    FaultKind.SENDING_PAUSED: NOT_ACTIVE,
}
SERVER_ERROR = twilio_error_reply(INTERNAL)


def fault_reply(fault: FaultSpec) -> Reply | None:
    """The error of a fault that refuses; its code may be another than the usual one."""
    error = FAULT_ERRORS.get(fault.fault)
    if error is None:
        return None
    return twilio_error_reply(TwilioError(int(fault.code or error.code), error.message, status=error.status))


class TwilioApi:
    """Answers `/2010-04-01/Accounts/{Sid}/Messages…`."""

    def __init__(self, simulator: Simulator, messages: TwilioMessages, callbacks: TwilioCallbacks) -> None:
        self._simulator = simulator
        self._messages = messages
        self._callbacks = callbacks
        self._calls = count(1)

    def handle(self, request: Request) -> Reply:
        """One request."""
        try:
            found = PATH.match(request.path)
            if found is None:
                raise NOT_FOUND
            account = self._authenticate(request, found["sid"])
            reply = self._route(request, account, found["message"])
        except TwilioError as error:
            return twilio_error_reply(error)
        return with_latency(reply, self._simulator.latency_ms(account))

    def _authenticate(self, request: Request, sid: str) -> Account:
        user, token = basic_auth(request)
        account = self._simulator.accounts.get("twilio", sid)
        account.requests += 1
        if account.settings.secret is None:
            account.configure({"secret": token})
        known = account.settings.secret or ""
        if (
            user != sid
            or not hmac.compare_digest(token.encode(), known.encode())
            or account.settings.credentials_expired
        ):
            raise AUTHENTICATE
        return account

    def _route(self, request: Request, account: Account, message_sid: str | None) -> Reply:
        match (request.method, message_sid):
            case ("POST", None):
                return self._create(dict(request.form()), account)
            case ("GET", None):
                return self._list(request, account)
            case ("GET", str()):
                message = self._messages.get(account.key, message_sid)
                if message is None:
                    raise NOT_FOUND
                return json_reply(message.resource())
            case _:
                raise TwilioError(20004, "Method not allowed", status=405)

    def _create(self, form: dict[str, str], account: Account) -> Reply:
        to = form.get("To", "")
        subject = Subject(provider="twilio", account=account.key, recipients=(to,))
        fault = self._simulator.faults.on_call(subject)
        refused = refusal(fault, fault_reply)
        if refused is not None:
            account.refused += 1
            return refused
        try:
            check_form(form)
            check_numbers(to=to, sender=form.get("From", ""))
            self._check_account(form, account)
        except TwilioError:
            account.refused += 1
            raise
        message = self._accept(form, account)
        reply = json_reply(message.resource(), status=201)
        return after_acceptance(reply, fault, SERVER_ERROR)

    def _check_account(self, form: dict[str, str], account: Account) -> None:
        settings = account.settings
        if settings.suspended or not settings.sending_enabled:
            raise NOT_ACTIVE
        sender = form.get("From")
        if sender and settings.identities is not None and sender not in settings.identities:
            raise TwilioError(
                21606, "The 'From' phone number provided is not a valid, SMS-capable Twilio phone number."
            )
        if any(person == form["To"] and sender in (None, number) for number, person in account.opted_out):
            raise TwilioError(*UNSUBSCRIBED)
        if settings.daily_quota is not None and account.quota.used() >= settings.daily_quota:
            raise QUOTA_EXCEEDED
        if account.rate is not None and not account.rate.take():
            raise RATE_EXCEEDED

    def _accept(self, form: dict[str, str], account: Account) -> TwilioMessage:
        service = form.get("MessagingServiceSid") or None
        message = TwilioMessage(
            account=account.key,
            to=form["To"],
            sender=form.get("From", ""),
            service=service,
            body=form["Body"],
            status="accepted" if service else "queued",
            status_callback=form.get("StatusCallback") or None,
        )
        account.accepted += 1
        account.quota.add(1)
        acceptance = Acceptance(
            provider="twilio",
            account=account.key,
            message_id=message.sid,
            recipients=(message.to,),
            source=message.sender or service or "",
            attempt_id=attempt_of(message.status_callback),
        )
        call = f"twilio-{next(self._calls)}-{random_uuid()[:8]}"
        self._simulator.accept(acceptance, inbox_text(message, inbound=False), operation="CreateMessage", call=call)
        self._messages.add(message)
        self._callbacks.begin(message, account)
        return message

    def _list(self, request: Request, account: Account) -> Reply:
        query = request.query()
        try:
            size = min(max(int(query.get("PageSize", "50")), 1), MAX_PAGE_SIZE)
            page = int(query.get("Page", "0"))
            wanted = list_filter(query)
        except ValueError as wrong:
            raise TwilioError(20001, "Invalid parameter") from wrong
        start = page * size
        found = list(islice(self._messages.find(account.key, wanted), start, start + size + 1))
        more, shown = len(found) > size, found[:size]

        def uri(number: int) -> str:
            return f"{request.path}?{urlencode(query | {'Page': str(number), 'PageSize': str(size)})}"

        return json_reply(
            {
                "messages": [each.resource() for each in shown],
                "page": page,
                "page_size": size,
                "start": start,
                "end": start + max(len(shown) - 1, 0),
                "uri": uri(page),
                "first_page_uri": uri(0),
                "previous_page_uri": uri(page - 1) if page else None,
                "next_page_uri": uri(page + 1) if more else None,
            }
        )


def basic_auth(request: Request) -> tuple[str, str]:
    """The user and password of a request. Raises `TwilioError`."""
    scheme, _, encoded = request.header(b"authorization").partition(" ")
    try:
        user, colon, token = base64.b64decode(encoded, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError) as wrong:
        raise AUTHENTICATE from wrong
    if scheme.lower() != "basic" or not colon or not token:
        raise AUTHENTICATE
    return user, token


def check_form(form: dict[str, str]) -> None:
    """Raise `TwilioError` where a parameter is missing or wrong."""
    to = form.get("To", "")
    if not to:
        raise TwilioError(21604, "A 'To' phone number is required.")
    if not E164.match(bare_number(to)):
        raise TwilioError(21211, f"The 'To' number {to} is not a valid phone number.")
    if not form.get("From") and not form.get("MessagingServiceSid"):
        raise TwilioError(21603, "A 'From' phone number is required.")
    if not form.get("Body"):
        raise TwilioError(21602, "Message body is required.")
    if len(form["Body"]) > MAX_BODY:
        raise TwilioError(21617, "The concatenated message body exceeds the 1600 character limit.")
    period = form.get("ValidityPeriod", "1")
    if not period.isdigit() or not 1 <= int(period) <= MAX_VALIDITY_SECONDS:
        raise TwilioError(20001, "Invalid ValidityPeriod: it must be 1 to 36000 seconds.")


def list_filter(query: dict[str, str]) -> ListFilter:
    """The filters of a list request. Raises `ValueError`."""
    day = query.get("DateSent")
    after, before = query.get("DateSent>"), query.get("DateSent<")
    sent_from = parse_moment(day)[0] if day else parse_moment(after)[0] if after else None
    sent_until = parse_moment(day)[1] if day else parse_moment(before)[1] if before else None
    return ListFilter(to=query.get("To"), sender=query.get("From"), sent_from=sent_from, sent_until=sent_until)
