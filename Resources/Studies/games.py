"""One run of every kind of game on real images, small enough for two CPU cores; a page of curves and samples.

    python Resources/Studies/games.py DATA [--only NAME …] [--out runs/games] [--page docs/games.md]

DATA is the folder of sample images (its README names sources and licences). Runs are taken up where they were cut
off. No weights of these runs are shipped: they show that losses behave, not what a system can do.
"""

import argparse
import csv
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

SEED = 2026
MS = "ms_lesion_mr/patient"
SARCOMA = ("002", "008", "012", "014", "015", "016", "017", "018", "022", "023", "027")


@dataclass(frozen=True)
class Game:
    """A run: which recipe, on which study and table (rows of subject, part and columns), for how many steps."""

    recipe: str
    study: str
    steps: int
    changes: dict[str, float]


SMALL = {"width": 16, "patch": 48, "batch": 16}
RUNS = {
    "wgan-gp": Game("wgan-gp", "hippocampus", 300, SMALL),
    "dcgan": Game("dcgan", "hippocampus", 1200, SMALL),
    "lsgan": Game("lsgan", "hippocampus", 1200, SMALL),
    "wgan": Game("wgan", "hippocampus", 300, SMALL),
    "ragan": Game("ragan", "hippocampus", 1200, SMALL),
    "began": Game("began", "hippocampus", 1200, {**SMALL, "rate": 1e-3}),
    "sn-gan": Game("sn-gan", "hippocampus", 1200, SMALL),
    "pgan": Game("pgan", "hippocampus", 1200, {**SMALL, "patch": 32}),
    "infogan": Game("infogan", "hippocampus", 1200, SMALL),
    "vae-gan": Game("vae-gan", "hippocampus", 1200, SMALL),
    "cgan": Game("cgan", "sequences", 1200, SMALL),
    "acgan": Game("acgan", "sequences", 1200, SMALL),
    "anogan": Game("anogan", "normal", 1200, SMALL),
    "cyclegan": Game("cyclegan", "limb", 600, {"width": 16, "levels": 3, "patch": 64, "batch": 2}),
    "srgan": Game("srgan", "fine", 600, {"width": 16, "levels": 4, "patch": 64, "batch": 8, "rate": 5e-4}),
    "segan": Game("segan", "parts", 1000, {**SMALL, "levels": 3, "rate": 2e-4}),
    "moeskops-dilated-gan": Game("moeskops-dilated-gan", "parts", 400, {**SMALL, "batch": 8, "adversarial": 0.1}),
    "li-brats-gan": Game("li-brats-gan", "parts", 400, {"width": 16, "patch": 31, "batch": 16}),
    "context-gan-mr2ct": Game("context-gan-mr2ct", "volumes", 300, {"width": 8, "patch": 32, "batch": 2, "rate": 1e-4}),
    "sketcher-refiner": Game(
        "sketcher-refiner", "uptake-volumes", 400, {"width": 8, "levels": 3, "patch": 32, "batch": 2}
    ),
    "ct2pet-fcn-cgan": Game("ct2pet-fcn-cgan", "uptake", 1000, {"width": 16, "levels": 4, "patch": 64, "batch": 8}),
    "dan": Game("dan", "few", 1000, {**SMALL, "levels": 4}),
    "kamnitsas-uda": Game("kamnitsas-uda", "few-volumes", 500, {"width": 8, "patch": 24, "batch": 4}),
}


