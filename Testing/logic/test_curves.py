"""The picture of a run shows what its log says, marks what went wrong, and leaves nothing behind when it fails."""

import json
import math

import numpy as np
import pytest

from MedGANLogic.__main__ import main
from MedGANLogic.evaluation import curves
from MedGANLogic.evaluation.curves import CurvesError, charts_of, read_curves, write_curves
from MedGANLogic.experiment import LOG, SAMPLES
from MedGANLogic.recorder import Record, Spread

ALARM = {"name": "exploding gradient", "text": "step 20: the gradient of critic is 4e+03. Go back."}


def record(step, **changes):
    known = {
        "losses": {
            "critic/0 called_real(score_real)": 0.7,
            "critic/1 called_fake(score_fake)": 0.6,
            "generator/0 called_real(score_fake)": 2.0 / step,
        },
        "gradients": {"critic": 30.0, "generator": 3.0},
        "scores": {"score_real": Spread(1.0, 0.5, 0.0, 2.0)},
        "made": 0.4,
        "real": None if step < 20 else 0.5,
        "rates": {"critic": 1e-4, "generator": 1e-4},
        "waiting": 0.1,
        "seconds_per_step": 0.25,
    }
    return {**Record(step, **{**known, **changes}).to_json()}


def run_in(folder, entries, sample=True):
    """Leave what a run leaves."""
    (folder / SAMPLES).mkdir(parents=True)
    (folder / LOG).write_text("".join(json.dumps(entry) + "\n" for entry in entries), encoding="utf-8")
    if sample:
        for step in (10, 30):
            np.save(folder / SAMPLES / f"{step:07d}.npy", np.full((4, 12), step / 40, np.float16))
    return folder


def entries(count=3):
    every = [record(10 * number) for number in range(1, count + 1)]
    for entry, score in zip(every, (0.5, 0.25), strict=False):
        entry |= {"validation": score, "measure": "1 - Dice"}
    every[1] |= {"alarms": [ALARM], "rolled_back_to": 10}
    return every


def read(folder):
    return read_curves(folder / LOG, folder / SAMPLES)


def test_charts_hold_what_the_log_says(tmp_path):
    charts = {chart.heading: chart for chart in charts_of(read(run_in(tmp_path / "run", entries())))}
    assert list(charts) == [
        "Losses of the critic",
        "Losses of the generator",
        "Gradient norm",
        "Scores, mean ± deviation",
        "Diversity, 1 − MS-SSIM",
        "Validation: 1 - Dice, lower is better",
    ]
    assert [line.name for line in charts["Losses of the critic"].lines] == ["called real", "called fake"]
    (generator,) = charts["Losses of the generator"].lines
    assert generator.steps.tolist() == [10, 20, 30] and np.allclose(generator.values, [0.2, 0.1, 2 / 30])
    (score,) = charts["Scores, mean ± deviation"].lines
    assert score.name == "score real" and score.deviation.tolist() == [0.5] * 3
    made, real = charts["Diversity, 1 − MS-SSIM"].lines
    assert made.values.tolist() == [0.4] * 3 and math.isnan(real.values[0]) and real.values[2] == 0.5
    (validation,) = charts["Validation: 1 - Dice, lower is better"].lines
    assert (validation.steps.tolist(), validation.values.tolist()) == ([10, 20], [0.5, 0.25])
    assert validation.ringed == 1


def test_a_loss_that_a_player_has_twice_says_what_it_is_of(tmp_path):
    names = ("g/0 l1(cycled_a, real_a)", "g/1 l1(cycled_b, real_b)", "g/2 squared_real(score_fake)", "g/3 l1")
    losses = record(10, losses=dict.fromkeys(names, 0.5))
    chart, *_ = charts_of(read(run_in(tmp_path / "run", [losses])))
    found = [line.name for line in chart.lines]
    assert found == ["l1 of cycled a, real a", "l1 of cycled b, real b", "squared real", "l1"]


