"""What the plugin asks of its host, asked of the embedded one always and of a real Pointcept where there is one."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).with_name("host_checks.py").read_text(encoding="utf-8")
CHECKS = [
    node.name for node in ast.parse(SOURCE).body if isinstance(node, ast.FunctionDef) and node.name.startswith("check_")
]


@pytest.mark.parametrize("host", ["embedded", "pointcept"])
@pytest.mark.parametrize("check", CHECKS)
def test_host_keeps_the_contract(host, check, report_of):
    report = report_of(host)
    assert report["host"] == host
    error = report["checks"][check]
    if error is not None and error.startswith("missing: "):
        pytest.skip(error)
    assert error is None, error


def test_both_hosts_compute_the_same(report_of):
    embedded, pointcept = (report_of(host)["values"] for host in ("embedded", "pointcept"))
    assert embedded.keys() == pointcept.keys() and len(embedded) > 20
    for name, value in embedded.items():
        if isinstance(value, list) and isinstance(value[-1], float):
            assert pointcept[name] == pytest.approx(value, rel=1e-5, abs=1e-6), name
        else:
            assert pointcept[name] == value, name
