"""Bundles: saved and opened they are bit-equal; hostile and broken ones are refused, each with a sentence."""

import json
import os
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from MedGANLogic import bundle as bundles
from MedGANLogic.bundle import MONAI_RUN, WEIGHTS, describe, open_bundle, rounded, save, verify
from MedGANLogic.catalogue import CARD, MANIFEST, BundleError, read, sha256
from MedGANLogic.images import read as read_image
from MedGANLogic.inference.translate import translate_file
from MedGANLogic.parts.discriminators.patch import PatchDiscriminator


def seal(folder):
    """Write a manifest that fits what is in the folder, as a forger would."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != MANIFEST]
    manifest = {path.relative_to(folder).as_posix(): sha256(path) for path in files}
    (folder / MANIFEST).write_text(json.dumps(manifest))


def edit_json(path, change):
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))


def forge_card(change):
    """Return what changes the card and seals the bundle again."""

    def forge(folder):
        edit_json(folder / CARD, change)
        seal(folder)

    return forge


def forge_argument(name, value):
    return forge_card(lambda card: card["networks"]["generator"]["arguments"].update({name: value}))


def forge_weights(change):
    """Return what changes the weights, a table of tensors by name, and seals the bundle again."""

    def forge(folder):
        weights = load_file(folder / WEIGHTS)
        change(weights)
        save_file(weights, folder / WEIGHTS)
        seal(folder)

    return forge


def forge_bytes(relative, content):
    def forge(folder):
        (folder / relative).write_bytes(content)
        seal(folder)

    return forge


def card_text(old, new):
    """Return what replaces text in the card as it stands in the file, and seals the bundle again."""

    def forge(folder):
        text = (folder / CARD).read_text(encoding="utf-8")
        assert old in text
        (folder / CARD).write_text(text.replace(old, new), encoding="utf-8")
        seal(folder)

    return forge


def in_manifest(name):
    def forge(folder):
        edit_json(folder / MANIFEST, lambda manifest: manifest.update({name: "0" * 64}))

    return forge


def link_to_file(folder):
    (folder / "notes.md").symlink_to("/etc/hostname")
    seal(folder)


def link_to_folder(folder):
    (folder / "more").symlink_to("/etc")
    seal(folder)


def pipe(folder):
    os.mkfifo(folder / "pipe.txt")


def empty_card(folder):
    (folder / CARD).unlink()
    seal(folder)


def no_weights(folder):
    (folder / WEIGHTS).unlink()
    seal(folder)


BIAS = "generator.output.bias"
KERNEL = "generator.output.weight"
COUNT = "generator.refine.1.num_batches_tracked"


def retype(name, dtype):
    return forge_weights(lambda weights: weights.update({name: weights[name].to(dtype)}))


def refill(name, value):
    return forge_weights(lambda weights: weights[name].fill_(value))


FILES = {
    "file changed": (lambda f: (f / "README.md").write_text("better"), "README.md differs"),
    "weights changed": (
        lambda f: (f / WEIGHTS).write_bytes(b"x" + (f / WEIGHTS).read_bytes()),
        "differs from manifest",
    ),
    "file added": (lambda f: (f / "extra.txt").write_text("x"), "extra.txt: not in manifest"),
    "file missing": (lambda f: (f / "README.md").unlink(), "README.md stands in manifest.json but is not"),
    "manifest missing": (lambda f: (f / MANIFEST).unlink(), "manifest.json is missing"),
    "manifest a list": (lambda f: (f / MANIFEST).write_text("[]"), "must be a table"),
    "link to a file": (link_to_file, "notes.md is a link"),
    "link to a folder": (link_to_folder, "more is a link"),
    "pipe": (pipe, "pipe.txt is a link or a device"),
    "path upwards": (in_manifest("../toy/README.md"), "is not in the bundle"),
    "path upwards and back": (in_manifest("configs/../README.md"), "is not in the bundle"),
    "absolute path": (in_manifest("/etc/hostname"), "/etc/hostname stands in"),
    "manifest names itself": (in_manifest(MANIFEST), "is not in the bundle"),
    "pickle": (forge_bytes("models/model.pkl", b"\x80\x04."), "holds no .pkl files"),
    "torch file": (forge_bytes("models/model.pt", b"PK\x03\x04"), "holds no .pt files"),
    "python": (forge_bytes("scripts.py", b"import os"), "holds no .py files"),
    "MONAI logging, which is evaluated": (forge_bytes("configs/logging.conf", b"[loggers]"), "holds no .conf files"),
    "no card": (empty_card, "medgan.json is missing"),
    "no weights": (no_weights, "is missing"),
}

JSON = {
    "dollar": (forge_card(lambda card: card.update(title="$import os")), r"holds a '\$'"),
    "dollar escaped": (card_text("A toy that", "\\u0024A toy that"), r"holds a '\$'"),
    "dollar in a key": (forge_card(lambda card: card["training"].update({"$x": 1})), r"holds a '\$'"),
    "dollar in an unknown JSON": (forge_bytes("configs/x.json", b'{"a": "\\u0024b"}'), r"holds a '\$'"),
    "another target for MONAI": (
        lambda f: (edit_json(f / MONAI_RUN, lambda run: run["run"].update(_target_="os.system")), seal(f)),
        "inference.json is not the one that MedGAN writes",
    ),
    "target elsewhere": (forge_bytes("configs/train.json", b'{"run": {"_target_": "os.system"}}'), "_target_"),
    "target with an escape": (forge_bytes("configs/a.json", b'{"\\u005ftarget_": "os.system"}'), "_target_"),
    "MONAI reads another file in": (forge_bytes("configs/a.json", b'{"a": "%/etc/passwd"}'), "'%'"),
    "too large": (forge_bytes(CARD, b'{"a": "' + b"x" * (1 << 20) + b'"}'), "larger than"),
    "deeply nested": (forge_bytes(CARD, b"[" * 200_000 + b"]" * 200_000), "is no JSON"),
    "not JSON": (forge_bytes(CARD, b"name: toy"), "is no JSON"),
    "not UTF-8": (forge_bytes(CARD, b'{"name": "\xff\xfe"}'), "is no JSON"),
    "number of 5000 digits": (forge_bytes(CARD, b'{"name": ' + b"9" * 5000 + b"}"), "is no JSON"),
    "list": (forge_bytes(CARD, b"[]"), "not a model's card"),
}

CARDS = {
    "missing field": (forge_card(lambda card: card.pop("licence")), "'licence'"),
    "format 2": (forge_card(lambda card: card.update(format=2)), "expected one of 1, found 2"),
    "unknown plane": (forge_card(lambda card: card.update(plane="oblique")), "expected one of sagittal"),
    "spacing of nothing": (forge_card(lambda card: card.update(spacing_mm=[0, 1, 1])), "spacing of three lengths"),
    "spacing of 10**400": (card_text('"spacing_mm": null', f'"spacing_mm": [1{"0" * 400}, 1, 1]'), "OverflowError"),
    "unknown unit": (forge_card(lambda card: card["targets"]["ct"].update(unit="Gy")), "unknown unit"),
    "unknown window": (forge_card(lambda card: card["inputs"]["mr"]["window"].update(name="Z")), "not a domain"),
    "NaN in a window": (
        forge_card(lambda card: card["targets"]["ct"]["window"].update(low=float("nan"))),
        "low to high",
    ),
    "infinite window": (card_text('"high": 3071.0', '"high": 1e999'), "low to high"),
    "window upside down": (forge_card(lambda card: card["targets"]["ct"]["window"].update(low=1e5)), "low to high"),
    "pass reads what is not there": (forge_card(lambda card: card["passes"][0].update(reads=["pet"])), "not there"),
    "pass by an unknown network": (forge_card(lambda card: card["passes"][0].update(network="x")), "not there"),
    "pass overwrites the input": (forge_card(lambda card: card["passes"][0].update(writes=["mr"])), "overwrites"),
    "no pass": (forge_card(lambda card: card.update(passes=[])), "no pass writes ct"),
    "no target": (forge_card(lambda card: card.update(targets={})), "no pass writes"),
    "target that is the input": (
        forge_card(lambda card: card.update(targets={"mr": card["inputs"]["mr"]})),
        "no pass writes mr",
    ),
    "validity of another shape": (forge_card(lambda card: card.update(validity={"spacing_mm": [1, 2]})), "card"),
    "training of another shape": (forge_card(lambda card: card.update(training={"subjects": 3})), "card"),
    "channels that do not fit": (forge_card(lambda card: card["passes"][0].update(neighbours=2)), "does not fit"),
    "dimensions that do not fit": (forge_card(lambda card: card["passes"][0].update(dimensions=3)), "does not fit"),
    "multiple that does not fit": (forge_card(lambda card: card["passes"][0].update(multiple=2)), "does not fit"),
    "outputs that do not fit": (
        forge_card(lambda card: card["passes"][0].update(writes=["ct", "more"])),
        "does not fit its network: it writes",
    ),
    "unknown class": (
        forge_card(lambda card: card["networks"]["generator"].update({"class": "turtle.Turtle"})),
        "'turtle.Turtle' is not allowed",
    ),
    "class that is no network": (
        forge_card(lambda card: card["networks"]["generator"].update({"class": "__import__"})),
        "is not allowed",
    ),
    "unknown argument": (forge_argument("bias", 1), "cannot be built"),
    "missing argument": (
        forge_card(lambda card: card["networks"]["generator"]["arguments"].pop("width")),
        "cannot be built",
    ),
    **{
        f"width {value!r}": (forge_argument("width", value), reason)
        for value, reason in {
            "4": "expected a whole number",
            True: "expected a whole number",
            4.0: "expected a whole number",
            None: "expected a whole number",
            -4: "expected a whole number",
            0: "width is 0, allowed is 2 to 1024",
            10**9: "expected a whole number",
            4096: "width is 4096",
            1024: r"its network expects .*\[1024",
        }.items()
    },
    "4096 levels": (forge_argument("levels", 4096), "levels is 4096"),
    "4 dimensions": (forge_argument("dimensions", 4), "dimensions is 4"),
}

TENSORS = {
    "missing tensor": (forge_weights(lambda weights: weights.pop(BIAS)), f"does not fit .*{BIAS}"),
    "extra tensor": (forge_weights(lambda weights: weights.update(extra=torch.zeros(1))), "does not fit .*extra"),
    "wrong shape": (forge_weights(lambda weights: weights.update({BIAS: torch.zeros(2)})), rf"{BIAS} is .*\[2\]"),
    "float64": (retype(BIAS, torch.float64), "torch.float64"),
    "int8 for a float": (retype(BIAS, torch.int8), "torch.int8"),
    "complex": (retype(BIAS, torch.complex64), "torch.complex64"),
    "8-bit float": (retype(BIAS, torch.float8_e4m3fn), "float8"),
    "float for a counter": (retype(COUNT, torch.float32), "expects torch.int64"),
    "int32 for a counter": (retype(COUNT, torch.int32), "expects torch.int64"),
    "NaN": (refill(KERNEL, float("nan")), "NaN or infinite"),
    "infinity": (refill(KERNEL, float("inf")), "NaN or infinite"),
    "header that is no JSON": (forge_bytes(WEIGHTS, struct.pack("<Q", 4) + b"oops"), "no safetensors file"),
    "header of absurd length": (forge_bytes(WEIGHTS, struct.pack("<Q", 1 << 62) + b"{}"), "no safetensors file"),
    "header longer than its file": (forge_bytes(WEIGHTS, struct.pack("<Q", 999) + b"{}"), "no safetensors file"),
    "empty": (forge_bytes(WEIGHTS, b""), "no safetensors file"),
    "cut short": (
        lambda f: forge_bytes(WEIGHTS, (f / WEIGHTS).read_bytes()[:-8])(f),
        "no safetensors file",
    ),
}

HOSTILE = FILES | JSON | CARDS | TENSORS


def test_opened_bundle_is_bit_equal_to_the_saved_one(toy_card, toy_networks, tmp_path):
    networks = toy_networks
    opened = open_bundle(save(toy_card(networks), networks, "# A toy\n", tmp_path / "toy"))
    assert opened.card == toy_card(networks)
    assert not opened.networks["generator"].training
    saved, found = (of["generator"].state_dict() for of in (networks, opened.networks))
    assert list(saved) == list(found)
    for name, value in saved.items():
        assert found[name].dtype == value.dtype
        assert torch.equal(found[name], value), name
    image = torch.randn(1, 3, 16, 16)
    with torch.no_grad():
        assert torch.equal(networks["generator"](image), opened.networks["generator"](image))


def test_what_overflows_float16_is_kept_as_it_is(toy_card, toy_networks, tmp_path):
    toy_networks["generator"].output.bias.data.fill_(123456.7)
    rounded(toy_networks["generator"])
    opened = open_bundle(save(toy_card(toy_networks), toy_networks, "", tmp_path / "toy"))
    saved, found = (of["generator"].state_dict() for of in (toy_networks, opened.networks))
    assert all(torch.equal(found[name], value) for name, value in saved.items())
    assert torch.equal(found["output.bias"], torch.full_like(found["output.bias"], 123456.7))


def test_rounding_changes_weights_once_and_never_again():
    network = torch.nn.Conv2d(3, 3, 3)
    before = network.weight.detach().clone()
    once = rounded(network).weight.detach().clone()
    assert not torch.equal(once, before)
    assert torch.allclose(once, before, rtol=2**-11, atol=2**-24)
    assert torch.equal(rounded(network).weight, once)


def test_good_bundle_is_verified(pristine_toy):
    model = verify(pristine_toy)
    assert model.card.name == "toy"
    assert model.sha256 == sha256(pristine_toy / MANIFEST)


@pytest.mark.parametrize(("break_it", "reason"), HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_or_broken_bundle_is_refused_with_a_sentence(break_it, reason, toy_folder):
    verify(toy_folder)
    model = read(toy_folder)
    break_it(toy_folder)
    with pytest.raises(BundleError, match=reason):
        verify(toy_folder)
    with pytest.raises(BundleError, match=reason):
        open_bundle(model)


def test_link_to_a_bundle_is_refused(toy_folder, tmp_path):
    (tmp_path / "link").symlink_to(toy_folder)
    with pytest.raises(BundleError, match="link"):
        verify(tmp_path / "link")


def test_bundle_that_stores_other_floats_is_opened_in_float32(toy_folder):
    retype(BIAS, torch.bfloat16)(toy_folder)
    assert open_bundle(read(toy_folder)).networks["generator"].output.bias.dtype == torch.float32


def test_nothing_that_a_card_names_is_imported_or_run(toy_folder, tmp_path):
    (tmp_path / "trap.py").write_text(f"open({str(tmp_path / 'sprung')!r}, 'w')\nclass Net: pass\n")
    forge_card(lambda card: card["networks"]["generator"].update({"class": "trap.Net"}))(toy_folder)
    code = (
        "import sys; from pathlib import Path; from MedGANLogic import bundle, catalogue\n"
        "try: bundle.open_bundle(catalogue.read(Path(sys.argv[1])))\n"
        "except catalogue.BundleError as error: print(error, 'trap' in sys.modules, 'monai' in sys.modules)\n"
    )
    path = os.pathsep.join([str(tmp_path), str(Path(bundles.__file__).parents[1])])
    run = subprocess.run(
        [sys.executable, "-c", code, str(toy_folder)],
        capture_output=True,
        encoding="utf-8",
        check=True,
        env={**os.environ, "PYTHONPATH": path, "PYTHONUTF8": "1"},
    )
    assert "'trap.Net' is not allowed" in run.stdout
    assert run.stdout.strip().endswith("False False")
    assert not (tmp_path / "sprung").exists()


def test_card_that_asks_for_a_gigantic_network_is_refused_at_once(toy_folder):
    resource = pytest.importorskip("resource")
    forge_card(
        lambda card: card["networks"]["generator"]["arguments"].update(
            dimensions=3, in_channels=256, out_channels=64, width=1024, levels=12
        )
    )(toy_folder)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(BundleError, match="does not fit"):
        verify(toy_folder)
    # It would have tens of gigabytes of weights.
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000


def test_network_outside_of_the_list_cannot_be_described(toy_pass):
    class PlainUNet(torch.nn.Module):
        """A stranger under a known name."""

    for stranger in (PlainUNet(), PatchDiscriminator(2, 1, 4, 1)):
        with pytest.raises(BundleError, match="not among the networks of a bundle"):
            describe({"generator": stranger}, (toy_pass,))


def fail_to_write(*_arguments, **_named):
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("step", ["save_file", "sha256", "_replace"])
def test_save_that_fails_midway_leaves_the_former_bundle(step, toy_folder, saved_toy, monkeypatch):
    former = sha256(toy_folder / MANIFEST)
    monkeypatch.setattr(bundles, step, fail_to_write)
    with pytest.raises(OSError, match="No space left"):
        saved_toy(toy_folder)
    monkeypatch.undo()
    assert verify(toy_folder).sha256 == former
    assert [path.name for path in toy_folder.parent.iterdir()] == ["toy"]


def test_former_bundle_comes_back_when_the_new_one_cannot_take_its_place(toy_folder, saved_toy, monkeypatch):
    former = sha256(toy_folder / MANIFEST)
    rename = Path.rename

    def refuse_the_new_one(path, target):
        return fail_to_write() if "partial" in path.name else rename(path, target)

    monkeypatch.setattr(Path, "rename", refuse_the_new_one)
    with pytest.raises(OSError, match="No space left"):
        saved_toy(toy_folder)
    monkeypatch.undo()
    assert verify(toy_folder).sha256 == former
    assert [path.name for path in toy_folder.parent.iterdir()] == ["toy"]


def test_saving_again_replaces_the_whole_folder(toy_folder, saved_toy):
    (toy_folder / "notes.txt").write_text("of the former one")
    saved_toy(toy_folder, name="newer")
    assert verify(toy_folder).card.name == "newer"
    assert [path.name for path in toy_folder.parent.iterdir()] == ["toy"]


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda networks: networks["generator"].output.bias.data.fill_(float("nan")), "NaN"),
        (lambda networks: networks["generator"].output.bias.data.fill_(float("inf")), "infinite"),
    ],
    ids=["NaN", "infinite"],
)
def test_weights_that_could_not_be_opened_are_not_saved(spoil, reason, toy_folder, toy_card, toy_networks):
    spoil(toy_networks)
    with pytest.raises(BundleError, match=reason):
        save(toy_card(toy_networks), toy_networks, "", toy_folder)
    verify(toy_folder)


def test_card_that_could_not_be_opened_is_not_saved(toy_folder, saved_toy):
    with pytest.raises(BundleError, match=r"holds a '\$'"):
        saved_toy(toy_folder, name="toy for $5")
    verify(toy_folder)


def test_monai_gives_the_very_same_voxels(pristine_toy, mr_file, tmp_path):
    monai_bundle = pytest.importorskip("monai.bundle")
    translate_file(str(pristine_toy), str(mr_file), str(tmp_path / "ours.nii.gz"), device="cpu")
    # What ``python -m monai.bundle run`` does with its arguments, but for the parsing of them.
    with pytest.warns(UserWarning, match="parsing config_file"):
        monai_bundle.run(
            config_file=str(pristine_toy / MONAI_RUN),
            bundle_root=str(pristine_toy),
            input=str(mr_file),
            output=str(tmp_path / "theirs.nii.gz"),
        )
    ours, theirs = (read_image(tmp_path / f"{name}.nii.gz", "HU") for name in ("ours", "theirs"))
    assert np.array_equal(ours.voxels, theirs.voxels)
    assert np.ptp(ours.voxels) > 50
    assert ours.grid.matches(theirs.grid)
    assert (tmp_path / "theirs.nii.gz.medgan.json").exists()


def test_monai_finds_all_the_metadata_that_it_requires(pristine_toy):
    properties = pytest.importorskip("monai.bundle.properties").MetaProperties
    metadata = json.loads((pristine_toy / "configs" / "metadata.json").read_text())
    required = {name for name, of in properties.items() if of["required"]}
    assert "numpy_version" in required
    assert required <= metadata.keys()
