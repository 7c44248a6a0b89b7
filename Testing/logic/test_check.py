"""The gate before a run: every finding on made images, and its verdict on every real image that we have."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from MedGANLogic.catalogue import Card
from MedGANLogic.check import QUANTILES, Finding, Level, RefusedError, absent, check, contrast, gathered, refuse
from MedGANLogic.domain import CT, MR, PET, Domain, Label, Labels
from MedGANLogic.images import Image, read

AFFINE = np.diag([1.0, 1.0, 3.0, 1.0])
MR_GROUPS = ("brain_mr", "brain_tumour_mr", "hippocampus_mr/images", "ms_lesion_mr", "trunk_small")
CT_GROUPS = ("chest_ct", "head_ct", "trunk_small", "head_template_mni2mm")
#: The one CT in the folder that is published with 1024 added.
OFFSET_CT = "head_ct/ct_head_64"


def card(role: str, domain: Domain, validity: Mapping[str, Any] | None = None) -> Card:
    return Card(
        name=f"{role}-model",
        title="A model that only the gate reads",
        task="translation",
        inputs={role: domain},
        targets={"ct": CT},
        spacing_mm=None,
        plane="axial",
        networks={},
        passes=(),
        validity=validity or {},
        training={},
        departures=(),
        measured={},
        licence="CC0-1.0",
    )


MR_MODEL, CT_MODEL, PET_MODEL = card("mr", MR), card("ct", CT), card("pet", PET)


def image(values: NDArray[Any], unit: str = "none", **facts: str) -> Image:
    return Image(values[None], AFFINE, unit, {key.replace("_", " "): value for key, value in facts.items()})


def errors(model: Card, scan: Image) -> list[str]:
    return [f.text for f in check(model, next(iter(model.inputs)), scan) if f.level is Level.ERROR]


def warnings(model: Card, scan: Image) -> list[str]:
    return [f.text for f in check(model, next(iter(model.inputs)), scan) if f.level is Level.WARNING]


def only(texts: list[str]) -> str:
    assert len(texts) == 1, texts
    return texts[0]


LESIONS = Labels((Label(1, "core", (1, 2, 3)), Label(4, "rim", (3, 2, 1))))
GUIDED_MODEL = replace(CT_MODEL, inputs={"ct": CT, "lesion": Domain("SEG", "label", LESIONS, 0.0)})


def found_in_labels(values: NDArray[Any]) -> list[tuple[Level, str]]:
    return [(one.level, one.text) for one in check(GUIDED_MODEL, "lesion", image(values, "label"))]


def test_a_label_map_that_is_asked_for_is_one(limb: NDArray[np.int_]) -> None:
    assert found_in_labels(np.where(limb == 3, 4, 0)) == []
    assert found_in_labels(np.where(limb == 3, 4.0, 0.0)) == []


def test_values_that_are_no_labels_of_the_model_are_told(limb: NDArray[np.int_]) -> None:
    ((level, text),) = found_in_labels(np.array([0, 1, 2, 255])[limb])
    assert level is Level.WARNING and "the values 2, 255 are none of its labels, 1 (core), 4 (rim)" in text
    ((level, text),) = found_in_labels(np.where(limb == 3, 255, 0))
    assert level is Level.ERROR and "the values 255 are none" in text
    ((level, _),) = found_in_labels(limb + 0.5)
    assert level is Level.ERROR


def test_a_label_map_without_labels_is_told(limb: NDArray[np.int_]) -> None:
    assert found_in_labels(0 * limb) == [(Level.WARNING, "the label map is background everywhere")]


def test_labels_alone_may_be_left_out() -> None:
    assert list(absent(GUIDED_MODEL, ["ct"])) == ["lesion"]
    assert not absent(GUIDED_MODEL, ["ct", "lesion"]) and not absent(CT_MODEL, [])


@pytest.fixture(scope="module")
def limb() -> NDArray[np.int_]:
    """A limb in air: 0 air, 1 fat, 2 muscle, 3 bone."""
    i, j, _ = np.mgrid[-40:40, -40:40, 0:12]
    radius = np.hypot(i, j)
    return np.digitize(-radius, [-35, -28, -8])


@pytest.fixture(scope="module")
def ct(limb: NDArray[np.int_]) -> Image:
    noise = np.random.default_rng(0).normal(0, 12, limb.shape)
    return image(np.rint(np.array([-1000, -105, 55, 900])[limb] + noise).astype(np.int16), "HU")


@pytest.fixture(scope="module")
def mr(limb: NDArray[np.int_]) -> Image:
    """T1-weighted, fat at 1000: the MR whose values are most like those of a CT with 1024 added."""
    noise = np.abs(np.random.default_rng(1).normal(0, 15, limb.shape))
    return image(np.rint(np.array([0, 1000, 330, 60])[limb] + noise).astype(np.int16))


@pytest.fixture(scope="module")
def pet(limb: NDArray[np.int_]) -> Image:
    random = np.random.default_rng(2)
    return image(
        (np.array([0.0, 0.3, 0.8, 0.5])[limb] * random.gamma(20, 1 / 20, limb.shape)).astype(np.float32), "SUV"
    )


def shifted(scan: Image, by: float) -> Image:
    return replace(scan, voxels=scan.voxels + np.asarray(by, scan.voxels.dtype))


def test_fitting_images_pass_without_a_word(mr: Image, ct: Image, pet: Image) -> None:
    assert check(MR_MODEL, "mr", mr) == check(CT_MODEL, "ct", ct) == check(PET_MODEL, "pet", pet) == []


def test_image_without_voxels_is_refused() -> None:
    assert "empty: 0×4×4" in only(errors(MR_MODEL, image(np.zeros((0, 4, 4)))))


def test_colour_image_is_refused(mr: Image) -> None:
    assert "3 values per voxel" in only(errors(MR_MODEL, replace(mr, voxels=np.repeat(mr.voxels, 3, axis=0))))


@pytest.mark.parametrize("value", [0, 7])
def test_constant_image_is_refused(value: int) -> None:
    assert f"every voxel has the value {value}" in only(errors(MR_MODEL, image(np.full((5, 5, 5), value))))


def test_few_missing_voxels_are_taken_as_background_with_a_warning(mr: Image) -> None:
    voxels = mr.voxels.astype(np.float32)
    voxels[0, :3] = np.nan
    voxels[0, 3, 0, 0] = np.inf
    assert "NaN or infinite: taken as background" in only(warnings(MR_MODEL, replace(mr, voxels=voxels)))
    assert not errors(MR_MODEL, replace(mr, voxels=voxels))


def test_mostly_missing_voxels_are_refused(mr: Image) -> None:
    voxels = mr.voxels.astype(np.float32)
    voxels[0, 10:] = np.nan
    assert "NaN or infinite: nothing is left" in only(errors(MR_MODEL, replace(mr, voxels=voxels)))


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_label_map_is_refused_whatever_type_it_is_stored_in(limb: NDArray[np.int_], dtype: type) -> None:
    assert "label map" in only(errors(MR_MODEL, image(limb.astype(dtype))))


def test_single_sagittal_slice_of_a_label_map_is_refused(limb: NDArray[np.int_]) -> None:
    assert "label map" in only(errors(MR_MODEL, image(limb[40:41].astype(np.uint8))))


def test_label_map_whose_background_is_not_zero_is_refused(limb: NDArray[np.int_]) -> None:
    assert "label map" in only(errors(MR_MODEL, image(np.where(limb == 0, 255, limb).astype(np.uint8))))


def test_whole_numbers_of_an_8_bit_mr_are_no_label_map(mr: Image) -> None:
    eight_bit = np.clip(mr.voxels * (255 / mr.voxels.max()), 0, 255).astype(np.uint8)
    eight_bit[eight_bit < 10] = 0
    assert not errors(MR_MODEL, replace(mr, voxels=eight_bit))


def test_flat_background_below_zero_does_not_make_an_mr_a_label_map(mr: Image) -> None:
    eight_bit = np.clip(mr.voxels * (255 / mr.voxels.max()), 0, 255).astype(np.int16)
    eight_bit[eight_bit < 10] = -100
    padded = np.pad(eight_bit[0], ((60, 60), (60, 60), (0, 0)), constant_values=-100)
    assert not errors(MR_MODEL, image(padded))


def test_mr_with_tissue_where_an_offset_ct_is_empty_passes(mr: Image) -> None:
    """Most of it lies between 850 and 1200 as in a CT with 1024 added, and bright vessels stand for its bone."""
    muscle = (mr.voxels > 250) & (mr.voxels < 450)
    voxels = np.where(muscle, 1000, mr.voxels)
    voxels[:, :38] = np.where(muscle, 600, mr.voxels)[:, :38]
    voxels[0, 40:42, 40:50] = 1500
    assert not errors(MR_MODEL, replace(mr, voxels=voxels))


def test_ct_is_refused_by_an_mr_model(ct: Image) -> None:
    assert "looks like a CT in HU: mr-model reads MR" in only(errors(MR_MODEL, replace(ct, unit="none")))


def test_ct_padded_far_below_air_is_refused_by_an_mr_model_and_passes_a_ct_model(ct: Image) -> None:
    voxels = ct.voxels.copy()
    voxels[0, :8] = -3024
    assert "CT in HU" in only(errors(MR_MODEL, Image(voxels, AFFINE, "none")))
    assert not errors(CT_MODEL, Image(voxels, AFFINE, "HU"))


@pytest.mark.parametrize("offset", [1000, 1024])
def test_offset_ct_is_refused_by_an_mr_model(ct: Image, offset: int) -> None:
    assert "CT with 1024 added" in only(errors(MR_MODEL, replace(shifted(ct, offset), unit="none")))


def test_ct_is_refused_by_a_pet_model(ct: Image) -> None:
    assert "looks like a CT in HU: pet-model reads PT (SUV)" in only(errors(PET_MODEL, replace(ct, unit="SUV")))


def test_mr_is_refused_by_a_ct_model(mr: Image) -> None:
    assert "not those of a CT with air: ct-model reads CT (HU)" in only(errors(CT_MODEL, replace(mr, unit="HU")))


def test_offset_ct_is_refused_by_a_ct_model_with_the_option_that_helps(ct: Image) -> None:
    assert "say --input-unit HU+1024" in only(errors(CT_MODEL, shifted(ct, 1024)))


def test_offset_taken_off_twice_is_refused(ct: Image) -> None:
    assert "taken off twice" in only(errors(CT_MODEL, shifted(ct, -1024)))


def test_noisy_low_dose_ct_passes_a_ct_model(ct: Image) -> None:
    noise = np.random.default_rng(5).normal(0, 150, ct.voxels.shape)
    assert not errors(CT_MODEL, replace(ct, voxels=ct.voxels + noise))


def test_ct_and_pet_are_told_each_what_is_wrong_with_it(ct: Image, pet: Image) -> None:
    both = replace(CT_MODEL, inputs={"ct": CT, "pet": PET})
    given = {"ct": shifted(ct, 1024), "pet": replace(pet, voxels=pet.voxels * 5300)}
    found = [finding.text for finding in gathered({role: check(both, role, scan) for role, scan in given.items()})]
    assert [text.partition(":")[0] for text in found] == ["ct", "pet"]
    assert "HU+1024" in found[0] and "give its DICOM series, which says dose and weight" in found[1]


def test_how_a_pet_became_suv_is_noted(pet: Image) -> None:
    said = replace(pet, facts={"modality": "PT", "uptake": "SUV by body weight: 70 kg"})
    assert check(PET_MODEL, "pet", said) == [Finding(Level.NOTE, "SUV by body weight: 70 kg")]


def test_kilobecquerels_are_unlike_the_cohorts_uptake(pet: Image) -> None:
    body = contrast(PET, pet.voxels)
    model = replace(PET_MODEL, validity={"contrast": {"pet": [[q - 0.02, q + 0.02] for q in body]}})
    assert not check(model, "pet", pet)
    text = only(warnings(model, replace(pet, voxels=pet.voxels * 3.1)))
    assert "another tracer, time after the injection, unit (kBq/mL), or anatomy?" in text


def test_activity_instead_of_suv_is_refused(pet: Image) -> None:
    assert "activity (Bq/mL), not SUV" in only(errors(PET_MODEL, replace(pet, voxels=pet.voxels * 5300)))


def test_header_that_names_another_modality_is_refused_even_by_force(mr: Image) -> None:
    found = check(MR_MODEL, "mr", replace(mr, facts={"modality": "CT"}))
    assert [f.text for f in found] == ["the file says modality CT: mr-model reads MR"]
    with pytest.raises(RefusedError, match="modality CT"):
        refuse(found, forced=True)


def test_header_that_names_the_right_modality_passes(mr: Image) -> None:
    assert not check(MR_MODEL, "mr", replace(mr, facts={"modality": "MR"}))


@pytest.mark.parametrize("fact", ["notes", "series"])
def test_synthetic_input_is_warned_of(fact: str, mr: Image) -> None:
    facts = {fact: "SYNTHETIC CT (HU) by MedGAN thigh, research use only"}
    assert "itself synthetic" in only(warnings(MR_MODEL, replace(mr, facts=facts)))


@pytest.mark.parametrize("part, warned", [("THIGH", False), ("UPPER THIGH", False), ("HEAD", True), ("", False)])
def test_body_part_outside_the_validity_is_warned_of(mr: Image, part: str, warned: bool) -> None:
    model = card("mr", MR, {"anatomy": ["thigh", "pelvis"]})
    found = warnings(model, replace(mr, facts={"body part": part}))
    assert bool(found) == warned
    assert not warned or only(found) == "the file says head: mr-model is valid for thigh, pelvis"


@pytest.mark.parametrize(
    "limits, level",
    [([2.0, 4.0], None), ([3.5, 4.0], Level.WARNING), ([1.0, 2.5], Level.WARNING), ([0.2, 0.9], Level.ERROR)],
)
def test_spacing_outside_the_validity_is_warned_of_and_refused_where_far(
    mr: Image, limits: list[float], level: Level | None
) -> None:
    found = check(card("mr", MR, {"spacing_mm": [[0.5, 2.0], [0.5, 2.0], limits]}), "mr", mr)
    assert [f.level for f in found] == ([] if level is None else [level])
    assert all("spacing along head–foot is 3.00 mm" in f.text and f.forceable for f in found)


def test_spacing_is_compared_along_the_axes_of_the_patient(mr: Image) -> None:
    """A sagittal volume's third voxel axis runs from left to right."""
    sagittal = np.array([[0, 0, 3, 0], [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1]], float)
    model = card("mr", MR, {"spacing_mm": [[0.5, 2.0], [0.5, 2.0], [0.5, 2.0]]})
    assert "left–right is 3.00 mm" in only(warnings(model, replace(mr, affine=sagittal)))


