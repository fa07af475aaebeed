# Two stages: the first builds the wheel, the second holds only what runs.
FROM python:3.13-slim AS build
WORKDIR /source
COPY . .
RUN pip wheel --no-cache-dir --wheel-dir /wheels ".[postgres]"

FROM python:3.13-slim
# The same number on every host, so that the volume's files keep their owner.
RUN groupadd --gid 10001 installer \
    && useradd --uid 10001 --gid installer --create-home --home-dir /home/installer --shell /usr/sbin/nologin installer \
    && install -d -o installer -g installer -m 0700 /data \
    && install -d /resources
RUN --mount=type=bind,from=build,source=/wheels,target=/wheels \
    pip install --no-cache-dir --no-index --find-links /wheels "resource-installer[postgres]"
COPY resources /resources

# Beyond loopback the service needs INSTALLER_API_TOKEN to start, and answers only to INSTALLER_ALLOWED_HOSTS.
ENV PYTHONUNBUFFERED=1 \
    INSTALLER_HOST=0.0.0.0 \
    INSTALLER_PORT=5000 \
    INSTALLER_DATABASE_URL=sqlite+aiosqlite:////data/installer.sqlite3 \
    INSTALLER_KNOWN_HOSTS=/data/known_hosts \
    INSTALLER_KEY_FILE=/data/key_file \
    INSTALLER_RESOURCES_DIR=/resources \
    INSTALLER_LOG_FORMAT=json
USER installer
WORKDIR /home/installer
VOLUME /data
EXPOSE 5000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=10s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request; urllib.request.urlopen(f'http://127.0.0.1:{os.environ[\"INSTALLER_PORT\"]}/readyz', timeout=4)"]
# The service itself is process 1, so that it receives SIGTERM. It has no children to reap.
ENTRYPOINT ["resource-installer"]
CMD ["serve"]
