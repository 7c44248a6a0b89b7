"""Pictures of a panel, drawn without a screen."""

from pathlib import Path

from PySide6 import QtCore, QtGui, QtWidgets

_DARK = {
    "Window": "#323232",
    "WindowText": "#f0f0f0",
    "Base": "#252525",
    "AlternateBase": "#2d2d2d",
    "Text": "#f0f0f0",
    "Button": "#3c3c3c",
    "ButtonText": "#f0f0f0",
    "ToolTipBase": "#3c3c3c",
    "ToolTipText": "#f0f0f0",
    "PlaceholderText": "#969696",
    "Highlight": "#2a82da",
    "HighlightedText": "#ffffff",
    "Link": "#5aa9f0",
    "BrightText": "#ff6060",
}


def load_fonts():
    """Give the offscreen platform a font, if the system has none: DejaVu, which comes with matplotlib."""
    # Without fonts Qt still lists "Serif" and draws empty boxes: the answer is in whether there is an "a".
    if QtGui.QFontMetrics(QtWidgets.QApplication.font()).inFont("a"):
        return
    import matplotlib

    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    for path in sorted(folder.glob("DejaVuSans*.ttf")):
        QtGui.QFontDatabase.addApplicationFont(str(path))
    QtWidgets.QApplication.setFont(QtGui.QFont("DejaVu Sans", 9))


def palette(dark):
    """Return the light or the dark colours, disabled ones paler."""
    colours = QtWidgets.QStyleFactory.create("Fusion").standardPalette() if not dark else QtGui.QPalette()
    role = QtGui.QPalette.ColorRole
    if dark:
        for name, colour in _DARK.items():
            colours.setColor(role[name], QtGui.QColor(colour))
        for name in ("WindowText", "Text", "ButtonText"):
            colours.setColor(QtGui.QPalette.ColorGroup.Disabled, role[name], QtGui.QColor("#808080"))
    return colours


def picture(widget, path, width=350, dark=False):
    """Draw a widget into a PNG at a width in pixels, in Fusion style; return the least width that it would need.

    A result above ``width`` means that the panel is cut off in Slicer's narrow column.
    """
    widget = getattr(widget, "_object", widget)
    application = QtWidgets.QApplication.instance()
    before = application.style().objectName(), application.palette(), widget.size()
    load_fonts()
    application.setStyle("Fusion")
    application.setPalette(palette(dark))
    widget.show()
    height = widget.sizeHint().height()
    # Lines break at the new width, and only then is it known how high the panel is.
    for _ in range(2):
        widget.resize(width, height)
        application.processEvents()
        layout = widget.layout()
        height = (
            layout.totalHeightForWidth(width) if layout and layout.hasHeightForWidth() else widget.sizeHint().height()
        )
    least = widget.minimumSizeHint().width()
    drawn = QtGui.QPixmap(QtCore.QSize(width, height))
    drawn.fill(application.palette().color(QtGui.QPalette.ColorRole.Window))
    widget.render(drawn)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    drawn.save(str(path))
    application.setStyle(before[0])
    application.setPalette(before[1])
    widget.resize(before[2])
    return least
