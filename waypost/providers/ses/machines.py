"""Opens and clicks that no person made. A short list on purpose: a missed scanner is better than a lost reader.

- Apple Mail Privacy Protection loads every picture, read or not; its whole user agent is `Mozilla/5.0`.
- Security gateways follow links before delivery and say who they are.
- GoogleImageProxy and YahooMailProxy fetch when a person opens the mail: those count as a person's.
"""

from ipaddress import ip_address, ip_network

_EXACT = frozenset({"", "mozilla/5.0"})
_SCANNERS = (
    "barracuda",
    "bingpreview",
    "bitdefender",
    "crawler",
    "curl/",
    "existence discovery",
    "go-http-client",
    "googlebot",
    "headlesschrome",
    "mimecast",
    "proofpoint",
    "python-requests",
    "slackbot",
    "spider",
    "symantec",
    "trendmicro",
    "wget/",
)
_APPLE = ip_network("17.0.0.0/8")


def made_by_machine(*, user_agent: str, ip: str) -> bool:
    """Whether the open or click looks like a scanner's or privacy proxy's."""
    agent = user_agent.strip().lower()
    return agent in _EXACT or any(name in agent for name in _SCANNERS) or _from_apple(ip)


def _from_apple(ip: str) -> bool:
    try:
        return ip_address(ip) in _APPLE
    except ValueError:
        return False
