"""What a person should know of a model before it is used."""

from collections.abc import Mapping
from typing import Any

from MedGANLogic.catalogue import Card, Model
from MedGANLogic.domain import Domain, Labels

#: Tasks whose name does not say itself; any other is shown as it is spelled.
_TASKS: Mapping[str, str] = {
    "mr-to-ct": "MR to CT",
    "cbct-to-ct": "Cone-beam CT to CT",
    "mr-to-pet": "MR to PET",
    "ct-to-pet": "CT to PET",
    "denoise-ct": "Low-dose CT to full dose",
    "mri-reconstruction": "MR reconstruction",
    "sample": "Made-up images",
}


#: What DICOM's codes of modalities are called.
_SAID: Mapping[str, str] = {"PT": "PET"}


def task_title(task: str) -> str:
    """Return a task's name in words."""
    return _TASKS.get(task, task.replace("-", " ").capitalize())


def input_title(role: str, domain: Domain) -> str:
    """Return what a role is in words: ``CT (HU)``, ``MR``, ``T2 (MR)``."""
    more = [domain.modality] if role.upper() not in (domain.modality, _SAID.get(domain.modality)) else []
    more += [domain.unit] if domain.unit not in ("none", "label") else []
    return role.upper() + (f" ({', '.join(more)})" if more else "")


def facts(model: Model) -> list[tuple[str, str]]:
    """Return headings and sentences: what it does, lets its user choose, learnt from, is valid for, and so on."""
    card = model.card
    offered = {offer.name: offer.text for chance in card.chance.values() for offer in chance.offers}
    return [
        (
            "Does",
            f"{task_title(card.task)}: {_domains(card.inputs) or 'no input'} → {_domains(card.targets)}{_finer(card)}",
        ),
        *([("Choices", "; ".join(f"{name}: {text}" for name, text in offered.items()))] if offered else []),
        ("Measured", str(card.measured.get("summary", "not measured"))),
        ("Valid for", _validity(card)),
        ("Trained on", _training(card.training)),
        ("Licence", card.licence),
        ("SHA-256", model.sha256),
    ]


def _domains(of: Mapping[str, Domain]) -> str:
    return ", ".join(_labelled(role, domain) for role, domain in of.items())


def _labelled(role: str, domain: Domain) -> str:
    """Return a role in words; of labels, which they are."""
    if not isinstance(domain.window, Labels):
        return input_title(role, domain)
    return f"{role.upper()} ({', '.join(label.name for label in domain.window.labels)})"


def _finer(card: Card) -> str:
    """Say how much finer the grid of the result is, where it is."""
    return "" if card.finer == (1, 1, 1) else f", {' × '.join(map(str, card.finer))} times as fine"


def _validity(card: Card) -> str:
    anatomy = ", ".join(card.validity.get("anatomy", [])) or "anatomy not stated"
    spacing = " × ".join(f"{low:g}–{high:g}" for low, high in card.validity.get("spacing_mm", []))
    return f"{anatomy}; spacing {spacing or 'not stated'}{' mm' if spacing else ''}"


def _training(training: Mapping[str, Any]) -> str:
    subjects = training.get("subjects", {})
    study = training.get("study", {})
    data = study.get("about", {}).get("data", "") if isinstance(study, Mapping) else ""
    system = training.get("system", "system not stated")
    return f"{subjects.get('train', '?')} subjects, {system}" + (f". {data}" if data else "")
