"""Before the first work: is all there that it needs, and may what is missing be installed?"""

from collections.abc import Mapping
from dataclasses import dataclass

from MedGANLogic.check import Finding, Level
from MedGANLogic.preflight import NEEDED, Machine, missing, preflight


@dataclass(frozen=True)
class Readiness:
    """What was found, and the question that is asked; none where work can begin or nothing can be done from here."""

    findings: tuple[Finding, ...]
    question: str
    is_ready: bool


def readiness(machine: Machine, needed: Mapping[str, str] = NEEDED) -> Readiness:
    """Return whether a machine can do what needs these packages, or what must be asked first."""
    findings = tuple(finding for finding in preflight(machine, needed) if finding.level is not Level.NOTE)
    wanted = [requirement.partition(">=")[0] for requirement in missing(machine, needed)]
    wanted = (["torch"] if "torch" not in machine.packages else []) + wanted
    stopped = any(finding.level is Level.ERROR for finding in findings)
    question = f"Install {', '.join(wanted)} now? Nothing that is installed is replaced." if wanted else ""
    return Readiness(findings, "" if stopped else question, not stopped and not wanted)
