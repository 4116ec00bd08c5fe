"""The named shifted sets, against TFDS's own builders."""

import pytest
import tensorflow_datasets as tfds

from bit_keras.benchmarks import task_data, task_status
from bit_keras.benchmarks.robustness import shifts
from bit_keras.benchmarks.robustness.label_space import imagenet_classes


@pytest.mark.parametrize("name", shifts.names())
def test_the_table_agrees_with_tfds(name, tmp_path):
    shift = shifts.get(name)
    task = shift.task
    builder = tfds.builder(task.dataset, data_dir=tmp_path)
    version = str(builder.version)
    supported = [str(v) for v in builder.SUPPORTED_VERSIONS]
    assert task.versions == (version, *supported)
    label = builder.info.features[task.label]
    assert label.num_classes == task.num_classes == 1000
    needs_hand = builder.MANUAL_DOWNLOAD_INSTRUCTIONS is not None
    assert needs_hand == (task.manual is not None)
    if not name.startswith("siscore"):
        # The ids of the labels are those of ImageNet's logits.
        assert tuple(label.names) == imagenet_classes()
    if shift.answers:
        several = builder.info.features[shift.answers].feature
        assert tuple(several.names) == imagenet_classes()


def test_si_scores_labels_are_61_classes_of_imagenet():
    from tensorflow_datasets.datasets.siscore import labels

    ids = {labels.IMAGENET_LABELS[name] for name in labels.DATASET_LABELS}
    assert len(ids) == shifts.get("siscore_size").classes
    assert ids < set(range(1000))
    # Two that can be told from the list of ids: brown bear, zebra.
    wordnet = imagenet_classes()
    assert wordnet[labels.IMAGENET_LABELS["brown bear"]] == "n02132136"
    assert wordnet[labels.IMAGENET_LABELS["zebra"]] == "n02391049"


@pytest.mark.parametrize("name", shifts.names())
def test_there_is_nothing_to_train_on(name, tmp_path):
    with pytest.raises(ValueError, match="split must be one of test; got"):
        task_data.open_split(shifts.get(name).task, "train", str(tmp_path))


def test_what_is_not_prepared_says_how(tmp_path):
    task = shifts.get("imagenet_v2").task
    assert task_status.status(task, str(tmp_path)) == "downloadable"
    words = task_status.how_to_prepare(task, str(tmp_path))
    assert "tfds.builder('imagenet_v2/matched-frequency:3.0.0'" in words
    real = shifts.get("imagenet2012_real").task
    assert "ILSVRC2012_img_val.tar" in task_status.how_to_prepare(real, None)


def test_an_unknown_name_is_answered_with_the_closest():
    with pytest.raises(ValueError, match='Did you mean "imagenet_sketch"'):
        shifts.get("imagenet_sketsh")