def test_the_best_is_that_of_the_last_phase_whatever_was_rolled_back(tmp_path):
    scored = [(0, 10, 1.0), (1, 20, 5.0), (1, 30, 3.0), (1, 30, 4.0), (1, 40, math.nan)]
    every = [record(step) | {"phase": phase, "validation": score} for phase, step, score in scored]
    found = read(run_in(tmp_path / "run", every))
    assert found.best == (30, 3.0)
    *_, chart = charts_of(found)
    (line,) = chart.lines
    assert (line.ringed, line.steps.tolist()) == (2, [10, 20, 30, 30, 40])
    assert "best validation 3 at step 30" in curves._subtitle(found)


def test_alarms_roll_backs_and_the_last_sample_are_read(tmp_path):
    found = read(run_in(tmp_path / "run", entries()))
    assert found.alarms == ((20, ALARM["name"], ALARM["text"]),) and found.rolled_back == ((20, 10),)
    step, picture = found.sample
    assert step == 30 and picture.shape == (4, 12) and picture.max() == 0.75


def test_what_a_run_does_not_have_has_no_chart(tmp_path):
    plain = [record(10, losses={"generator/0 l1": 0.1}, gradients={"generator": 1.0}, scores={}, made=None)]
    found = read(run_in(tmp_path / "run", plain, sample=False))
    assert [chart.heading for chart in charts_of(found)] == ["Losses of the generator", "Gradient norm"]
    assert found.sample is None
    write_curves(tmp_path / "a.png", "run", found)


def test_line_that_is_still_being_written_is_left_out(tmp_path):
    folder = run_in(tmp_path / "run", entries())
    with (folder / LOG).open("a", encoding="utf-8") as log:
        log.write('{"step": 40, "los')
    assert len(read(folder).records) == 3


@pytest.mark.parametrize("broken", ["nan", "inf"])
def test_numbers_that_are_none_leave_a_gap(broken, tmp_path):
    every = entries()
    every[1] = record(20, losses={"critic/0 called_real": float(broken)}, gradients={"critic": float(broken)})
    figure = curves._draw("run", read(run_in(tmp_path / "run", every)))
    figure.canvas.draw()
    assert all(np.isfinite(axes.get_ylim()).all() for axes in figure.axes)


@pytest.mark.parametrize(
    ("values", "is_logarithmic"),
    [([1, 2, 3], False), ([0.01, 1, 100], True), ([0, 1, 100], False), ([-1, 1, 99], False)],
)
def test_axis_is_logarithmic_where_values_lie_far_apart(values, is_logarithmic):
    line = curves.Line("loss", np.arange(3.0), np.array(values, float))
    assert curves.Chart("Losses", (line,)).is_logarithmic == is_logarithmic


def test_running_median_follows_the_middle_and_ignores_gaps():
    values = np.full(180, 2.0)
    values[90] = 500
    values[30:40] = np.nan
    assert set(curves._running_median(values)[np.r_[:33, 37:180]]) == {2.0}


@pytest.mark.parametrize("count", [3, 200])
def test_no_text_is_cut_off_or_written_over_another(count, tmp_path):
    pytest.importorskip("matplotlib")
    every = entries(count)
    every[2]["alarms"] = [{"name": "feed starved", "text": "step 30: " + "a long advice that has to wrap " * 20}] * 9
    every[0]["losses"] |= {f"critic/{n} a_loss_with_a_long_name": 0.5 for n in range(2, 9)}
    figure = curves._draw("A NAME THAT IS MUCH TOO LONG FOR ITS LINE " * 5, read(run_in(tmp_path / "run", every)))
    figure.canvas.draw()
    boxes = {}
    for number, text in enumerate(figure.texts):
        box = text.get_window_extent()
        assert box.x0 >= 0 and box.x1 <= figure.bbox.width, text.get_text()
        assert box.y0 >= 0 and box.y1 <= figure.bbox.height, text.get_text()
        boxes[f"{number} {text.get_text()}"] = box
    for name, box in boxes.items():
        overlapped = [other for other, of in boxes.items() if other != name and box.overlaps(of)]
        assert not overlapped, (name, overlapped)


