"""Pictures of the panel for docs/: ``QT_QPA_PLATFORM=offscreen python Testing/panels/make_pictures.py``.

The stand-in shows it, at the width that Slicer gives it: before, while and after the phantom's MR is translated.
"""

import os
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "MedGAN"), str(ROOT / "Testing" / "panels")]
os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

import numpy as np  # noqa: E402
from matplotlib.image import imread, imsave  # noqa: E402
from standin import choose, click, desktop_slicer, load_module, picture, wait_until  # noqa: E402


def main() -> None:
    """Write docs/panel.png, light, and docs/panel-dark.png."""
    with tempfile.TemporaryDirectory() as folder, desktop_slicer(Path(folder, "slicer")) as slicer:
        load_module(ROOT / "MedGAN" / "MedGAN.py")
        from MedGANLib.SampleImages import makePhantom

        widget = slicer.modules.medgan.widgetRepresentation()
        widget.show()
        widget.enter()
        panel = widget.self()
        choose(panel.ui.taskSelector, "MR to CT")
        shown = [Path(folder, f"{number}.png") for number in range(4)]
        panel._selectors["mr"][1].setCurrentNode(makePhantom(sys.executable, "thigh"))
        wait_until(lambda: panel._devices.found, 60)
        picture(widget, shown[0])
        click(panel.ui.applyButton)
        wait_until(lambda: (panel._task.work.share or 0) > 0.3, 120)
        picture(widget, shown[1])
        picture(widget, shown[2], dark=True)
        wait_until(lambda: panel._task is None, 300)
        picture(widget, shown[3])
        _beside([shown[0], shown[1], shown[3]], ROOT / "docs" / "panel.png")
        _beside([shown[2]], ROOT / "docs" / "panel-dark.png")


def _beside(files: list[Path], output: Path) -> None:
    pictures = [imread(file)[..., :3] for file in files]
    height = max(picture.shape[0] for picture in pictures)
    background = pictures[0][0, 0]
    columns = []
    for one in pictures:
        column = np.tile(background, (height, one.shape[1], 1))
        column[: one.shape[0]] = one
        columns += [column, np.ones((height, 12, 3), np.float32)]
    imsave(output, np.concatenate(columns[:-1], axis=1))


if __name__ == "__main__":
    main()
