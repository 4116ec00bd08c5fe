"""Shifted ImageNets, on pretend sets made of real images of each class."""

import json

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

from bit_keras import checkpoints, models
from bit_keras.benchmarks.backbone import open_backbone
from bit_keras.benchmarks.images import ShortSide
from bit_keras.benchmarks.robustness import imagenet_shift, shifts
from bit_keras.benchmarks.robustness.label_space import imagenet_classes
from bit_keras.benchmarks.robustness.shift import Job
from bit_keras.benchmarks.tasks import Task

SAMPLE = "imagenet1k_sample_mini"
PHOTOS = Task(
    name="photos", dataset=SAMPLE, train="validation[:1]", test="validation"
)
LABEL = tfds.features.ClassLabel(names=list(imagenet_classes()))
# The sizes of the pretend sets are not those of the real ones.
pytestmark = pytest.mark.filterwarnings(
    "ignore:task imagenet:UserWarning", "ignore:task siscore:UserWarning"
)


@pytest.fixture(scope="module")
def images(shared):
    """An image of each class: encoded, and small."""
    builder = tfds.core.read_only_builder.builder_from_files(
        SAMPLE, data_dir=shared / "data/tfds"
    )
    data = builder.as_dataset(
        split="validation", decoders={"image": tfds.decode.SkipDecoding()}
    )
    found = {}
    for example in data.as_numpy_iterator():
        image = tf.io.decode_image(example["image"], channels=3)
        found[int(example["label"])] = image.numpy()[::6, ::6]
    return [found[label] for label in range(1000)]


@pytest.fixture(scope="module")
def job(shared, tmp_path_factory):
    """A network whose head has random weights for 1000 classes."""
    folder = tmp_path_factory.mktemp("job")
    tf.keras.utils.set_random_seed(0)
    model = models.create("bit_tiny", num_classes=1000)
    kernel = model.get_layer("head").kernel
    kernel.assign(np.random.default_rng(0).normal(size=kernel.shape))
    checkpoints.save(model, folder / "head.keras")
    (folder / SAMPLE).symlink_to(shared / "data/tfds" / SAMPLE)
    return Job(
        backbone=open_backbone(str(folder / "head.keras"), resolution=16),
        data_dir=str(folder),
        cache_dir=folder / "cache",
        batch_size=64,
        endpoint="logits",
        say=lambda message: None,
    )


def prepare(job, name, version, split, features, examples):
    """Writes a prepared TFDS dataset of one split and shard."""
    folder = job.cache_dir.parent / name / version
    folder.mkdir(parents=True)
    features = tfds.features.FeaturesDict(
        {"image": tfds.features.Image(), **features}
    )
    template = tfds.core.ShardedFileTemplate(
        data_dir=folder,
        dataset_name=name.split("/")[0],
        split=split,
        filetype_suffix="tfrecord",
    )
    path = template.sharded_filepath(shard_index=0, num_shards=1)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for example in examples:
            encoded = features.encode_example(example)
            writer.write(features.serialize_example(encoded))
    info = tfds.core.SplitInfo(
        name=split,
        shard_lengths=[len(examples)],
        num_bytes=1,
        filename_template=template,
    )
    tfds.folder_dataset.write_metadata(
        data_dir=folder, features=features, split_infos=[info]
    )


def logits_of(job, arrays):
    """What the network says of decoded images, without any of our pipeline."""
    how = ShortSide.imagenet(16)
    batch = tf.stack([how.prepare(tf.cast(a, tf.float32)) for a in arrays])
    return job.backbone.features(("logits",))(batch)["logits"].numpy()


def table(rows):
    return {(row.task, row.protocol, row.metric): row for row in rows}


