"""Dialogs that never block: file dialogs are recorded, and a message box that nobody expected fails the test."""

# ruff: noqa: ARG004, N802 (names and arguments are Qt's)

from collections import deque

from PySide6 import QtWidgets

from . import pythonqt

#: Every dialog that was opened, as "class: text", and what the next ones are to answer.
opened: list[str] = []
answers: deque = deque()


def answer(*values):
    """Queue what the next dialogs return: a path, a tuple of paths, or the value of a button; "" and 0 cancel."""
    answers.extend(values)


def forget():
    """Forget what was opened and what was to be answered, at the end of a test."""
    opened.clear()
    answers.clear()


def _choose(kind, caption, nothing):
    opened.append(f"{kind}: {caption}")
    return answers.popleft() if answers else nothing


def _ask(kind, text):
    """Return the queued answer; without one, fail, and remember it in case the failure is swallowed."""
    opened.append(f"{kind}: {text}")
    if answers:
        return answers.popleft()
    pythonqt.complaints.append(f"a {kind} was opened that would stop a script: {text!r}")
    raise AssertionError(pythonqt.complaints[-1])


class QFileDialog(QtWidgets.QFileDialog):
    """A file dialog that answers at once: as if cancelled, or with what the test has queued."""

    @staticmethod
    def getOpenFileName(parent=None, caption="", directory="", filters=""):
        """Return one path, or ""."""
        return _choose("QFileDialog", caption, "")

    @staticmethod
    def getOpenFileNames(parent=None, caption="", directory="", filters=""):
        """Return several paths."""
        return _choose("QFileDialog", caption, ())

    @staticmethod
    def getSaveFileName(parent=None, caption="", directory="", filters=""):
        """Return one path, or ""."""
        return _choose("QFileDialog", caption, "")

    @staticmethod
    def getExistingDirectory(parent=None, caption="", directory=""):
        """Return one folder, or ""."""
        return _choose("QFileDialog", caption, "")

    def exec(self):
        """Return 0, as if cancelled, or what was queued."""
        return _choose("QFileDialog", self.windowTitle(), 0)

    exec_ = exec


class QDialog(QtWidgets.QDialog):
    """A dialog that must not wait for somebody who is not there."""

    def exec(self):
        """Return what was queued."""
        return _ask("QDialog", self.windowTitle())

    exec_ = exec


class QMessageBox(QtWidgets.QMessageBox):
    """A message box that fails the test unless the test has queued an answer."""

    def exec(self):
        """Return what was queued."""
        return _ask(type(self).__name__, self.text())

    exec_ = exec

    def open(self):
        """Fail as ``exec`` does."""
        _ask(type(self).__name__, self.text())

    show = open

    @staticmethod
    def information(parent=None, title="", text="", *buttons):
        """Return what was queued."""
        return _ask("QMessageBox", text)

    about = critical = question = warning = information


class QInputDialog(QtWidgets.QInputDialog):
    """An input dialog that fails the test unless the test has queued an answer."""

    @staticmethod
    def getText(parent=None, title="", label="", *more):
        """Return what was queued."""
        return _ask("QInputDialog", label)

    getDouble = getInt = getItem = getMultiLineText = getText  # noqa: N815


REPLACED = (QFileDialog, QDialog, QMessageBox, QInputDialog)