def studies(data: Path) -> dict:
    """Return every study with its table: columns, and rows of what they hold."""
    from MedGANLogic.degradation import Averaged, Predicted
    from MedGANLogic.domain import CT, MR, PET, UNLIKENESS, Domain, Label, Labels
    from MedGANLogic.study import Study

    parts = Labels((Label(1, "anterior", (230, 180, 80), ""), Label(2, "posterior", (90, 160, 220), "")))
    labelled = Domain("SEG", "label", parts, 0.0)
    names = sorted(path.name for path in (data / "hippocampus_mr" / "images").iterdir())[:72]
    part = ["validation" if n % 9 == 4 else "test" if n % 9 == 8 else "train" for n in range(len(names))]
    hippocampus = [
        {
            "subject": name[:15],
            "part": p,
            "mr": f"hippocampus_mr/images/{name}",
            "labels": f"hippocampus_mr/labels/{name}",
        }
        for name, p in zip(names, part, strict=True)
    ]
    # Only every sixth subject to learn from is labelled.
    few = [
        {**row, "labels": row["labels"] if row["part"] != "train" or n % 6 == 0 else ""}
        for n, row in enumerate(hippocampus)
    ]
    brains = {"07": "train", "19": "validation"}
    sequences = [
        {"subject": f"patient{who}", "part": p, "mr": f"{MS}{who}_{name}.nii.gz", "class": name.lower()}
        for who, p in brains.items()
        for name in ("T1", "T2", "FLAIR")
    ]
    fine = [{"subject": f"patient{who}", "part": p, "fine": f"{MS}{who}_T1.nii.gz"} for who, p in brains.items()]
    limb = [
        {
            "subject": f"STS_{who}",
            "part": "validation" if n == len(SARCOMA) - 1 else "train",
            **{role: f"sarcoma_mr_ct_pet/STS_{who}_{role}.nii.gz" for role in ("mr", "ct", "pet")},
        }
        for n, who in enumerate(SARCOMA)
    ]
    plain = replace(Study({}, {"mr": MR}, neighbours=0, seed=SEED))
    thick = (2.0, 2.0, 3.27)
    return {
        "hippocampus": (plain, hippocampus),
        "normal": (
            Study({"mr": MR}, {"anomaly": UNLIKENESS}, neighbours=0, made={"anomaly": Predicted()}),
            hippocampus,
        ),
        "sequences": (replace(plain, classes=("t1", "t2", "flair"), spacing_mm=(4.0, 4.0, 1.0)), sequences),
        "fine": (Study({"mr": MR}, {"fine": MR}, neighbours=0, made={"mr": Averaged("fine", 4)}), fine),
        "parts": (Study({"mr": MR}, {"labels": labelled}, neighbours=0), hippocampus),
        "few": (Study({"mr": MR}, {"labels": labelled}, neighbours=0), few),
        "few-volumes": (Study({"mr": MR}, {"labels": labelled}, dimensions=3, neighbours=0), few),
        "limb": (Study({"mr": MR}, {"ct": CT}, neighbours=0, spacing_mm=thick), limb),
        "volumes": (Study({"mr": MR}, {"ct": CT}, dimensions=3, neighbours=0, spacing_mm=(3.0, 3.0, 3.27)), limb),
        "uptake": (Study({"ct": CT}, {"pet": PET}, neighbours=0, spacing_mm=thick), limb),
        "uptake-volumes": (
            Study({"mr": MR}, {"pet": PET}, dimensions=3, neighbours=0, spacing_mm=(4.0, 4.0, 4.0)),
            limb,
        ),
    }


def train(name: str, data: Path, folder: Path) -> None:
    """Train one game to its end, going on where it was cut off."""
    import torch

    from MedGANLogic.cohort import pack, read_table
    from MedGANLogic.experiment import COHORT, RUN, Experiment, paced
    from MedGANLogic.experiment import train as trained

    torch.set_num_threads(1)
    game = RUNS[name]
    study, rows = studies(data)[game.study]
    study = replace(study, seed=SEED, changes=game.changes)
    folder.mkdir(parents=True, exist_ok=True)
    table = folder / "cohort.csv"
    with table.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(
            {
                key: os.path.relpath(data / value, folder) if value.endswith(".gz") else value
                for key, value in row.items()
            }
            for row in rows
        )
    if not (folder / COHORT).exists():
        said = ["class"] if study.classes else []
        list(pack(read_table(table, study.columns, said), study, folder / COHORT))
    command = f"python Resources/Studies/games.py DATA --only {name}"
    one = Experiment(game.recipe, study, folder / COHORT, folder, torch.device("cpu"), command)
    for progress in trained(one, paced(game.steps), None, (folder / RUN).exists()):
        for alarm in progress.alarms:
            print(f"{name} {alarm.name}: {alarm.text}", flush=True)
        if progress.score is not None:
            print(f"{name} {progress.step}/{progress.steps}: {progress.score:.4g}", flush=True)


