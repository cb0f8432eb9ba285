"""What the tests of the audit share: findings by the name of their check."""

from typing import Any

from speechml.report.audit import audit_data


def found(data: Any) -> dict[str, dict[str, Any]]:
    """What each check found."""
    return {finding["check"]: finding for finding in audit_data(data)["findings"]}


def states(data: Any) -> dict[str, str]:
    return {check: finding["state"] for check, finding in found(data).items()}


def counts(finding: dict[str, Any]) -> tuple[int, int]:
    return finding["shared"], finding["of"]
