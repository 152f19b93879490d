# One file for every image: `--target service --build-arg SERVICE=transfers`, `control-plane`, `tools`.
# An image of a service holds the mesh, the contracts and that one service: if it imported another,
# it would not start.

ARG PYTHON=3.11.14-slim-bookworm

FROM python:${PYTHON} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1
RUN python -m venv /opt/venv
COPY requirements.lock /
# Wheels only, each by its hash. Compiled here, for nothing can be written where it runs.
RUN --mount=type=cache,target=/root/.cache/pip \
    /opt/venv/bin/python -m pip install --no-deps --require-hashes --only-binary :all: --no-compile \
        -r /requirements.lock \
    && /opt/venv/bin/python -m compileall -q -j 0 /opt/venv/lib

FROM python:${PYTHON} AS mesh
ENV PATH=/opt/venv/bin:$PATH PYTHONPATH=/app:/app/protos/gen PYTHONUNBUFFERED=1 \
    BANK_DATA=/run/bank GRPC_VERBOSITY=ERROR
RUN groupadd --gid 10001 bank \
    && useradd --uid 10001 --gid bank --no-create-home --shell /usr/sbin/nologin bank
COPY --from=build /opt/venv /opt/venv
WORKDIR /app
COPY protos/gen protos/gen
COPY observability observability
COPY mesh mesh
RUN python -m compileall -q -j 0 /app
USER 10001:10001

FROM mesh AS control-plane
USER 0
RUN install -d -o bank -g bank -m 0700 /data
USER 10001:10001
# The authority is `authority/` among the secrets: whoever runs the image need not write to it.
ENV MESH_XDS_DATA_DIR=/data MESH_XDS_AUTHORITY_DATA_DIR=/run/secrets \
    MESH_XDS_LISTEN=0.0.0.0:18000 MESH_XDS_IDENTITY_LISTEN=0.0.0.0:18001 \
    MESH_XDS_ADMIN_LISTEN=0.0.0.0:9464
EXPOSE 18000 18001 9464
ENTRYPOINT ["python", "-m", "mesh.xds"]

# All services' migrations, and the command: for jobs, which end.
FROM mesh AS tools
COPY services services
USER 0
# A volume that is new takes its owner from the folder it is first mounted on.
RUN python -m compileall -q -j 0 /app/services \
    && install -d -o bank -g bank -m 0755 /secrets /volumes/authority /volumes/jaeger \
        /volumes/nats-1 /volumes/nats-2 /volumes/nats-3
USER 10001:10001
ENTRYPOINT ["python", "-m", "services"]

FROM mesh AS service
ARG SERVICE
COPY services/__init__.py services/money.py services/wire.py services/
COPY services/${SERVICE} services/${SERVICE}
USER 0
RUN python -m compileall -q -j 0 /app/services
USER 10001:10001
ENV SERVICE=${SERVICE} MESH_LISTEN=0.0.0.0:50051 MESH_HTTP_LISTEN=0.0.0.0:8080 \
    MESH_ADMIN_LISTEN=0.0.0.0:9464
EXPOSE 50051 8080 9464
# Others reach an instance by its own address: a name would be that of all of them.
ENTRYPOINT ["sh", "-c", "MESH_ADVERTISE=${MESH_ADVERTISE:-$(hostname -i | cut -d' ' -f1)} exec python -m \"services.$SERVICE\""]
