# One image for all services: code location, webserver, daemon, read API. Built from a checkout:
#   docker build -t usage-stats-dagster .
#   docker build -t usage-stats-dagster --build-arg EXTRAS=postgres,k8s .     (Kubernetes)
FROM python:3.12-slim-bookworm AS build
ARG EXTRAS=postgres
WORKDIR /src
# What is compiled (usage_stats_dagster/native) makes reading logs a third quicker; it is optional, and so is this line.
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*
RUN python -m venv /opt/venv
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY usage_stats_dagster usage_stats_dagster
# Compiled modules make every start of a command seconds faster.
RUN /opt/venv/bin/pip install --no-cache-dir --compile -c constraints.txt ".[${EXTRAS}]"

FROM python:3.12-slim-bookworm
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1 DAGSTER_HOME=/opt/dagster
# Dagster's own folder, and the working folder: settings, logs (read only), state.
RUN useradd --uid 10001 --no-create-home --home-dir /srv/usage-stats usage-stats \
 && mkdir -p /opt/dagster /srv/usage-stats/data /srv/usage-stats/logs \
 && chown -R usage-stats:usage-stats /opt/dagster /srv/usage-stats
COPY --from=build /opt/venv /opt/venv
COPY deploy/dagster.yaml deploy/workspace.yaml /opt/dagster/
USER usage-stats
WORKDIR /srv/usage-stats
VOLUME /srv/usage-stats/data
# 3000 webserver, 4000 code location (gRPC), 8099 read API
EXPOSE 3000 4000 8099
CMD ["usage-stats", "serve", "--host", "0.0.0.0"]