def test_field_of_view_outside_the_validity_is_warned_of(mr: Image) -> None:
    model = card("mr", MR, {"extent_mm": [[50, 100], [100, 200], [10, 40]]})
    assert "front–back is 80 mm: mr-model has seen 100 to 200" in only(warnings(model, mr))


def test_single_slice_is_warned_of(mr: Image) -> None:
    assert "one slice thick" in only(warnings(MR_MODEL, replace(mr, voxels=mr.voxels[..., 5:6])))


def test_contrast_unlike_the_training_images_is_warned_of_and_their_own_is_not(mr: Image) -> None:
    seen = contrast(MR, mr.voxels[0])
    near = card("mr", MR, {"contrast": {"mr": [[v - 0.05, v + 0.05] for v in seen]}})
    far = card("mr", MR, {"contrast": {"mr": [[v + 0.5, v + 0.6] for v in seen]}})
    assert not check(near, "mr", mr)
    assert "another sequence, contrast agent, or anatomy?" in only(warnings(far, mr))


def test_contrast_is_compared_with_that_of_the_input_s_own_role(mr: Image) -> None:
    """Two inputs of one domain, such as T1 and T2, have limits of their own."""
    seen = contrast(MR, mr.voxels[0])
    fits, fails = [[v - 0.05, v + 0.05] for v in seen], [[v + 0.5, v + 0.6] for v in seen]
    model = replace(card("t1", MR, {"contrast": {"t1": fails, "t2": fits}}), inputs={"t1": MR, "t2": MR})
    assert check(model, "t2", mr) == []
    assert len(check(model, "t1", mr)) == 1


