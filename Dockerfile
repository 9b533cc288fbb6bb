# The worker, and every other command of els: `docker run IMAGE verify`, `docker run IMAGE migrate`.
# It listens beyond loopback, so a worker needs ELS_WEB_TOKEN; every command needs ELS_BROKER_URL and ELS_DATABASE_URL.
# Only the build stage has a compiler: faust-streaming has no wheel for Linux on ARM, and installs itself without its
# compiled modules if none is there, which the import would show. Every package is checked by its hash.
FROM python:3.13-slim AS build

RUN apt-get update \
    && apt-get install --yes --no-install-recommends gcc libc6-dev zlib1g-dev \
    && rm -rf /var/lib/apt/lists/*
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1

COPY requirements.txt requirements-image.txt /build/
RUN python -m venv --without-pip /opt/els \
    && pip --python /opt/els/bin/python install --require-hashes -r /build/requirements.txt \
    && /opt/els/bin/python -c 'import faust._cython.streams' \
    && printf '#!/bin/sh\nexec python -m els_stream "$@"\n' > /opt/els/bin/els \
    && chmod 755 /opt/els/bin/els
# What is in the image (CycloneDX), and under which licences.
RUN python -m venv /build/tools \
    && /build/tools/bin/pip install --require-hashes -r /build/requirements-image.txt \
    && mkdir -p /opt/els/share/els_stream \
    && /build/tools/bin/cyclonedx-py environment --output-reproducible --of JSON \
        -o /opt/els/share/els_stream/sbom.cdx.json /opt/els/bin/python \
    && /build/tools/bin/pip-licenses --python /opt/els/bin/python --format json \
        --output-file /opt/els/share/els_stream/licenses.json

# Compiled here, since nothing can write bytecode later; readable whatever the permissions of the checkout are.
COPY LICENSE /app/
COPY els_stream /app/els_stream
COPY agents /app/agents
COPY tables /app/tables
COPY migrations /app/migrations
RUN python -m compileall -q --invalidation-mode unchecked-hash /app \
    && chmod --recursive a+rX /app

FROM python:3.13-slim

LABEL org.opencontainers.image.title="els_stream" \
    org.opencontainers.image.description="The Essay Lifecycle Service: gives every uploaded essay one slot of its class set" \
    org.opencontainers.image.version="0.2.0" \
    org.opencontainers.image.licenses="MIT"
ENV PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 PYTHONPATH=/app PATH=/opt/els/bin:$PATH

COPY --from=build /opt/els /opt/els
COPY --from=build /app /app

RUN groupadd --system --gid 10001 els \
    && useradd --system --uid 10001 --gid els --no-create-home --home-dir /nonexistent els
# The image of Python comes without bytecode of its own modules; this import writes it.
RUN PYTHONDONTWRITEBYTECODE= python -c 'import els_stream.app'
# By number: Kubernetes can tell only then that it is not root.
USER 10001:10001
WORKDIR /tmp

# Listen on all addresses of the container; which port is published, and where, is decided by `docker run` or compose.
ENV ELS_WEB_HOST=0.0.0.0
EXPOSE 6066
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:6066/livez', timeout=4)"]

# SIGTERM ends a worker within seconds; after a kill nothing is lost either: offsets and effects commit together.
STOPSIGNAL SIGTERM
ENTRYPOINT ["python", "-m", "els_stream"]
CMD ["worker"]