def page(out: Path, path: Path) -> None:
    """Write the page from what the runs left: no figure on it is typed."""
    from MedGANLogic.catalogue import read

    lines = [
        "# Every kind of game on real images",
        "",
        "Made by `make games` (`Resources/Studies/games.py`, seed 2026, one CPU thread a run, toy widths). These runs",
        "show that losses behave and that samples come to resemble what is real; they are far too short and too small",
        "to say what a system can do. Measured on subjects that are not trained on: by MAE or 1 − Dice where pairs say",
        "what is right, else by the sliced Wasserstein distance between what the game makes and what is real (lower is",
        "better). The best step is chosen by this number: it is validation, no test. n: subjects to learn from and to",
        "measure on; bundle: the first digits of its manifest's SHA-256.",
        "",
        "| recipe | measure | first | best | n | steps | alarms | bundle |",
        "|---|---|---|---|---|---|---|---|",
    ]
    pictures = []
    for name, game in RUNS.items():
        log = out / name / "log.jsonl"
        bundle = out / name / "bundle"
        if not bundle.exists():
            continue
        entries = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
        scores = [entry["validation"] for entry in entries if "validation" in entry]
        alarms = sorted({alarm["name"] for entry in entries for alarm in entry.get("alarms", ())})
        model = read(bundle)
        best, counts = model.card.training["validation"], model.card.training["subjects"]
        cells = [f"[{name}](#{name})", best["measure"], f"{scores[0]:.3g}", f"{best['value']:.3g}"]
        cells += [f"{counts['train']}, {counts['validation']}", str(game.steps)]
        lines.append(f"| {' | '.join([*cells, ', '.join(alarms) or 'none', model.sha256[:8]])} |")
        pictures += ["", f"## {name}", "", f"![{name}: losses, scores and samples](games/{name}.png)"]
    path.write_text("\n".join([*lines, *pictures, ""]), encoding="utf-8")


def slim(path: Path) -> None:
    """Make a picture small enough for a repository: a thousand pixels wide, 64 colours."""
    from PIL import Image

    picture = Image.open(path).convert("RGB")
    picture.thumbnail((1000, 4000), Image.Resampling.LANCZOS)
    picture.quantize(64, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE).save(path, optimize=True)


def started(names: list[str], data: Path, out: Path) -> Iterator[subprocess.CompletedProcess]:
    """Train some games, two at a time, each in a process of its own."""
    own = {**os.environ, "OMP_NUM_THREADS": "1"}
    commands = [[sys.executable, __file__, str(data), "--out", str(out), "--run", name] for name in names]
    with ThreadPoolExecutor(max_workers=2) as pool:
        yield from pool.map(lambda command: subprocess.run(command, env=own, check=False), commands)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--only", nargs="*", choices=RUNS, default=list(RUNS))
    parser.add_argument("--out", type=Path, default=Path("runs/games"))
    parser.add_argument("--page", type=Path, default=Path("docs/games.md"))
    parser.add_argument("--run", choices=RUNS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.run:
        train(options.run, options.data, options.out / options.run)
        return 0
    failed = [done.args[-1] for done in started(options.only, options.data, options.out) if done.returncode]
    for name in options.only:
        picture = options.page.parent / "games" / f"{name}.png"
        picture.parent.mkdir(parents=True, exist_ok=True)
        if (options.out / name / "bundle").exists():
            command = [sys.executable, "-m", "MedGANLogic", "curves", str(options.out / name), "--out", str(picture)]
            subprocess.run(command, check=True)
            slim(picture)
    page(options.out, options.page)
    print(
        f"{options.page}: {len(options.only) - len(failed)} runs" + (f"; failed: {', '.join(failed)}" if failed else "")
    )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
