"""How long the panel's event loop stands still while a large volume is translated.

Run by hand: ``QT_QPA_PLATFORM=offscreen python Testing/benchmarks/stalls.py``. A timer of 5 ms notes when it is called;
the longest gap between two calls is the longest stall. Nothing here is asserted: another machine has other times.
"""

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "MedGAN"), str(ROOT / "Testing"), str(ROOT / "Testing" / "panels")]
os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

from standin import desktop_slicer, load_module, wait_until  # noqa: E402
from toys import save_toy  # noqa: E402

from MedGANLogic.domain import MR  # noqa: E402
from MedGANLogic.images import Image  # noqa: E402
from MedGANLogic.mrml import node_from_image  # noqa: E402


def main() -> None:
    """Print the longest gap of each part of the work."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, nargs=3, default=(512, 512, 120))
    size = parser.parse_args().size
    with tempfile.TemporaryDirectory() as folder:
        os.environ["MEDGAN_BUNDLES"] = folder
        save_toy("translate", Path(folder))
        with desktop_slicer(Path(folder, "slicer")) as slicer:
            load_module(ROOT / "MedGAN" / "MedGAN.py")
            widget = slicer.modules.medgan.widgetRepresentation()
            widget.show()
            panel = widget.self()
            panel._choose(model="toy-translate", in_spite_of_errors=True)
            began = time.perf_counter()
            panel._selectors["mr"][1].setCurrentNode(node_from_image(_volume(size), MR, slicer.mrmlScene, "large"))
            seconds = time.perf_counter() - began
            print(f"{'×'.join(map(str, size))}: choosing the volume {seconds:.2f} s (with making the node)")
            gaps = _measured(panel)
    for doing, (longest, count) in gaps.items():
        print(f"{doing:<40} longest stall {1000 * longest:6.0f} ms in {count} looks")


def _volume(size: tuple[int, int, int]) -> Image:
    places = np.indices(size, np.float32) - (np.array(size).reshape(3, 1, 1, 1) - 1) / 2
    radius = np.sqrt(((places / (np.array(size).reshape(3, 1, 1, 1) * 0.4)) ** 2).sum(axis=0))
    noise = np.random.default_rng(0).normal(0, 5, size)
    voxels = np.where(radius < 1, 300 + places[0], 2) + noise
    return Image(np.maximum(voxels, 0).astype(np.float32)[None], np.diag([0.8, 0.8, 2.0, 1.0]), "none")


def _measured(panel) -> dict[str, tuple[float, int]]:
    import qt

    gaps: dict[str, tuple[float, int]] = {}
    last = time.perf_counter()

    def look() -> None:
        nonlocal last
        now = time.perf_counter()
        doing = panel._task.work.doing if panel._task else "showing the result"
        longest, count = gaps.get(doing, (0.0, 0))
        gaps[doing] = max(longest, now - last), count + 1
        last = now

    timer = qt.QTimer()
    timer.interval = 5
    timer.connect("timeout()", look)
    timer.start()
    panel._onApply()
    wait_until(lambda: panel._task is None, 600)
    look()
    return gaps


if __name__ == "__main__":
    main()