def test_image_without_a_body_is_refused() -> None:
    values = np.random.default_rng(0).normal(-900, 5, (12, 12, 12))
    assert any("no body was found" in text for text in errors(CT_MODEL, image(values, "HU")))


def test_gravest_finding_comes_first(ct: Image) -> None:
    scan = replace(ct, voxels=ct.voxels[..., :1], unit="none")
    levels = [f.level for f in check(MR_MODEL, "mr", scan)]
    assert levels == sorted(levels, reverse=True) and len(set(levels)) > 1


def test_force_overrides_what_may_be_forced_and_is_offered_where_it_would_help() -> None:
    doubtful = Finding(Level.ERROR, "looks like a CT", forceable=True)
    hopeless = Finding(Level.ERROR, "shows nothing")
    with pytest.raises(RefusedError, match=r"looks like a CT \(--force"):
        refuse([doubtful], forced=False)
    refuse([doubtful], forced=True)
    for forced in (False, True):
        with pytest.raises(RefusedError, match=r"shows nothing$"):
            refuse([hopeless, doubtful][: 1 if forced else 2][::-1], forced)


def test_warnings_and_notes_stop_nothing() -> None:
    refuse([Finding(Level.WARNING, "thick"), Finding(Level.NOTE, "so")], forced=False)


