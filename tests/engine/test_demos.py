"""The demos compile, and one does what it says."""

import json
from typing import Any

import pytest

from sluicegate.demos import demos
from sluicegate.engine.compiler import compile_program
from sluicegate.protocol import CompileRequest
from tests.engine.conftest import Deploy

DEMOS = {demo["name"]: demo for demo in demos()}


def test_there_are_three() -> None:
    assert list(DEMOS) == ["card-fraud", "orders", "sensors"]
    for demo in demos():
        assert set(demo) == {"name", "title", "description", "program_code", "udf_rust", "udf_toml"}


@pytest.mark.parametrize("demo", demos(), ids=DEMOS)
def test_it_compiles_without_a_warning(demo: dict[str, Any]) -> None:
    compiled = compile_program(CompileRequest(demo["program_code"]))
    assert compiled.sql_compilation == {"exit_code": 0, "messages": []}
    assert compiled.plan is not None


def rows(*values: dict[str, Any]) -> str:
    """Write rows as a client sends them."""
    return "\n".join(json.dumps({"insert": value}) for value in values)


def test_orders(deploy: Deploy) -> None:
    engine = deploy(DEMOS["orders"]["program_code"]).start()
    tea = {"product_id": 1, "name": "tea", "category": "drinks", "price": "4.50", "stock": 12}
    pot = {"product_id": 2, "name": "pot", "category": "kitchen", "price": "60.00", "stock": 50}
    at = "2026-01-01 12:00:00"
    bought = [("ada", 1, 3), ("ada", 2, 2), ("max", 1, 1)]
    orders = [
        {"order_id": n, "customer": who, "product_id": what, "quantity": many, "ordered_at": at}
        for n, (who, what, many) in enumerate(bought)
    ]
    assert engine.push("products", rows(tea, pot), format="json").status_code == 200
    assert engine.push("orders", rows(*orders), format="json").status_code == 200
    revenue = engine.rows(
        "SELECT category, orders, CAST(revenue AS VARCHAR) AS r FROM revenue_by_category ORDER BY 1"
    )
    assert [(row["category"], row["orders"], row["r"]) for row in revenue] == [
        ("drinks", 2, "18.00"),
        ("kitchen", 1, "120.00"),
    ]
    assert [row["customer"] for row in engine.rows("SELECT customer FROM best_customers")] == ["ada"]
    assert engine.rows("SELECT name, remaining FROM order_again") == [{"name": "tea", "remaining": 8}]


def test_card_fraud(deploy: Deploy) -> None:
    engine = deploy(DEMOS["card-fraud"]["program_code"]).start()
    cards = [{"card_id": n, "holder": who, "home_country": "PT"} for n, who in enumerate(["ada", "max"])]
    paid = [(0, 10, "PT", "12:00"), (0, 12, "PT", "15:00"), (0, 90, "PT", "18:00"), (0, 11, "PT", "20:00")]
    paid += [(1, 20, "PT", "12:00"), (1, 20, "JP", "12:30")]
    payments = [
        {
            "payment_id": n,
            "card_id": card,
            "amount": amount,
            "country": where,
            "paid_at": f"2026-01-01 {at}:00",
        }
        for n, (card, amount, where, at) in enumerate(paid)
    ]
    assert engine.push("cards", rows(*cards), format="json").status_code == 200
    assert engine.push("payments", rows(*payments), format="json").status_code == 200
    assert engine.rows("SELECT payment_id FROM unusually_high") == [{"payment_id": 2}]
    assert engine.rows("SELECT payment_id, to_country FROM impossible_travel") == [
        {"payment_id": 5, "to_country": "JP"}
    ]
    assert engine.rows("SELECT holder, reasons FROM cards_to_block ORDER BY 1") == [
        {"holder": "ada", "reasons": 1},
        {"holder": "max", "reasons": 1},
    ]


def test_sensors(deploy: Deploy) -> None:
    engine = deploy(DEMOS["sensors"]["program_code"]).start()
    machines = [{"machine": m, "hall": "A", "limit_celsius": 80.0} for m in ("mill", "press")]
    seen = [("mill", 70, "10:05"), ("mill", 85, "10:55"), ("press", 90, "10:10"), ("press", 60, "11:10")]
    readings = [
        {"machine": m, "celsius": float(celsius), "read_at": f"2026-01-01 {at}:00"} for m, celsius, at in seen
    ]
    assert engine.push("machines", rows(*machines), format="json").status_code == 200
    assert engine.push("readings", rows(*readings), format="json").status_code == 200
    assert engine.rows("SELECT machine FROM alarms") == [{"machine": "mill"}]
    assert engine.rows("SELECT hall, machines, too_hot FROM halls") == [
        {"hall": "A", "machines": 2, "too_hot": 1}
    ]
    hours = engine.rows("SELECT machine, readings FROM hours ORDER BY machine, hour_of_day")
    assert [(row["machine"], row["readings"]) for row in hours] == [("mill", 2), ("press", 1), ("press", 1)]