def test_alarms_are_marked_in_every_chart_and_told(tmp_path):
    pytest.importorskip("matplotlib")
    found = read(run_in(tmp_path / "run", entries()))
    figure = curves._draw("run", found)
    charts = figure.axes[: len(charts_of(found))]
    marks = [[line for line in axes.lines if line.get_marker() == "v"] for axes in charts]
    assert [[list(line.get_xdata()) for line in lines] for lines in marks] == [[[20]]] * len(charts)
    assert any(ALARM["text"] in text.get_text() for text in figure.texts)


@pytest.mark.parametrize("shape", [(4, 12), (8, 8), (12, 4)])
def test_sample_keeps_its_proportions_and_covers_no_chart(shape, tmp_path):
    pytest.importorskip("matplotlib")
    folder = run_in(tmp_path / "run", entries())
    np.save(folder / SAMPLES / "0000040.npy", np.zeros(shape, np.float16))
    figure = curves._draw("run", read(folder))
    figure.canvas.draw()
    *charts, sample = [axes.get_window_extent() for axes in figure.axes]
    assert sample.height / sample.width == pytest.approx(shape[0] / shape[1])
    assert not any(sample.overlaps(chart) for chart in charts) and sample.x1 < figure.bbox.width and sample.y0 > 0


def test_the_file_is_written(tmp_path, capsys):
    picture = pytest.importorskip("PIL.Image")
    folder = run_in(tmp_path / "run", entries())
    assert main(["curves", str(folder)]) == 0
    assert capsys.readouterr().out == f"{folder / 'curves.png'}\n"
    with picture.open(folder / "curves.png") as loaded:
        assert loaded.convert("RGB").getpixel((2, 2)) == (0x0C, 0x0F, 0x14)
    assert main(["curves", str(folder), "--out", str(tmp_path / "Übersicht.png")]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run", "Übersicht.png"]


def test_a_failure_leaves_nothing(tmp_path, monkeypatch):
    figure = pytest.importorskip("matplotlib.figure")

    def fail(_figure, path, **_how):
        path.write_bytes(b"half")
        raise OSError("disk full")

    found = read(run_in(tmp_path / "run", entries()))
    monkeypatch.setattr(figure.Figure, "savefig", fail)
    with pytest.raises(OSError, match="disk full"):
        write_curves(tmp_path / "a.png", "run", found)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "holds no run"),
        ("", "no record yet"),
        ('{"step": 10, "validation": 0.5}\n', "no record yet"),
        ('{"step": 10, "generator/0 l1": 0.5}\n', "an earlier version"),
        ("not json\n", "not the log of a run"),
        ('{"step": 10, "losses": {}}\n', "not the log of a run"),
        ("[1]\n", "not the log of a run"),
    ],
)
def test_folder_that_is_no_run_is_refused_in_a_sentence(text, said, tmp_path, capsys):
    if text is not None:
        (tmp_path / LOG).write_text(text)
    assert main(["curves", str(tmp_path)]) == 2
    complaint = capsys.readouterr().err
    assert said in complaint and "Traceback" not in complaint and not (tmp_path / "curves.png").exists()


@pytest.mark.parametrize("name", ["a.jpg", "nowhere/a.png"])
def test_picture_that_cannot_be_written_is_refused(name, tmp_path):
    with pytest.raises(CurvesError, match=r"ends in \.png, in a folder that is there"):
        write_curves(tmp_path / name, "run", read(run_in(tmp_path / "run", entries())))


def test_without_matplotlib_the_remedy_is_named(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
    assert main(["curves", str(run_in(tmp_path / "run", entries()))]) == 1
    assert "pip install medgan[plots]" in capsys.readouterr().err
