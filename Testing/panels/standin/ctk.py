"""The widgets of CTK that a panel uses, with the properties and signals of CTK's headers (commontk/CTK, Libs/Widgets).

They look like Qt's, not like CTK's own drawing. What is not here is not in the module ``ctk`` of the tests either.
"""

# ruff: noqa: ARG002, N801, N802, N815 (names and arguments are CTK's)

import enum
from pathlib import Path

from PySide6 import QtCore, QtWidgets
from PySide6.QtCore import Property, Signal

from . import dialogs

HEADER = 24


def stored(kind, name, default, after=None):
    """Make a property that keeps its value and calls a method of the widget when it is set."""

    def get(self):
        return self.__dict__.get(f"_{name}", default)

    def put(self, value):
        self.__dict__[f"_{name}"] = value
        if after is not None:
            after(self)

    return Property(kind, get, put), put


def passed_on(kind, child, name):
    """Make a property that is one of a child widget."""
    setter = f"set{name[0].upper()}{name[1:]}"

    def get(self):
        return getattr(getattr(self, child), name)()

    def put(self, value):
        getattr(getattr(self, child), setter)(value)

    return Property(kind, get, put), put


class ctkCollapsibleButton(QtWidgets.QAbstractButton):
    """A header that shows and hides the widgets below it; ``checked`` is the opposite of ``collapsed``."""

    contentsCollapsed = Signal(bool)

    def __init__(self, text="", parent=None):
        if isinstance(text, QtWidgets.QWidget):
            text, parent = "", text
        super().__init__(parent)
        self._hidden_by_us = []
        self.setText(text)
        self.setCheckable(True)
        self.setChecked(True)
        self.setContentsMargins(0, HEADER, 0, 0)
        self.setSizePolicy(QtWidgets.QSizePolicy.Policy.Minimum, QtWidgets.QSizePolicy.Policy.Preferred)
        self.toggled.connect(self._unfold)

    def _unfold(self, expanded):
        if expanded:
            for child in self._hidden_by_us:
                child.show()
            self._hidden_by_us = []
        else:
            children = self.findChildren(QtWidgets.QWidget, options=QtCore.Qt.FindChildOption.FindDirectChildrenOnly)
            self._hidden_by_us = [child for child in children if not child.isHidden()]
            for child in self._hidden_by_us:
                child.hide()
        self.setMaximumHeight(16777215 if expanded else HEADER)
        self.updateGeometry()
        self.contentsCollapsed.emit(not expanded)

    def childEvent(self, event):
        """Hide what is put into a collapsed button."""
        child = event.child()
        if event.polished() and not self.isChecked() and child.isWidgetType() and not child.isHidden():
            self._hidden_by_us.append(child)
            child.hide()
        super().childEvent(event)

    collapsed = Property(bool, lambda self: not self.isChecked(), lambda self, value: self.setChecked(not value))
    contentsLineWidth, setContentsLineWidth = stored(int, "contentsLineWidth", 1)
    collapsedHeight, setCollapsedHeight = stored(int, "collapsedHeight", 10)

    def setCollapsed(self, collapsed):
        """Collapse or expand."""
        self.setChecked(not collapsed)

    def hitButton(self, position):
        """Take clicks on the header alone."""
        return self.rect().contains(position) and position.y() < HEADER

    def sizeHint(self):
        """Return the size of the header, or of the layout below it."""
        least = QtCore.QSize(self.fontMetrics().horizontalAdvance(self.text()) + 2 * HEADER, HEADER)
        layout = self.layout()
        return layout.totalSizeHint().expandedTo(least) if layout and self.isChecked() else least

    def minimumSizeHint(self):
        """Return the least size of the header, or of the layout below it."""
        least = QtCore.QSize(2 * HEADER, HEADER)
        layout = self.layout()
        return layout.totalMinimumSize().expandedTo(least) if layout and self.isChecked() else least

    def paintEvent(self, event):
        """Draw a header with an arrow, and a frame around the rest."""
        painter = QtWidgets.QStylePainter(self)
        option = QtWidgets.QStyleOptionButton()
        option.initFrom(self)
        option.rect = QtCore.QRect(0, 0, self.width(), HEADER)
        painter.drawControl(QtWidgets.QStyle.ControlElement.CE_PushButtonBevel, option)
        element = QtWidgets.QStyle.PrimitiveElement
        arrow = QtWidgets.QStyleOption()
        arrow.initFrom(self)
        arrow.rect = QtCore.QRect(6, 6, HEADER - 12, HEADER - 12)
        painter.drawPrimitive(
            element.PE_IndicatorArrowDown if self.isChecked() else element.PE_IndicatorArrowRight, arrow
        )
        painter.drawText(option.rect.adjusted(HEADER, 0, 0, 0), QtCore.Qt.AlignmentFlag.AlignVCenter, self.text())


