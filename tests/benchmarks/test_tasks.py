import re
import subprocess
import sys
from pathlib import Path

import pytest
import tensorflow_datasets as tfds

from bit_keras.benchmarks import tasks
from bit_keras.benchmarks.task_datasets import DATASETS
from bit_keras.benchmarks.task_status import listing, status
from bit_keras.benchmarks.tasks import Task
from bit_keras.data.splits import slice_split

ALL = [tasks.get(name) for name in tasks.names()]

# Name in the reference's table -> name here, in that order.
VTAB = {
    "Caltech101": "caltech101",
    "CIFAR-100": "cifar100",
    "DTD": "dtd",
    "Flowers102": "flowers102",
    "Pets": "pets",
    "Sun397": "sun397",
    "SVHN": "svhn",
    "EuroSAT": "eurosat",
    "Resisc45": "resisc45",
    "Patch Camelyon": "patch_camelyon",
    "Retinopathy": "retinopathy",
    "Clevr-Count": "clevr_count",
    "Clevr-Dist": "clevr_distance",
    "DMLab": "dmlab",
    "KITTI-Dist": "kitti_distance",
    "dSpr-Loc": "dsprites_location",
    "dSpr-Orient": "dsprites_orientation",
    "sNORB-Azim": "smallnorb_azimuth",
    "sNORB-Elev": "smallnorb_elevation",
}
GROUPS = {"N": "natural", "Sp": "specialized", "St": "structured"}

# Examples in the official splits, as the datasets' papers and pages give them.
SIZES = {
    "caltech101": {"train": 3060, "test": 6084},
    "caltech_birds2011": {"train": 5994, "test": 5794},
    "cars196": {"train": 8144, "test": 8041},
    "cifar10": {"train": 50_000, "test": 10_000},
    "cifar100": {"train": 50_000, "test": 10_000},
    "clevr": {"train": 70_000, "validation": 15_000, "test": 15_000},
    "colorectal_histology": {"train": 5000},
    "diabetic_retinopathy_detection/btgraham-300": {
        "train": 35_126,
        "validation": 10_906,
        "test": 42_670,
    },
    "dmlab": {"train": 65_550, "validation": 22_628, "test": 22_735},
    "dsprites": {"train": 737_280},
    "dtd": {"train": 1880, "validation": 1880, "test": 1880},
    "eurosat/rgb": {"train": 27_000},
    "imagenet2012": {"train": 1_281_167, "validation": 50_000},
    "imagenet2012_subset/10pct": {"train": 128_116, "validation": 50_000},
    "kitti": {"train": 6347, "validation": 423, "test": 711},
    "oxford_flowers102": {"train": 1020, "validation": 1020, "test": 6149},
    "oxford_iiit_pet": {"train": 3680, "test": 3669},
    "patch_camelyon": {
        "train": 262_144,
        "validation": 32_768,
        "test": 32_768,
    },
    "resisc45": {"train": 31_500},
    "smallnorb": {"train": 24_300, "test": 24_300},
    "sun397/tfds": {"train": 76_128, "validation": 10_875, "test": 21_750},
    "svhn_cropped": {"train": 73_257, "test": 26_032},
    "uc_merced": {"train": 2100},
}


def _published(shared: Path) -> dict[str, list[str]]:
    """Returns the rows of the reference's VTAB table by task."""
    text = (shared / "reference" / "evaluation.md").read_text()
    rows = re.findall(r"^\| (?:N|Sp|St) \|.*$", text, re.MULTILINE)
    cells = [[c.strip(" *") for c in row.strip("|").split("|")] for row in rows]
    return {row[1]: row for row in cells}


def test_vtab_is_as_published(shared):
    published = _published(shared)
    ours = tasks.group("vtab")
    assert [t.name for t in ours] == [f"vtab_{name}" for name in VTAB.values()]
    splits = None
    for row_name, task in zip(VTAB, ours, strict=True):
        group, _, dataset, train, test, classes, extra = published[row_name]
        assert task.groups == ("vtab", GROUPS[group])
        assert task.dataset == dataset.split(":")[0]
        # "same" stands for the row above.
        splits = splits if train == "same" else train.split("+")
        assert [task.train800, task.val200] == splits
        assert task.train == "+".join(splits)
        if test != "same":
            words = test.split()
            expected = (words[0], int(re.sub(r"\D", "", words[1])))
        assert (task.test, task.num_test) == expected
        assert task.num_classes == int(re.match(r"\d+", classes)[0])
        assert task.flip == ("–flip" not in extra)
        assert task.crop == ("–crop" not in extra)


def test_sets_of_the_other_benchmarks():
    # evaluation.md, section 1.2, and the names.
    assert [task.name for task in tasks.group("fewshot")] == [
        "caltech101",
        "cars196",
        "cifar100",
        "dtd",
        "pets",
        "uc_merced",
        "birds",
        "colorectal_histology",
        "imagenet",
    ]
    assert {task.dataset for task in tasks.group("bit")} == {
        "imagenet2012",
        "cifar10",
        "cifar100",
        "oxford_iiit_pet",
        "oxford_flowers102",
    }
    assert len(ALL) == len({task.name for task in ALL}) == 31


