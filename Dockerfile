# The worker, and every other command of els: `docker run IMAGE verify`, `docker run IMAGE migrate`.
# It listens beyond loopback, so a worker needs ELS_WEB_TOKEN; every command needs ELS_BROKER_URL and ELS_DATABASE_URL.
FROM python:3.13-slim

ENV PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 PYTHONPATH=/app

COPY requirements.txt /app/
RUN pip install --no-cache-dir --disable-pip-version-check --require-hashes -r /app/requirements.txt

COPY els_stream /app/els_stream
COPY agents /app/agents
COPY tables /app/tables
COPY migrations /app/migrations

RUN useradd --system --uid 10001 --no-create-home --home-dir /nonexistent els
USER els
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
