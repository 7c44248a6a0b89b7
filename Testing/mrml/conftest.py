"""MRML scenes as Slicer sets them up, without Slicer: nodes are those of the slicer-core wheel."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray


@pytest.fixture
def new_scene(tmp_path: Path) -> Iterator[Callable[[], Any]]:
    """Make scenes with colours that read and write .mrb; their logics live as long as the test."""
    import slicer

    alive: list[Any] = []

    def make() -> Any:
        scene, cache, data = slicer.vtkMRMLScene(), slicer.vtkCacheManager(), slicer.vtkDataIOManager()
        cache.SetRemoteCacheDirectory(str(tmp_path / "cache"))
        cache.SetMRMLScene(scene)
        scene.SetCacheManager(cache)
        data.SetCacheManager(cache)
        scene.SetDataIOManager(data)
        remote, local, colours = (
            slicer.vtkMRMLRemoteIOLogic(),
            slicer.vtkDataIOManagerLogic(),
            slicer.vtkMRMLColorLogic(),
        )
        remote.SetMRMLScene(scene)
        remote.AddDataIOToScene()
        local.SetAndObserveDataIOManager(data)
        for logic in (local, colours):
            logic.SetMRMLScene(scene)
        alive.extend((scene, cache, data, remote, local, colours))
        return scene

    yield make
    alive.clear()


@pytest.fixture
def scene(new_scene: Callable[[], Any]) -> Any:
    """A scene with nothing of ours in it."""
    return new_scene()


def parent_in(scene: Any, above: Any, matrix: NDArray[np.float64]) -> Any:
    """Add a linear transform under another one, or under the world."""
    import slicer.util

    node = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    node.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(matrix))
    if above is not None:
        node.SetAndObserveTransformNodeID(above.GetID())
    return node


@pytest.fixture
def moved(scene: Any) -> Any:
    """A turn and a shift, under a mirror and a scaling: two linear transforms, one in the other."""
    mirror = np.diag([-1.0, 1.0, 1.0, 1.0])
    mirror[:3, 3] = (4.0, -7.5, 100.0)
    turn = np.eye(4)
    turn[:2, :2] = [[0.8, -0.6], [0.6, 0.8]]
    turn[:3, 3] = (-20.0, 3.0, 11.0)
    return parent_in(scene, parent_in(scene, None, mirror * [[2.0], [2.0], [2.0], [1.0]]), turn)


@pytest.fixture
def sheared(scene: Any) -> Any:
    """A linear transform that leaves no box a box."""
    matrix = np.eye(4)
    matrix[0, 1] = 0.3
    return parent_in(scene, None, matrix)


@pytest.fixture
def warped(scene: Any) -> Any:
    """A linear transform under a thin plate spline."""
    import vtk

    above = scene.AddNewNodeByClass("vtkMRMLTransformNode")
    above.SetAndObserveTransformToParent(vtk.vtkThinPlateSplineTransform())
    return parent_in(scene, above, np.eye(4))


@pytest.fixture
def oblique() -> NDArray[np.float64]:
    """Voxels of .7 × 1.3 × 3.1 mm, the first axis towards the feet, turned by 23 degrees."""
    cosine, sine = np.cos(np.deg2rad(23)), np.sin(np.deg2rad(23))
    affine = np.eye(4)
    affine[:3, :3] = np.array([[0, cosine, -sine], [0, sine, cosine], [-1, 0, 0]]) * (0.7, 1.3, 3.1)
    affine[:3, 3] = (-31.7, 12.3, 870.1)
    return affine


@pytest.fixture
def add_volume(scene: Any, oblique: NDArray[np.float64]) -> Callable[..., Any]:
    """Add a volume node as Slicer's own Python does, from voxels in Slicer's order (K, J, I[, C])."""
    import slicer.util

    def add(kji: NDArray[Any], affine: NDArray[np.float64] = oblique, kind: str = "Scalar", under: Any = None) -> Any:
        node = scene.AddNewNodeByClass(f"vtkMRML{kind}VolumeNode", "T1")
        slicer.util.updateVolumeFromArray(node, kji)
        node.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(affine))
        if under is not None:
            node.SetAndObserveTransformNodeID(under.GetID())
        return node

    return add
