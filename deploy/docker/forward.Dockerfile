# The image of `fanmail forward` (docs/howto-webhooks.md). From the top of the repository:
#   docker build -f deploy/docker/forward.Dockerfile -t fanmail-forward .
#   docker run --rm --read-only fanmail-forward --help
# The image of Python is chosen as for the server: see Dockerfile.
ARG BASE=python:3.13.14-slim-bookworm
FROM ${BASE} AS build
WORKDIR /opt/fanmail
COPY requirements-forward.lock .
# Only files whose hashes are known, and only wheels: a package that is missing or another one fails here.
RUN python -m venv --without-pip .venv \
    && pip --python .venv/bin/python install --no-cache-dir --no-deps --only-binary :all: \
        --require-hashes -r requirements-forward.lock \
    && pip --python .venv/bin/python check
COPY LICENSE .
COPY client/src/fanmail client/src/fanmail
RUN python -m compileall -q --invalidation-mode checked-hash client

FROM ${BASE}
ARG BASE
ARG SOURCE=""
LABEL org.opencontainers.image.title="Fanmail forward" \
      org.opencontainers.image.version="0.2.0" \
      org.opencontainers.image.description="Sends messages of Fanmail to URLs" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.source="${SOURCE}" \
      org.opencontainers.image.base.name="docker.io/library/${BASE}"
COPY --from=build /opt/fanmail /opt/fanmail
ENV PYTHONPATH=/opt/fanmail/client/src \
    PYTHONSAFEPATH=1 \
    PYTHONDONTWRITEBYTECODE=1
WORKDIR /opt/fanmail
USER 10001:10001
STOPSIGNAL SIGTERM
# No HEALTHCHECK: compose.yaml has it.
ENTRYPOINT ["/opt/fanmail/.venv/bin/python", "-m", "fanmail", "forward"]
CMD ["--help"]
