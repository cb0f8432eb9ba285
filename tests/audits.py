"""What the tests of the audit share: findings by the name of their check."""

from speechml.data.base import BaseDataModule
from speechml.report.audit import Finding, audit_data


def findings(data: BaseDataModule) -> dict[str, Finding]:
    """The finding of each check."""
    return {finding.check: finding for finding in audit_data(data).findings}


def states(data: BaseDataModule) -> dict[str, str]:
    return {check: finding.state for check, finding in findings(data).items()}


def counts(finding: Finding) -> tuple[int | None, int | None]:
    return finding.shared, finding.of