def test_finding_speaks_to_programs() -> None:
    assert Finding(Level.ERROR, "no", True).to_json() == {"level": "error", "text": "no", "forceable": True}


def test_large_volume_is_judged_within_moments(ct: Image) -> None:
    """The rules look at an even sample: ten times the voxels, the same words."""
    large = replace(ct, voxels=np.tile(ct.voxels, (1, 4, 4, 4)), unit="none")
    assert errors(MR_MODEL, large) == errors(MR_MODEL, replace(ct, unit="none"))


@pytest.fixture(scope="module")
def real(shared_data: Path) -> dict[str, Image]:
    """Every volume of the groups above, all of the sarcoma cohort, and every eighth hippocampus; each read once."""
    groups = dict.fromkeys(("sarcoma_mr_ct_pet", *MR_GROUPS, *CT_GROUPS, "hippocampus_mr/labels"))
    files = {
        f"{group}/{file.name.removesuffix('.nii.gz')}": file
        for group in groups
        for file in sorted((shared_data / group).glob("*.nii.gz"))[:: 8 if "hippocampus" in group else 1]
    }
    return {name: read(file, "none") for name, file in files.items()}


def is_label(name: str) -> bool:
    return name.endswith(("_gtv", "_aseg", "_label", "_lesion")) or "_seg" in name or "/labels/" in name