class ctkCollapsibleGroupBox(QtWidgets.QGroupBox):
    """A group box whose check box shows and hides its contents."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.setCheckable(True)
        self.toggled.connect(self._unfold)

    def _unfold(self, expanded):
        for child in self.findChildren(QtWidgets.QWidget, options=QtCore.Qt.FindChildOption.FindDirectChildrenOnly):
            child.setVisible(expanded)

    collapsed = Property(bool, lambda self: not self.isChecked(), lambda self, value: self.setChecked(not value))

    def setCollapsed(self, collapsed):
        """Collapse or expand."""
        self.setChecked(not collapsed)


class ctkComboBox(QtWidgets.QComboBox):
    """A combo box with a text for "nothing chosen"."""

    class ScrollEffect(enum.IntEnum):
        """What the mouse wheel may do."""

        NeverScroll = 0
        AlwaysScroll = 1
        ScrollWithFocus = 2
        ScrollWithNoVScrollBar = 3

    defaultText = Property(str, lambda self: self.placeholderText(), lambda self, text: self.setPlaceholderText(text))
    scrollWheelEffect, setScrollWheelEffect = stored(int, "scrollWheelEffect", 1)

    def setDefaultText(self, text):
        """Say what stands there when nothing is chosen."""
        self.setPlaceholderText(text)

    currentUserDataAsString = Property(
        str,
        lambda self: str(self.currentData() or ""),
        lambda self, data: self.setCurrentIndex(self.findData(data)),
    )


class ctkCheckableComboBox(QtWidgets.QComboBox):
    """A combo box whose items have check boxes."""

    checkedIndexesChanged = Signal()

    def __init__(self, parent=None):
        super().__init__(parent)
        self.model().rowsInserted.connect(self._make_checkable)
        self.model().dataChanged.connect(self._tell)

    def _make_checkable(self, parent, first, last):
        for row in range(first, last + 1):
            item = self.model().item(row)
            item.setFlags(item.flags() | QtCore.Qt.ItemFlag.ItemIsUserCheckable)
            item.setCheckState(QtCore.Qt.CheckState.Unchecked)

    def _tell(self, first, last, roles):
        if not roles or QtCore.Qt.ItemDataRole.CheckStateRole in roles:
            self.checkedIndexesChanged.emit()

    def checkableModel(self):
        """Return the model."""
        return self.model()

    def checkedIndexes(self):
        """Return the indexes of the checked items."""
        indexes = [self.model().index(row, 0) for row in range(self.count())]
        return [index for index in indexes if self.checkState(index) == QtCore.Qt.CheckState.Checked]

    def allChecked(self):
        """Return whether all are checked."""
        return len(self.checkedIndexes()) == self.count()

    def noneChecked(self):
        """Return whether none is checked."""
        return not self.checkedIndexes()

    def checkState(self, index):
        """Return the state of one item."""
        return self.model().itemFromIndex(index).checkState()

    def setCheckState(self, index, state):
        """Check or uncheck one item."""
        self.model().itemFromIndex(index).setCheckState(state)


class ctkCheckBox(QtWidgets.QCheckBox):
    """A check box."""


class ctkPushButton(QtWidgets.QPushButton):
    """A push button."""


class ctkDoubleSpinBox(QtWidgets.QDoubleSpinBox):
    """A spin box whose controls may be inverted."""

    invertedControls, setInvertedControls = stored(bool, "invertedControls", False)

    def stepBy(self, steps):
        """Step up or, when inverted, down."""
        super().stepBy(-steps if self.invertedControls else steps)


class ctkSliderWidget(QtWidgets.QWidget):
    """A slider with a spin box beside it, both with the same value."""

    valueChanged = Signal(float)
    valueIsChanging = Signal(float)

    def __init__(self, parent=None):
        super().__init__(parent)
        self._slider = QtWidgets.QSlider(QtCore.Qt.Orientation.Horizontal)
        self._spin_box = QtWidgets.QDoubleSpinBox()
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._slider, 1)
        layout.addWidget(self._spin_box)
        self._spin_box.valueChanged.connect(self._spun)
        self._slider.valueChanged.connect(self._slid)
        self._spin_box.setRange(0, 99)
        self._place()

    def _spun(self, value):
        self._place()
        self.valueChanged.emit(value)

    def _slid(self, step):
        if step != self._steps(self.value):
            self._spin_box.setValue(self.minimum + step * self.singleStep)

    def _steps(self, value):
        return round((value - self.minimum) / self.singleStep)

    def _place(self):
        # The slider follows: it must not round the value of the spin box to its own steps.
        self._slider.blockSignals(True)
        self._slider.setRange(0, self._steps(self.maximum))
        self._slider.setValue(self._steps(self.value))
        self._slider.blockSignals(False)

    def _range_of(self, name, value):
        getattr(self._spin_box, name)(value)
        self._place()

    decimals, setDecimals = passed_on(int, "_spin_box", "decimals")
    prefix, setPrefix = passed_on(str, "_spin_box", "prefix")
    suffix, setSuffix = passed_on(str, "_spin_box", "suffix")
    value, setValue = passed_on(float, "_spin_box", "value")
    tracking, setTracking = stored(bool, "tracking", True)
    pageStep, setPageStep = stored(float, "pageStep", 10.0)
    minimum = Property(float, lambda self: self._spin_box.minimum(), lambda self, value: self.setMinimum(value))
    maximum = Property(float, lambda self: self._spin_box.maximum(), lambda self, value: self.setMaximum(value))
    singleStep = Property(float, lambda self: self._spin_box.singleStep(), lambda self, v: self.setSingleStep(v))
    spinBoxVisible = Property(
        bool, lambda self: not self._spin_box.isHidden(), lambda self, value: self._spin_box.setVisible(value)
    )

    def setMinimum(self, value):
        """Set the least value."""
        self._range_of("setMinimum", value)

    def setMaximum(self, value):
        """Set the largest value."""
        self._range_of("setMaximum", value)

    def setSingleStep(self, value):
        """Set the step of an arrow key."""
        self._range_of("setSingleStep", value)

    def setRange(self, low, high):
        """Set both ends."""
        self.setMinimum(low)
        self.setMaximum(high)

    def reset(self):
        """Go back to zero."""
        self.setValue(0)

    def slider(self):
        """Return the slider."""
        return self._slider

    def spinBox(self):
        """Return the spin box."""
        return self._spin_box


class ctkPathLineEdit(QtWidgets.QWidget):
    """A path in words, with a button to browse."""

    class Filter(enum.IntFlag):
        """What may be chosen."""

        Dirs = 0x1
        Files = 0x2
        Drives = 0x4
        AllEntries = 0x7
        Readable = 0x10
        Writable = 0x20
        Executable = 0x40
        Hidden = 0x100
        NoDot = 0x2000
        NoDotDot = 0x4000

    currentPathChanged = Signal(str)
    validInputChanged = Signal(bool)

    def __init__(self, parent=None):
        super().__init__(parent)
        self._line = QtWidgets.QComboBox(editable=True)
        self._line.setInsertPolicy(QtWidgets.QComboBox.InsertPolicy.NoInsert)
        self._line.setSizeAdjustPolicy(QtWidgets.QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self._browse = QtWidgets.QToolButton(text="...")
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._line, 1)
        layout.addWidget(self._browse)
        self._browse.clicked.connect(self.browse)
        self._line.editTextChanged.connect(self._changed)
        self._valid = False

    def _changed(self, path):
        valid = Path(path).exists() if path else False
        if valid != self._valid:
            self._valid = valid
            self.validInputChanged.emit(valid)
        self.currentPathChanged.emit(path)

    currentPath = Property(str, lambda self: self._line.currentText(), lambda self, path: self.setCurrentPath(path))
    filters, setFilters = stored(
        int, "filters", int(Filter.AllEntries | Filter.NoDot | Filter.NoDotDot | Filter.Readable | Filter.Executable)
    )
    label, setLabel = stored(str, "label", "")
    nameFilters, setNameFilters = stored("QStringList", "nameFilters", [])
    settingKey, setSettingKey = stored(str, "settingKey", "")
    showHistoryButton, setShowHistoryButton = stored(bool, "showHistoryButton", True)
    showBrowseButton = Property(
        bool, lambda self: not self._browse.isHidden(), lambda self, value: self._browse.setVisible(value)
    )

    def setCurrentPath(self, path):
        """Set the path."""
        self._line.setEditText(path)

    def browse(self):
        """Ask for a file, or a folder if files may not be chosen."""
        ask = dialogs.QFileDialog
        to_write = self.filters & self.Filter.Writable
        files = ask.getSaveFileName if to_write else ask.getOpenFileName
        path = (files if self.filters & self.Filter.Files else ask.getExistingDirectory)(self, self.label)
        if path:
            self.setCurrentPath(path)

    def addCurrentPathToHistory(self):
        """Remember the path, in this widget alone."""
        if self._line.findText(self.currentPath) < 0:
            self._line.insertItem(0, self.currentPath)

    def comboBox(self):
        """Return the combo box that holds the path."""
        return self._line


class ctkDirectoryButton(QtWidgets.QWidget):
    """A button that shows a folder and asks for another."""

    directoryChanged = Signal(str)
    directorySelected = Signal(str)

    def __init__(self, parent=None):
        super().__init__(parent)
        self._button = QtWidgets.QPushButton()
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._button)
        self._button.clicked.connect(self.browse)
        self._directory = QtCore.QDir()
        self._button.setText(self._directory.absolutePath())

    directory = Property(str, lambda self: self._directory.path(), lambda self, path: self.setDirectory(path))
    caption, setCaption = stored(str, "caption", "")

    def setDirectory(self, path):
        """Set the folder, from now on an absolute path; the signal of a selection comes in any case."""
        chosen = QtCore.QDir(path)
        changed = chosen != self._directory
        if changed:
            self._directory.setPath(chosen.absolutePath())
            self._button.setText(chosen.absolutePath())
        self.directorySelected.emit(chosen.absolutePath())
        if changed:
            self.directoryChanged.emit(chosen.absolutePath())

    def browse(self):
        """Ask for a folder."""
        path = dialogs.QFileDialog.getExistingDirectory(self, self.caption)
        if path:
            self.setDirectory(path)


class ctkFittedTextBrowser(QtWidgets.QTextBrowser):
    """A text browser as high as its text."""

    def sizeHint(self):
        """Return the size of the text."""
        document = self.document().clone()
        document.setTextWidth(max(self.viewport().width(), 100))
        return QtCore.QSize(200, int(document.size().height()) + 2 * self.frameWidth())

    def resizeEvent(self, event):
        """Fit again."""
        super().resizeEvent(event)
        self.setMinimumHeight(self.sizeHint().height())


class ctkMessageBox(dialogs.QMessageBox):
    """A message box with "do not show again"."""

    dontShowAgainSettingsKey, setDontShowAgainSettingsKey = stored(str, "dontShowAgainSettingsKey", "")


class ctkMenuButton(QtWidgets.QPushButton):
    """A push button with a menu beside it."""


def classes():
    """Return the classes, by name."""
    return {name: cls for name, cls in globals().items() if name.startswith("ctk") and isinstance(cls, type)}