def test_200_classes_are_measured_in_both_label_spaces(job, images):
    classes = list(range(3, 1000, 5))
    examples = [{"image": images[c], "label": c} for c in classes]
    prepare(job, "imagenet_a", "0.1.0", "test", {"label": LABEL}, examples)
    found = imagenet_shift.answer(job, shifts.get("imagenet_a"), None)
    clean = imagenet_shift.clean(job, PHOTOS)
    rows = table(imagenet_shift.rows(job, clean, [found]))
    logits = logits_of(job, [images[c] for c in classes])
    among = np.array(classes)[logits[:, classes].argmax(axis=1)]
    arrow = "photos -> imagenet_a"
    expected = {"full": logits.argmax(axis=1), "restricted": among}
    for protocol, answered in expected.items():
        row = rows[arrow, protocol, "accuracy"]
        assert (row.value, row.n) == (np.mean(answered == classes), 200)
        assert row.preprocessing == "short side 18, crop 16"
        source = rows["photos/classes of imagenet_a", protocol, "accuracy"]
        # The source counts with its images of these classes, one of each.
        assert source.n == 200
        drop = rows[arrow, protocol, "accuracy_drop"]
        assert drop.value == source.value - row.value
    assert len(rows) == 6


def test_the_source_counts_in_the_restricted_space(job):
    logits = np.array([[0.0, 2, 1], [0, 1, 2], [3, 2, 1]])
    source = imagenet_shift.Answered("s", logits, [{2}, {2}, {0}], {})
    full = source.accuracy("s", "full", [0, 2])
    assert full.right.tolist() == [False, True, True]
    restricted = source.accuracy("s", "restricted", [0, 2])
    assert restricted.right.tolist() == [True, True, True]
    assert len(source.accuracy("s", "restricted", [2]).right) == 2


def test_all_classes_have_one_label_space_and_the_source_stands_once(job):
    logits = np.eye(1000)
    everything = [{label} for label in range(1000)]
    source = imagenet_shift.Answered("s", logits, everything, {})
    one = imagenet_shift.Answered("one", logits, everything, {})
    wrong = imagenet_shift.Answered("two", logits[::-1], everything, {})
    rows = imagenet_shift.rows(job, source, [one, wrong])
    found = {(row.task, row.metric): row.value for row in rows}
    assert len(rows) == len(found) == 5
    assert {row.protocol for row in rows} == {"full"}
    assert found["s -> two", "accuracy_drop"] == 1


def test_a_set_with_too_few_classes_is_not_the_set(job, images):
    examples = [{"image": images[0], "label": 0}]
    prepare(job, "imagenet_r", "0.2.0", "test", {"label": LABEL}, examples)
    with pytest.raises(ValueError, match="images of 200 classes; .* some of 1"):
        imagenet_shift.answer(job, shifts.get("imagenet_r"), None)


def test_the_source_must_be_imagenet(job, images):
    digits = Task(name="digits", dataset="digits", train="train", test="test")
    with pytest.raises(ValueError, match="digits cannot be a shift of ImageN"):
        imagenet_shift.clean(job, digits)


def test_real_labels_are_sets_and_may_be_empty(job, images):
    real = [[c, (c + 1) % 1000] if c % 7 else [] for c in range(1000)]
    real[1] = [0, 1, 7]  # No other image has class 7 as an answer.
    features = {
        "original_label": LABEL,
        "real_label": tfds.features.Sequence(LABEL),
    }
    examples = [
        {"image": images[c], "original_label": c, "real_label": real[c]}
        for c in range(1000)
    ]
    name = "imagenet2012_real"
    prepare(job, name, "1.0.0", "validation", features, examples)
    found = imagenet_shift.answer(job, shifts.get(name), None)
    (row,) = imagenet_shift.rows(job, None, [found])
    answered = logits_of(job, images).argmax(axis=1)
    right = [a in real[c] for c, a in enumerate(answered) if real[c]]
    assert (row.task, row.protocol, row.metric) == (name, "full", "accuracy")
    # 143 labels are multiples of 7, from 0 to 994.
    assert (row.value, row.n) == (np.mean(right), 1000 - 143)