def of_kind(real: dict[str, Image], kind: str) -> dict[str, Image]:
    """The sarcoma cohort's volumes of one kind: mr, ct, pet, gtv."""
    found = {name: scan for name, scan in real.items() if name.startswith("sarcoma") and name.endswith(f"_{kind}")}
    assert len(found) == 24
    return found


def real_cts(real: dict[str, Image]) -> dict[str, Image]:
    others = {
        name: replace(scan, voxels=scan.voxels - 1024) if name == OFFSET_CT else scan
        for name, scan in real.items()
        if name.startswith(("chest_ct", "head_ct")) or "clinical_ct" in name or "trunk_small/example_ct" in name
    }
    return of_kind(real, "ct") | others


def real_mrs(real: dict[str, Image]) -> dict[str, Image]:
    return of_kind(real, "mr") | {
        name: scan
        for name, scan in real.items()
        if name.startswith(MR_GROUPS) and not is_label(name) and "example_ct" not in name
    }


@pytest.fixture(scope="module")
def cohort_card(real: dict[str, Image]) -> Card:
    """A card with the validity that training on the cohort's MRs writes: what was seen, and half as much again."""
    scans = of_kind(real, "mr").values()
    spacing = np.array([scan.grid.spacing_mm for scan in scans])
    seen = np.array([contrast(MR, scan.voxels[0]) for scan in scans])
    low, high = seen.min(axis=0), seen.max(axis=0)
    room = np.maximum(0.5 * (high - low), 0.05)
    assert len(low) == len(QUANTILES)
    return card(
        "mr",
        MR,
        {
            "spacing_mm": np.stack([spacing.min(axis=0) / 2, spacing.max(axis=0) * 1.6], axis=1).tolist(),
            "contrast": {"mr": np.stack([low - room, high + room], axis=1).tolist()},
        },
    )


