"""What the API counts, for GET /metrics."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class ApiMetrics:
    """Requests by route pattern, method and status; labels never hold a path's values."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self.requests = Counter(
            "waypost_api_requests", "Requests answered", ["method", "route", "status"], registry=registry
        )
        self.seconds = Histogram(
            "waypost_api_request_seconds", "Time to answer a request", ["route"], buckets=_BUCKETS, registry=registry
        )
        self.import_rows = Counter(
            "waypost_api_import_rows", "Rows of imports committed", ["result"], registry=registry
        )
        self.segment_calls = Counter(
            "waypost_api_segment_calls", "Calls of the Segment protocol", ["result"], registry=registry
        )
        self.streams = Gauge(
            "waypost_api_campaign_streams", "Callers who follow the progress of a campaign", registry=registry
        )
        self.in_progress = Gauge("waypost_api_requests_in_progress", "Requests being answered", registry=registry)
