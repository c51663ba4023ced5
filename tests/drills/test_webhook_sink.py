"""The system that the drill's journeys tell: the product's own poster trusts it, and hears what it is to hear."""

from pathlib import Path
from uuid import UUID

from waypost.drills.webhook_sink import WebhookSink
from waypost.providers.webhooks import Poster

AT_ONCE, LATER = UUID(int=8), UUID(int=7)


async def test_a_post_is_taken_at_once_or_at_the_second_time_or_refused_and_is_counted(tmp_path: Path) -> None:
    async with WebhookSink(tmp_path) as sink, Poster(allow_private=True, ca_file=str(sink.certificate)) as poster:

        async def post(path: str, identity: UUID) -> tuple[bool, bool]:
            answer = await poster.post(f"{sink.url}/{path}", b"{}", identity=identity, secrets=[b"s"])
            return answer.taken, answer.again

        assert await post("taken", AT_ONCE) == (True, False)
        assert await post("refused", LATER) == (False, False)
        assert await post("taken", UUID(int=14)) == (False, True)
        assert await post("taken", UUID(int=14)) == (True, False)
    assert sink.posts == {AT_ONCE: 1, LATER: 1, UUID(int=14): 2}