def test_si_score_by_factor(job, images, tmp_path):
    classes = list(range(0, 610, 10))
    features = {
        "label": tfds.features.ClassLabel(num_classes=1000),
        "image_id": tfds.features.Tensor(shape=(), dtype=np.int64),
    }
    examples = [
        {"image": images[c], "label": c, "image_id": 5 * c} for c in classes
    ]
    prepare(job, "siscore/rotation", "1.0.0", "test", features, examples)
    path = tmp_path / "metadata.csv"
    angle = {c: (1, 21, 41)[c // 10 % 3] for c in classes}
    lines = [f"{5 * c},0.2,{angle[c]}" for c in classes]
    path.write_text("\n".join(["image_id,area,rotation", *lines]))
    shift = shifts.get("siscore_rotation")
    found = imagenet_shift.answer(job, shift, str(path))
    rows = table(imagenet_shift.rows(job, None, [found]))
    answered = logits_of(job, [images[c] for c in classes])[:, classes]
    right = answered.argmax(axis=1) == np.arange(61)
    for degrees in (1, 21, 41):
        here = [angle[c] == degrees for c in classes]
        name = f"siscore_rotation/rotation={degrees:.1f}"
        row = rows[name, "restricted", "accuracy"]
        assert (row.value, row.n) == (np.mean(right[here]), sum(here))
    path.write_text("image_id,area\n0,1\n")
    with pytest.raises(ValueError, match="no column rotation; it has image_id"):
        imagenet_shift.answer(job, shift, str(path))
    path.write_text("image_id,rotation\n0,1\n")
    with pytest.raises(ValueError, match="60 of 61 images have no value"):
        imagenet_shift.answer(job, shift, str(path))


def test_two_factors_are_one_place(tmp_path):
    path = tmp_path / "metadata.csv"
    path.write_text("image_id,x_coord,y_coord\n3,0.05,0.5\n4,0.1,0.5\n")
    found = imagenet_shift.si_score(
        str(path), ["4", "3"], ("x_coord", "y_coord")
    )
    assert found == {"x_coord,y_coord": [(0.1, 0.5), (0.05, 0.5)]}


def test_a_folder_of_ones_own(job, images, tmp_path):
    folder, path = tmp_path / "outdoors", tmp_path / "map.json"
    answers = {"cow": [345, 690], "bus": [779, 654]}
    path.write_text(json.dumps(answers))
    expected = []
    for name, label in (("cow", 345), ("cow", 690), ("bus", 779)):
        file = folder / name / f"{label}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(tf.io.encode_png(images[label]).numpy())
        logits = logits_of(job, [images[label]])[0]
        allowed = [345, 654, 690, 779]
        expected.append(allowed[logits[allowed].argmax()] in answers[name])
    found = imagenet_shift.folder(job, str(folder), str(path))
    rows = table(imagenet_shift.rows(job, None, [found]))
    assert set(rows) == {
        ("outdoors", "full", "accuracy"),
        ("outdoors", "restricted", "accuracy"),
    }
    row = rows["outdoors", "restricted", "accuracy"]
    assert (row.value, row.n) == (np.mean(expected), 3)
    path.write_text(json.dumps({"cow": [345]}))
    with pytest.raises(ValueError, match="no entry for 1 folders .* bus first"):
        imagenet_shift.folder(job, str(folder), str(path))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "is not valid JSON"),
        ("[]", "must be a JSON object"),
        ('{"cow": 345}', '"cow" must be a list of ImageNet ids'),
        ('{"cow": [1000]}', '"cow" must be a list of ImageNet ids'),
        ('{"cow": []}', '"cow" must be a list of ImageNet ids'),
    ],
)
def test_a_wrong_class_map_is_told(tmp_path, text, words):
    path = tmp_path / "map.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=words):
        imagenet_shift.read_class_map(str(path))


def test_a_missing_class_map_is_told():
    with pytest.raises(FileNotFoundError, match="no_such.json"):
        imagenet_shift.read_class_map("no_such.json")
