"""SNS's HTTP(S) subscriptions: confirmation first, then events, three retries, then gone."""

import asyncio
import secrets
from collections.abc import Callable, Coroutine
from typing import Any

from waypost.simulators.acceptance import random_uuid
from waypost.simulators.accounts import AWS_ACCOUNT_ID, Account
from waypost.simulators.poster import Poster
from waypost.simulators.simulator import Simulator
from waypost.simulators.sns import CERTIFICATE_PATH, CONFIRM_PATH
from waypost.simulators.wire import Reply, Request, text_reply

RETRIES = 3


class SnsWebhooks:
    """Delivers envelopes to the webhooks of accounts, and answers the URLs that envelopes name."""

    def __init__(self, simulator: Simulator, poster: Poster) -> None:
        self._simulator = simulator
        self._poster = poster
        self._tasks: set[asyncio.Task[None]] = set()

    def subscribe(self, account: Account) -> None:
        """Send the SubscriptionConfirmation of an account's webhook."""
        url = account.settings.webhook_url
        if url is None or account.subscribed:
            return
        account.subscription_token = secrets.token_hex(32)
        sns_id = random_uuid()
        body = self._simulator.notary.confirmation(
            sns_id=sns_id,
            token=account.subscription_token,
            topic_arn=account.topic_arn,
            version=account.settings.signature_version,
            base_url=self._simulator.base_url,
        )
        self._start(self._deliver(url, self._headers(account, "SubscriptionConfirmation"), lambda: body))

    def notify(self, account: Account, write_envelope: Callable[[], bytes]) -> None:
        """Send a notification, where the subscription is confirmed; else it is lost, as with SNS."""
        url = account.settings.webhook_url
        if url is not None and account.subscribed:
            self._start(self._deliver(url, self._headers(account, "Notification"), write_envelope))

    def handle(self, request: Request) -> Reply:
        """The certificate and the SubscribeURL."""
        notary = self._simulator.notary
        if request.path.startswith(CERTIFICATE_PATH) and request.path == notary.certificate_path:
            return Reply(notary.certificate_pem, content_type=b"application/x-pem-file")
        account = self._simulator.accounts.for_token(request.query().get("Token", "-"))
        if request.path == CONFIRM_PATH and account is not None:
            account.subscribed = True
            return text_reply(confirmed_xml(account), content_type=b"text/xml")
        return text_reply("not found", status=404)

    async def _deliver(self, url: str, headers: list[tuple[str, str]], write_body: Callable[[], bytes]) -> None:
        body = write_body()
        for attempt in range(RETRIES + 1):
            status = await self._poster.post(url, headers, body)
            if status is not None and status < 400:
                return
            if status is not None and 400 <= status < 500 and status != 429:
                return  # SNS takes a client error as final
            if attempt < RETRIES:
                await asyncio.sleep(self._simulator.config.sns_retry_seconds)

    def _headers(self, account: Account, kind: str) -> list[tuple[str, str]]:
        return [
            ("content-type", "text/plain; charset=UTF-8"),
            ("user-agent", "Amazon Simple Notification Service Agent"),
            ("x-amz-sns-message-type", kind),
            ("x-amz-sns-topic-arn", account.topic_arn),
            ("x-amz-sns-subscription-arn", subscription_arn(account)),
        ]

    def _start(self, delivery: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(delivery)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def subscription_arn(account: Account) -> str:
    """The ARN of the account's webhook subscription."""
    return f"{account.topic_arn}:{AWS_ACCOUNT_ID}-webhook"


def confirmed_xml(account: Account) -> str:
    """SNS's answer to ConfirmSubscription."""
    return (
        '<ConfirmSubscriptionResponse xmlns="http://sns.amazonaws.com/doc/2010-03-31/"><ConfirmSubscriptionResult>'
        f"<SubscriptionArn>{subscription_arn(account)}</SubscriptionArn></ConfirmSubscriptionResult>"
        f"<ResponseMetadata><RequestId>{random_uuid()}</RequestId></ResponseMetadata></ConfirmSubscriptionResponse>"
    )
