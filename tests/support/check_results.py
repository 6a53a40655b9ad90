"""Results of the checks of a deployment by name, and those that failed."""

from __future__ import annotations

from tests.support.deployment_folders import Deployment

from fedfr.deployment.checks import CheckResult, check_server, check_site

__all__ = ["coordinator_results", "failures", "site_results"]


def site_results(deployment: Deployment) -> dict[str, CheckResult]:
    return {result.what: result for result in check_site(deployment.site_file)}


def coordinator_results(deployment: Deployment) -> dict[str, CheckResult]:
    return {result.what: result for result in check_server(deployment.coordinator)}


def failures(results: dict[str, CheckResult]) -> dict[str, str]:
    """Finding and remedy of each failed check."""
    return {what: f"{result.found}; {result.remedy}" for what, result in results.items() if result.remedy}
