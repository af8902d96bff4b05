"""Metrics, as Prometheus and as JSON."""

from prometheus_client.parser import text_string_to_metric_families

from tests.engine.conftest import Engine

PROGRAM = """
CREATE TABLE t (x INT) WITH ('materialized' = 'true');
CREATE MATERIALIZED VIEW total AS SELECT SUM(x) AS s FROM t;
CREATE MATERIALIZED VIEW largest AS SELECT MAX(x) AS m FROM t;
"""


def test_prometheus_understands_them(shared: Engine) -> None:
    shared.push("t", "1\n2")
    answer = shared.http.get("/metrics")
    assert answer.headers["content-type"] == "text/plain"
    assert "# TYPE records_processed_total counter" in answer.text
    samples = {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }
    steps = samples["steps_total",]
    assert samples["records_processed_total",] == 2 * steps
    assert samples["step_latency_seconds_count",] == samples["step_latency_seconds_bucket", "+Inf"] == steps
    assert samples["step_latency_seconds_sum",] > 0
    for view, kind in (("total", "aggregate"), ("largest", "difference")):
        assert samples["engine_view_seconds_count", kind, view] == steps
        assert samples["engine_view_seconds_sum", kind, view] > 0
    ((name, records),) = [
        (key[1], n) for key, n in samples.items() if key[0] == "input_connector_records_total"
    ]
    assert name.startswith("t.api-ingress-")
    assert records == 2 * steps


def test_they_come_as_json_too(shared: Engine) -> None:
    shared.push("t", "1")
    answer = shared.http.get("/metrics", params={"format": "json"})
    assert answer.headers["content-type"] == "application/json"
    by_key = {metric["key"]: metric for metric in answer.json()}
    assert all(metric.keys() == {"key", "type", "description", "values"} for metric in by_key.values())
    processed = by_key["records_processed_total"]
    assert processed["type"] == "counter"
    (value,) = processed["values"]
    assert value["labels"] == {}
    assert value["value"] == shared.http.get("/stats").json()["global_metrics"]["total_processed_records"]
    parts = {value["labels"]["part"] for value in by_key["step_latency_seconds"]["values"]}
    assert parts == {"bucket", "count", "sum"}


def test_another_format_is_refused(shared: Engine) -> None:
    answer = shared.http.get("/metrics", params={"format": "xml"})
    assert (answer.status_code, answer.headers["content-type"]) == (400, "text/plain")