def test_real_cohort_s_mrs_pass_a_model_made_of_them(real: dict[str, Image], cohort_card: Card) -> None:
    for name, scan in of_kind(real, "mr").items():
        assert not check(cohort_card, "mr", scan), name


def test_real_mrs_of_all_groups_pass_an_mr_model_and_are_refused_by_a_ct_model(real: dict[str, Image]) -> None:
    assert len(real_mrs(real)) > 45
    for name, scan in real_mrs(real).items():
        assert not errors(MR_MODEL, scan), name
        assert "not those of a CT" in only(errors(CT_MODEL, replace(scan, unit="HU"))), name


def test_real_cts_pass_a_ct_model_and_are_refused_by_an_mr_model(real: dict[str, Image]) -> None:
    assert len(real_cts(real)) == 36
    for name, scan in real_cts(real).items():
        assert not errors(CT_MODEL, replace(scan, unit="HU")), name
        assert "CT in HU" in only(errors(MR_MODEL, scan)), name


def test_real_cts_with_an_offset_are_known_by_both_models(real: dict[str, Image]) -> None:
    for name, scan in real_cts(real).items():
        assert "CT with 1024 added" in only(errors(MR_MODEL, shifted(scan, 1024))), name
        assert "--input-unit HU+1024" in only(errors(CT_MODEL, replace(shifted(scan, 1024), unit="HU"))), name
        assert "taken off twice" in only(errors(CT_MODEL, replace(shifted(scan, -1024), unit="HU"))), name


def test_ct_published_with_an_offset_is_recognised(real: dict[str, Image]) -> None:
    assert "CT with 1024 added" in only(errors(MR_MODEL, real[OFFSET_CT]))


def test_real_label_maps_are_refused(real: dict[str, Image]) -> None:
    labels = {name: scan for name, scan in real.items() if is_label(name)}
    assert len(labels) > 40
    for name, scan in labels.items():
        assert "label map" in only(errors(MR_MODEL, scan)), name


def test_real_pets_pass_a_pet_model_and_as_activity_they_do_not(real: dict[str, Image]) -> None:
    for name, scan in of_kind(real, "pet").items():
        assert not errors(PET_MODEL, replace(scan, unit="SUV")), name
        activity = replace(scan, voxels=scan.voxels * 5000, unit="SUV")
        assert "Bq/mL" in only(errors(PET_MODEL, activity)), name


def test_real_pet_never_passes_a_cohort_s_mr_model_in_silence(real: dict[str, Image], cohort_card: Card) -> None:
    """SUV and MR values cannot be told apart for certain: the spacing gives a PET away, most often the contrast too."""
    found = {name: check(cohort_card, "mr", scan) for name, scan in of_kind(real, "pet").items()}
    assert all(any("spacing" in f.text for f in findings) for findings in found.values())
    assert sum(any("contrast" in f.text for f in findings) for findings in found.values()) >= 18


def test_mr_of_any_brightness_is_hardly_ever_taken_for_an_offset_ct(real: dict[str, Image]) -> None:
    """MR has no unit: the scanner's factor must not decide what it is taken for."""
    taken = tried = 0
    for scan in real_mrs(real).values():
        voxels = scan.voxels[:, ::3, ::3, ::2].astype(np.float32)
        bright = np.percentile(voxels[voxels > 0], 99)
        for target in np.geomspace(200, 4000, 6):
            tried += 1
            taken += any("1024 added" in text for text in errors(MR_MODEL, image(voxels[0] * (target / bright))))
    assert taken / tried < 0.02