@pytest.mark.parametrize("task", ALL, ids=lambda task: task.name)
def test_splits_have_the_stated_sizes(task):
    lengths = {key: [n] for key, n in SIZES[task.dataset].items()}

    def size(split):
        slices = slice_split(task.dataset, split, lengths)
        return sum(end - first for _, first, end in slices)

    assert size(task.train) == task.num_train
    assert size(task.test) == task.num_test
    if "vtab" in task.groups:
        assert size(task.train800) == 800
        assert size(task.val200) == 200
    slices = slice_split(task.dataset, f"{task.train}+{task.test}", lengths)
    for i, (split, first, end) in enumerate(slices):
        for other, other_first, other_end in slices[:i]:
            apart = end <= other_first or other_end <= first
            assert split != other or apart, "an example is used twice"


@pytest.mark.parametrize("name", DATASETS)
def test_versions_are_those_tfds_can_prepare(name, tmp_path):
    dataset = DATASETS[name]
    builder = tfds.builder(name, data_dir=str(tmp_path))
    supported = {str(v) for v in builder.supported_versions}
    assert dataset.versions[0] == str(builder.version)
    assert set(dataset.versions) == {str(builder.version)} | supported
    words = builder.MANUAL_DOWNLOAD_INSTRUCTIONS
    assert (dataset.manual is None) == (words is None)
    if words:
        # The same addresses and files.
        links = re.findall(r"https?://[\w./!-]*\w|\w+\.(?:tar|zip|csv)", words)
        assert links
        assert all(link in dataset.manual for link in links)


def test_every_dataset_is_used():
    assert {task.dataset for task in ALL} == set(DATASETS)
    assert set(SIZES) == set(DATASETS)


def test_import_is_light():
    code = (
        "import sys; from bit_keras.benchmarks import "
        "tasks, task_status, tasks_file; task_status.listing("
        "map(tasks.get, tasks.names()), 'x');"
        "assert not {'tensorflow', 'keras', 'tensorflow_datasets'} "
        "& set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("cifar10O", 'no task "cifar10O". Did you mean "cifar10".*Known:'),
        ("vtab_clevr_dist", 'Did you mean "vtab_clevr_distance"'),
        ("my_one", 'Did you mean "my_own"'),
        ("vtab", '"vtab" is a group of tasks'),
        ("mine", '"mine" is a group of tasks'),
    ],
)
def test_unknown_task(name, message):
    own = Task(
        name="my_own", dataset="x", train="a", test="b", groups=("mine",)
    )
    assert tasks.get("my_own", [own]) is own
    assert tasks.group("mine", [own]) == (own,)
    with pytest.raises(ValueError, match=message):
        tasks.get(name, [own])


def test_unknown_group():
    with pytest.raises(ValueError, match='Did you mean "structured"'):
        tasks.group("structred")


def _prepare(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "dataset_info.json").write_text("{}")


def test_status_is_what_lies_on_disk(tmp_path):
    root = str(tmp_path)
    count = tasks.get("vtab_clevr_count")
    _prepare(tmp_path / "clevr" / "2.9.0")
    assert status(count, root) == "downloadable"
    # TFDS's name for a folder it has not finished.
    (tmp_path / "clevr" / "3.1.0.incompleteABC").mkdir()
    assert status(count, root) == "downloadable"
    _prepare(tmp_path / "clevr" / "3.0.0")
    assert status(count, root) == "present"
    # Another configuration is another dataset.
    _prepare(tmp_path / "eurosat" / "all" / "2.0.0")
    assert status(tasks.get("vtab_eurosat"), root) == "downloadable"
    _prepare(tmp_path / "eurosat" / "rgb" / "2.0.0")
    assert status(tasks.get("vtab_eurosat"), root) == "present"
    assert status(tasks.get("vtab_resisc45"), root) == "manual"


@pytest.mark.parametrize(
    ("dataset", "expected"),
    [
        ("made", "present"),
        ("made:1.0.0", "present"),
        ("made:1.*.*", "present"),
        ("made:2.*.*", "manual"),
        ("digits", "present"),
        ("mnist", "downloadable"),
        ("imagenet2012_real", "manual"),
        ("nobody_knows_it", "manual"),
    ],
)
def test_status_of_own_tasks(dataset, expected, tmp_path):
    _prepare(tmp_path / "made" / "1.0.0")
    own = Task(name="own", dataset=dataset, train="train", test="test")
    assert status(own, str(tmp_path)) == expected


def test_listing(tmp_path):
    _prepare(tmp_path / "dtd" / "3.0.1")
    own = Task(name="own", dataset="nobody_knows_it", train="a", test="b")
    rows = [tasks.get("vtab_dtd"), tasks.get("imagenet"), own]
    lines = listing(rows, str(tmp_path))
    assert lines[1].split() == [
        *("vtab_dtd", "dtd", "47", "1000", "1880", "vtab,", "natural"),
        "present",
    ]
    assert lines[2].endswith("manual")
    assert lines[3].split() == [
        *("own", "nobody_knows_it", "?", "?", "?", "-", "manual")
    ]
    manual = f"{tmp_path}/downloads/manual"
    assert lines[5].startswith(
        f"imagenet: First download by hand, into {manual}"
    )
    assert "imagenet2012_subset/10pct:5.0.0" in lines[5]
    assert lines[6].startswith("own: TFDS does not know nobody_knows_it, ")


def test_a_folder_that_is_not_there_is_listed():
    task = Task(name="mine", dataset="x.csv", train="train", test="test")
    header, line, _, note = listing([task], None)
    assert line.split()[:2] == ["mine", "x.csv"] and line.endswith("missing")
    assert note.startswith('mine: dataset: there is no folder or CSV file "x.c')
